// Baichuan: Llama; the 13B, known by its 40 layers, has ALiBi instead of rotary positions.
#include "models/architecture.h"

namespace spindle {

Architecture baichuan() {
  Architecture a = llama();
  a.name = "baichuan";
  a.layer = [base = a.layer](const Config& c, int i) {
    Layer l = base(c, i);
    if (c.n_layers == 40) {
      l.attention.rope = Rope::none;
      l.attention.max_alibi_bias = 8;
    }
    return l;
  };
  return a;
}

}  // namespace spindle
