// OLMoE: Llama with norms over all of q and all of k, rotated halves, and experts whose weights are those of
// a softmax over all.
#include "models/architecture.h"

namespace spindle {

Architecture olmoe() {
  Architecture a = llama();
  a.name = "olmoe";
  a.layer = [base = a.layer](const Config& c, int i) {
    Layer l = base(c, i);
    l.attention.q_norm = {"attn_q_norm"};
    l.attention.k_norm = {"attn_k_norm"};
    l.attention.rope = Rope::half_split;
    use_experts(l, c, false);
    return l;
  };
  return a;
}

}  // namespace spindle
