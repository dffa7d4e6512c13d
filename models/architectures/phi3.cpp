// Phi-3 and Phi-4: Llama with rotated halves, q, k and v in one tensor, gate and up in another.
#include "models/architecture.h"

namespace spindle {

Architecture phi3() {
  Architecture a = llama();
  a.name = "phi3";
  a.layer = [base = a.layer](const Config& c, int i) {
    Layer l = base(c, i);
    fuse_qkv(l, c, i);
    fuse_gate_up(l, c, i);
    l.attention.rope = Rope::half_split;
    return l;
  };
  return a;
}

}  // namespace spindle
