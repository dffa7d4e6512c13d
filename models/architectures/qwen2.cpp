// Qwen2 (dense): Llama with biases on q, k and v, and rotated halves.
#include "models/architecture.h"

namespace spindle {

Architecture qwen2() {
  Architecture a = llama();
  a.name = "qwen2";
  a.layer = [base = a.layer](const Config& c, int i) {
    Layer l = base(c, i);
    l.attention.q.bias = l.attention.k.bias = l.attention.v.bias = Bias::required;
    l.attention.rope = Rope::half_split;
    return l;
  };
  return a;
}

}  // namespace spindle
