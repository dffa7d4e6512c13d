// Falcon: layer norms, rotated halves, GELU without a gate, attention beside the feed-forward. Both read one
// norm (7B), or attention reads a second one (40B, 180B).
#include "models/architecture.h"

namespace spindle {

Architecture falcon() {
  Architecture a;
  a.name = "falcon";
  a.ends = [](const Config&) {
    Ends e;
    e.output_norm = {"output_norm", NormKind::layer, Bias::required};
    return e;
  };
  a.layer = [](const Config& c, int i) {
    Layer l;
    l.parallel = true;
    l.feed_forward.norm = {"attn_norm"};
    if (c.has_tensor("attn_norm_2.weight")) l.attention.norm = {"attn_norm_2"};
    set_norms(l, NormKind::layer, Bias::required);
    fuse_qkv(l, c, i);
    l.attention.rope = Rope::half_split;
    l.feed_forward.gate = {};
    l.feed_forward.activation = Activation::gelu;
    return l;
  };
  return a;
}

}  // namespace spindle
