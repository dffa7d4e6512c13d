// GPT-2: learned positions, layer norms, biases everywhere, q, k and v in one tensor, GELU without a gate.
#include "models/architecture.h"

namespace spindle {

Architecture gpt2() {
  Architecture a;
  a.name = "gpt2";
  a.ends = [](const Config&) {
    Ends e;
    e.position_embedding = "position_embd";
    e.output_norm = {"output_norm", NormKind::layer, Bias::required};
    return e;
  };
  a.layer = [](const Config& c, int i) {
    Layer l;
    set_norms(l, NormKind::layer, Bias::required);
    fuse_qkv(l, c, i);
    l.attention.rope = Rope::none;
    l.feed_forward.gate = {};
    l.feed_forward.activation = Activation::gelu;
    for (Linear* p : {&l.attention.q, &l.attention.k, &l.attention.v, &l.attention.output, &l.feed_forward.up,
                      &l.feed_forward.down})
      p->bias = Bias::required;
    return l;
  };
  return a;
}

}  // namespace spindle
