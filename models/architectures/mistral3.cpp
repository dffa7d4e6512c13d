// Mistral 3 (Ministral): Llama with a temperature of attention that grows with the position, in steps of the
// original context.
#include "models/architecture.h"

namespace spindle {

Architecture mistral3() {
  Architecture a = llama();
  a.name = "mistral3";
  a.layer = [base = a.layer](const Config& c, int i) {
    Layer l = base(c, i);
    l.attention.temperature_slope = c.temperature_scale.value_or(0);
    l.attention.temperature_width =
        static_cast<uint32_t>(c.rope.original_context.value_or(static_cast<double>(c.context_length)));
    return l;
  };
  return a;
}

}  // namespace spindle
