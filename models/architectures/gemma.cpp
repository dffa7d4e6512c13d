// Gemma: Llama with rotated halves, GELU in the gate and scaled embeddings. Gemma 2: norms after attention
// and feed-forward too, soft caps, and a window on every other layer. Gemma 3: norms over q and k heads
// instead of the cap on scores, and windows on five layers of six, with a rotary base of their own.
#include <cmath>

#include "models/architecture.h"

namespace spindle {

Architecture gemma() {
  Architecture a = llama();
  a.name = "gemma";
  a.ends = [base = a.ends](const Config& c) {
    Ends e = base(c);
    e.embedding_scale = std::sqrt(static_cast<double>(c.dim));
    return e;
  };
  a.layer = [base = a.layer](const Config& c, int i) {
    Layer l = base(c, i);
    l.attention.rope = Rope::half_split;
    l.feed_forward.activation = Activation::gelu;
    return l;
  };
  return a;
}

Architecture gemma2() {
  Architecture a = gemma();
  a.name = "gemma2";
  a.ends = [base = a.ends](const Config& c) {
    Ends e = base(c);
    e.logit_soft_cap = c.logit_soft_cap.value_or(30);
    return e;
  };
  a.layer = [base = a.layer](const Config& c, int i) {
    Layer l = base(c, i);
    l.attention.post_norm = {"post_attention_norm"};
    l.feed_forward.post_norm = {"post_ffw_norm"};
    l.attention.soft_cap = c.attention_soft_cap.value_or(50);
    l.attention.window = c.window_of(i, 2, 4096);
    if (c.n_layers ==
        46)  // the 27B: scores are scaled by the width a head would have if heads shared the row
      l.attention.scale = 1 / std::sqrt(static_cast<double>(c.dim) / c.n_heads[static_cast<size_t>(i)]);
    return l;
  };
  return a;
}

Architecture gemma3() {
  Architecture a = gemma2();
  a.name = "gemma3";
  a.ends = [base = a.ends](const Config& c) {
    Ends e = base(c);
    e.logit_soft_cap = c.logit_soft_cap.value_or(0);
    return e;
  };
  a.layer = [base = a.layer](const Config& c, int i) {
    Layer l = base(c, i);
    AttentionBlock& at = l.attention;
    at.q_norm = {.name = "attn_q_norm", .over = NormOver::head};
    at.k_norm = {.name = "attn_k_norm", .over = NormOver::head};
    at.soft_cap = 0;
    at.window = c.window_of(i, 6);
    if (at.window) at.unscaled_rope_base = c.window_rope_base.value_or(10000);
    at.scale = 0;
    if (c.n_layers == 62)  // the 27B, as Gemma 2's
      at.scale = 1 / std::sqrt(static_cast<double>(c.dim) / c.n_heads[static_cast<size_t>(i)]);
    return l;
  };
  return a;
}

}  // namespace spindle
