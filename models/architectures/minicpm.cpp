// MiniCPM: Granite with its own scales where the file gives none: Hu et al., arXiv 2404.06395.
#include <cmath>

#include "models/architecture.h"

namespace spindle {

Architecture minicpm() {
  Architecture a = granite();
  a.name = "minicpm";
  a.ends = [base = a.ends](const Config& c) {
    Ends e = base(c);
    e.embedding_scale = c.embedding_scale.value_or(12);
    e.logit_scale = 1 / c.logit_scale.value_or(c.dim / 256.0);
    return e;
  };
  a.layer = [base = a.layer](const Config& c, int i) {
    Layer l = base(c, i);
    l.attention.rope = Rope::interleaved;
    l.residual_scale = c.residual_scale.value_or(1.4 / std::sqrt(static_cast<double>(c.n_layers)));
    return l;
  };
  return a;
}

}  // namespace spindle
