// Qwen2 with experts, whose weights are those of a softmax over all, and a shared expert behind a gate.
#include "models/architecture.h"

namespace spindle {

Architecture qwen2moe() {
  Architecture a = qwen2();
  a.name = "qwen2moe";
  a.layer = [base = a.layer](const Config& c, int i) {
    Layer l = base(c, i);
    use_experts(l, c, false);
    Experts& e = l.feed_forward.experts;
    e.shared_dim = c.shared_expert_dim ? c.shared_expert_dim : c.ffn_dim[static_cast<size_t>(i)];
    e.shared_router.name = "ffn_gate_inp_shexp";
    return l;
  };
  return a;
}

}  // namespace spindle
