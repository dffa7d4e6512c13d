// GPT-NeoX (Pythia, RedPajama ...): GPT-2 with part of each head rotated instead of learned positions, and
// attention beside the feed-forward where the file says so.
#include "models/architecture.h"

namespace spindle {

Architecture gptneox() {
  Architecture a = gpt2();
  a.name = "gptneox";
  a.ends = [base = a.ends](const Config& c) {
    Ends e = base(c);
    e.position_embedding.clear();
    return e;
  };
  a.layer = [base = a.layer](const Config& c, int i) {
    Layer l = base(c, i);
    l.attention.rope = Rope::half_split;
    l.parallel = c.parallel_residual.value_or(true);
    return l;
  };
  return a;
}

}  // namespace spindle
