// Granite (dense): Llama with scales on the embedding, on what layers add, on scores and on logits.
#include "models/architecture.h"

namespace spindle {

Architecture granite() {
  Architecture a = llama();
  a.name = "granite";
  a.ends = [base = a.ends](const Config& c) {
    Ends e = base(c);
    e.embedding_scale = c.embedding_scale.value_or(1);
    e.logit_scale = 1 / c.logit_scale.value_or(1);
    return e;
  };
  a.layer = [base = a.layer](const Config& c, int i) {
    Layer l = base(c, i);
    l.residual_scale = c.residual_scale.value_or(1);
    l.attention.scale = c.attention_scale.value_or(0);
    if (!c.rope_finetuned.value_or(true)) l.attention.rope = Rope::none;  // so the family uses this key
    return l;
  };
  return a;
}

}  // namespace spindle
