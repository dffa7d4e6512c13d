// Command R: Llama with layer norms without biases, attention beside the feed-forward on one norm, and scaled
// logits; the larger one (R+) normalises each head of q and k with a weight of its own.
#include "models/architecture.h"

namespace spindle {

Architecture command_r() {
  Architecture a = llama();
  a.name = "command-r";
  a.ends = [base = a.ends](const Config& c) {
    Ends e = base(c);
    e.output_norm.kind = NormKind::layer;
    e.logit_scale = c.logit_scale.value_or(1);
    return e;
  };
  a.layer = [base = a.layer](const Config& c, int i) {
    Layer l = base(c, i);
    l.parallel = true;
    l.feed_forward.norm = l.attention.norm;
    if (c.has_tensor("attn_q_norm.weight")) {
      l.attention.q_norm = {.name = "attn_q_norm", .over = NormOver::each_head};
      l.attention.k_norm = {.name = "attn_k_norm", .over = NormOver::each_head};
    }
    set_norms(l, NormKind::layer, Bias::none);
    return l;
  };
  return a;
}

// Command R7B, Command A: windows with rotary positions on three layers of four, neither on the fourth.
Architecture cohere2() {
  Architecture a = command_r();
  a.name = "cohere2";
  a.layer = [base = a.layer](const Config& c, int i) {
    Layer l = base(c, i);
    l.attention.window = c.window_of(i, 4);
    if (!l.attention.window) l.attention.rope = Rope::none;
    return l;
  };
  return a;
}

}  // namespace spindle
