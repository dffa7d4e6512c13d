// Qwen3 (dense): Llama plus an RMS norm over each Q and K head, and rotated halves.
#include "models/architecture.h"

namespace spindle {

Architecture qwen3() {
  Architecture a = llama();
  a.name = "qwen3";
  a.layer = [base = a.layer](const Config& c, int i) {
    Layer l = base(c, i);
    l.attention.q_norm = {.name = "attn_q_norm", .over = NormOver::head};
    l.attention.k_norm = {.name = "attn_k_norm", .over = NormOver::head};
    l.attention.rope = Rope::half_split;
    return l;
  };
  return a;
}

}  // namespace spindle
