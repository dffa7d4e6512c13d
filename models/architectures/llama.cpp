// Llama (1, 2, 3, Mistral, TinyLlama ...): RMS norm, rotary positions, grouped queries, SwiGLU.
#include "models/architecture.h"

namespace spindle {

Architecture llama() {
  Architecture a;
  a.name = "llama";
  a.ends = [](const Config&) { return Ends{}; };
  a.layer = [](const Config&, int) { return Layer{}; };
  return a;
}

}  // namespace spindle
