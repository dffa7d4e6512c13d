// Granite with experts, and a shared one where the file says how large it is.
#include "models/architecture.h"

namespace spindle {

Architecture granitemoe() {
  Architecture a = granite();
  a.name = "granitemoe";
  a.layer = [base = a.layer](const Config& c, int i) {
    Layer l = base(c, i);
    use_experts(l, c, true);
    l.feed_forward.experts.shared_dim = c.shared_expert_dim;
    return l;
  };
  return a;
}

}  // namespace spindle
