// From the last layer to logits and the next token.
#include <algorithm>
#include <cassert>

#include "models/transformer.h"
#include "shaders/limit/limit.h"

namespace spindle {

void Transformer::head(const StepShape& shape, const StepState& state) {
  const Config& c = model_.config();
  const Ends& ends = model_.ends();
  const NormWeights& weights = model_.weights().output_norm();
  const Weight& output = model_.weights().output();
  // One row of logits for the last row of a prefill, else one for each row.
  const bool last = shape.logits == Logits::last && shape.phase == Phase::prefill;
  Tensor h;
  if (last) {
    Tensor x = x_;
    x.offset_bytes += uint64_t{4} * (shape.rows - 1) * c.dim;  // copies need no alignment
    x.rows = 1;
    stream_.copy(last_, x);
    h = last_;
    norm(h, last_, ends.output_norm, weights);
  } else {
    h = h_.slice(0, shape.rows);
    norm(h, x_.slice(0, shape.rows), ends.output_norm, weights);
  }
  assert(h.rows <= max_logit_rows_);
  uint32_t first = 0;
  for (const Tensor& part : logits_) {
    if (first >= h.rows) break;
    const Tensor logits = part.slice(0, std::min(part.rows, h.rows - first));
    const Tensor rows = h.slice(first, logits.rows);
    matmul(stream_, shape.phase, logits, output, input(shape, rows, {&output}));
    if (ends.logit_scale != 1 || ends.logit_soft_cap > 0)
      limit(stream_, logits, logits, static_cast<float>(ends.logit_scale),
            ends.logit_soft_cap > 0 ? Limit::soft_cap : Limit::none,
            ends.logit_soft_cap > 0 ? static_cast<float>(ends.logit_soft_cap) : 1);
    if (shape.sample) sample(stream_, state.sampling, logits, state.targets, first);
    first += logits.rows;
  }
}

}  // namespace spindle
