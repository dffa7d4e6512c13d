// StarCoder2: GPT-NeoX, one after the other, with grouped queries and q, k and v apart.
#include "models/architecture.h"

namespace spindle {

Architecture starcoder2() {
  Architecture a = gptneox();
  a.name = "starcoder2";
  a.layer = [base = a.layer](const Config& c, int i) {
    Layer l = base(c, i);
    l.parallel = false;
    return l;
  };
  return a;
}

}  // namespace spindle
