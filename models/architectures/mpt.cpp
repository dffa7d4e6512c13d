// MPT: layer norms without biases, ALiBi or learned positions, GELU without a gate; some clamp q, k and v,
// some normalise all of q and k.
#include "models/architecture.h"

namespace spindle {

Architecture mpt() {
  Architecture a;
  a.name = "mpt";
  a.ends = [](const Config& c) {
    Ends e;
    if (c.has_tensor("position_embd.weight")) e.position_embedding = "position_embd";
    e.output_norm = {"output_norm", NormKind::layer, Bias::optional};
    return e;
  };
  a.layer = [](const Config& c, int i) {
    Layer l;
    fuse_qkv(l, c, i);
    l.attention.rope = Rope::none;
    l.attention.max_alibi_bias = c.max_alibi_bias.value_or(0);
    l.attention.clamp_qkv = c.clamp_qkv.value_or(0);
    if (c.has_tensor("attn_q_norm.weight")) {
      l.attention.q_norm = {"attn_q_norm"};
      l.attention.k_norm = {"attn_k_norm"};
    }
    l.feed_forward.gate = {};
    l.feed_forward.activation = Activation::gelu;
    set_norms(l, NormKind::layer, Bias::optional);
    return l;
  };
  return a;
}

}  // namespace spindle
