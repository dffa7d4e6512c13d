// Keeping of queries: dispatch.
#include "shaders/attention_map/attention_keep.h"

#include <cassert>

namespace spindle {
namespace {

constexpr uint32_t kCode[] =
#include "shaders/attention_map/attention_keep.comp.inc"
    ;
constexpr Program kProgram{"attention_keep", kCode};
constexpr uint32_t kLanes = 128;

KernelSpec kernel() { return {&kProgram, {kLanes}}; }

}  // namespace

void attention_keep(Stream& stream, Tensor kept_q, Tensor kept_lse, uint32_t first_position, Tensor q,
                    Tensor lse, Tensor rows, uint32_t slot) {
  assert(lse.rows > 0 && q.rows % lse.rows == 0 && rows.rows >= lse.rows && kept_q.cols == q.cols);
  assert(kept_q.rows == q.rows / lse.rows * kept_lse.rows && q.cols % 4 == 0 && kept_lse.cols == lse.cols);
  const AttentionKeepParameters p{lse.rows, q.rows / lse.rows, q.cols / 4,   lse.cols,
                                  slot,     first_position,    kept_lse.rows};
  const uint32_t n = q.rows * p.n_vectors + static_cast<uint32_t>(lse.elements());
  stream.dispatch(kernel(), {kept_q, kept_lse, q, lse, rows}, p, {ceil_div(n, kLanes)},
                  {0, 2.0 * static_cast<double>(q.bytes() + lse.bytes())});
}

std::vector<KernelSpec> attention_keep_kernels(const Caps&) { return {kernel()}; }

}  // namespace spindle
