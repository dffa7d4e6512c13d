// OLMo 2 and 3: Llama with norms after attention and feed-forward instead of before, norms over all of q and
// all of k, and rotated halves. OLMo 3 has windows on three layers of four, and no rotary scaling there.
#include "models/architecture.h"

namespace spindle {

Architecture olmo2() {
  Architecture a = llama();
  a.name = "olmo2";
  a.layer = [base = a.layer](const Config& c, int i) {
    Layer l = base(c, i);
    l.attention.norm = l.feed_forward.norm = {};
    l.attention.post_norm = {"post_attention_norm"};
    l.feed_forward.post_norm = {"post_ffw_norm"};
    l.attention.q_norm = {"attn_q_norm"};
    l.attention.k_norm = {"attn_k_norm"};
    l.attention.rope = Rope::half_split;
    l.attention.window = c.window_of(i, 4);
    if (l.attention.window) l.attention.unscaled_rope_base = c.rope_base;
    return l;
  };
  return a;
}

}  // namespace spindle
