// Llama (1, 2, 3, Mistral, TinyLlama ...): RMS norm, rotary positions, grouped queries, SwiGLU; with experts
// where the file says so (Mixtral).
#include "models/architecture.h"

namespace spindle {

Architecture llama() {
  Architecture a;
  a.name = "llama";
  a.ends = [](const Config&) { return Ends{}; };
  a.layer = [](const Config& c, int) {
    Layer l;
    if (c.n_experts) use_experts(l, c, true);
    return l;
  };
  return a;
}

}  // namespace spindle
