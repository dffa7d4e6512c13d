// BLOOM: GPT-2 with a norm on the embedding, and ALiBi instead of learned positions.
#include "models/architecture.h"

namespace spindle {

Architecture bloom() {
  Architecture a = gpt2();
  a.name = "bloom";
  a.ends = [base = a.ends](const Config& c) {
    Ends e = base(c);
    e.position_embedding.clear();
    e.embedding_norm = {"token_embd_norm", NormKind::layer, Bias::required};
    return e;
  };
  a.layer = [base = a.layer](const Config& c, int i) {
    Layer l = base(c, i);
    l.attention.max_alibi_bias = 8;
    return l;
  };
  return a;
}

}  // namespace spindle
