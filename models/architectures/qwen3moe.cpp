// Qwen3 with experts.
#include "models/architecture.h"

namespace spindle {

Architecture qwen3moe() {
  Architecture a = qwen3();
  a.name = "qwen3moe";
  a.layer = [base = a.layer](const Config& c, int i) {
    Layer l = base(c, i);
    use_experts(l, c, true);
    return l;
  };
  return a;
}

}  // namespace spindle
