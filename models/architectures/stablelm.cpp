// StableLM: Llama with layer norms and part of each head rotated. The 12B normalises each head of q and k
// with a weight of its own, and its feed-forward reads what attention reads: its layers have one norm.
#include "models/architecture.h"

namespace spindle {

Architecture stablelm() {
  Architecture a = llama();
  a.name = "stablelm";
  a.ends = [](const Config&) {
    Ends e;
    e.output_norm = {"output_norm", NormKind::layer, Bias::required};
    return e;
  };
  a.layer = [base = a.layer](const Config& c, int i) {
    Layer l = base(c, i);
    l.parallel = !c.has_tensor("ffn_norm.weight");  // whatever use_parallel_residual says
    if (l.parallel) l.feed_forward.norm = l.attention.norm;
    set_norms(l, NormKind::layer, Bias::required);
    if (c.has_tensor("attn_q_norm.weight")) {
      l.attention.q_norm = {"attn_q_norm", NormKind::layer, Bias::none, NormOver::each_head};
      l.attention.k_norm = {"attn_k_norm", NormKind::layer, Bias::none, NormOver::each_head};
    }
    l.attention.rope = Rope::half_split;
    return l;
  };
  return a;
}

}  // namespace spindle
