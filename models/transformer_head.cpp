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
  Tensor x = x_.slice(0, shape.rows), h = h_.slice(0, shape.rows);
  if (last) {
    x.offset_bytes += uint64_t{4} * (shape.rows - 1) * c.dim;  // copies need no alignment
    x.rows = 1;
    stream_.copy(last_, x);
    x = h = last_;
  }
  const MatmulInput rows = normed(shape, h, x, ends.output_norm, weights, {{&output}});
  assert(rows.rows() <= max_logit_rows_);
  uint32_t first = 0;
  for (const Tensor& part : logits_) {
    if (first >= rows.rows()) break;
    const Tensor logits = part.slice(0, std::min(part.rows, rows.rows() - first));
    matmul(stream_, shape.phase, logits, output, rows.slice(first, logits.rows));
    if (ends.logit_scale != 1 || ends.logit_soft_cap > 0)
      limit(stream_, logits, logits, static_cast<float>(ends.logit_scale),
            ends.logit_soft_cap > 0 ? Limit::soft_cap : Limit::none,
            ends.logit_soft_cap > 0 ? static_cast<float>(ends.logit_soft_cap) : 1);
    if (shape.sample) sample(stream_, state.sampling, logits, state.targets, first);
    first += logits.rows;
  }
}

}  // namespace spindle
