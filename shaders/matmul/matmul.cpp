// Matrix product: choice of tile, dispatch and reference.
#include "shaders/matmul/matmul.h"

#include <algorithm>
#include <cassert>
#include <numeric>

namespace spindle {
namespace {

constexpr uint32_t kCode[] =
#include "shaders/matmul/matmul.comp.inc"
    ;
constexpr uint32_t kSubgroupCode[] =
#include "shaders/matmul/matmul_subgroup.comp.inc"
    ;
constexpr Program kPlain{"matmul", kCode}, kSubgroup{"matmul", kSubgroupCode};

bool is_scaled(DType type) { return type == DType::q8_0 || type == DType::q4_0; }

constexpr uint32_t kDecodeRows[] = {1, 2, 4, 8};  // tm when decoding

KernelSpec kernel(const MatmulTile& t, Phase phase, DType type, uint32_t x_access, bool bias) {
  // Where a row is alone, scaling a block's sum is cheaper than scaling its values.
  const bool scale_sums = phase == Phase::decode && is_scaled(type);
  return {t.shuffle ? &kSubgroup : &kPlain,
          {t.lanes, t.row_groups, t.slices, t.tm, t.tn, static_cast<uint32_t>(type), x_access, scale_sums,
           bias, t.steps}};
}

uint32_t x_access(uint32_t k) { return k % WEIGHT_BLOCK == 0 ? 0 : k % 4 == 0 ? 1 : 2; }

// Rows of y and x that fit in a binding each and begin where a binding may.
uint32_t slice_rows(const Caps& caps, Tensor y, Tensor x) {
  if (std::max(y.bytes(), x.bytes()) <= caps.max_binding_bytes) return y.rows;
  constexpr uint32_t alignment = kTensorAlignment / sizeof(float);
  const uint32_t step =
      std::max(alignment / std::gcd(alignment, y.cols), alignment / std::gcd(alignment, x.cols));
  const auto most = static_cast<uint32_t>(caps.max_binding_bytes / sizeof(float) / std::max(y.cols, x.cols));
  require(most >= step, "matmul: {} rows of {} and {} columns exceed a binding of {} bytes", step, y.cols,
          x.cols, caps.max_binding_bytes);
  return most / step * step;
}

}  // namespace

MatmulTile matmul_tile(const Caps& caps, Phase phase, uint32_t rows) {
  uint32_t tm = kDecodeRows[0];
  for (uint32_t r : kDecodeRows)
    if (tm < rows) tm = r;
  // A CPU: a load costs much more than a multiply-add, registers spill into a near cache, barriers are slow.
  if (caps.software)
    return phase == Phase::prefill
               ? MatmulTile{caps.subgroup_size, 1, 1, 16, 4, 2, caps.subgroup}
               : MatmulTile{caps.subgroup_size, 1, 1, tm, 4, tm == 1 ? 4u : 2u, caps.subgroup};
  // The largest that do not spill: 8 x 4 does on Apple's M1, 6 x 4 on Intel's, whose subgroups may be smaller
  // than 32.
  if (phase == Phase::prefill && caps.subgroup_size >= 64) return {64, 4, 1, 8, 2, 2, false};
  if (phase == Phase::prefill && caps.min_subgroup_size < 32) return {32, 4, 1, 8, 2, 2, false};
  if (phase == Phase::prefill) return {32, 4, 1, 6, 4, 2, false};
  const uint32_t slices = std::min(caps.max_workgroup_invocations, 256u) / WEIGHT_GROUP;
  return {WEIGHT_GROUP, 1, slices, tm, 1, std::max(8 / tm, 2u), false};
}

void matmul(Stream& stream, Phase phase, Tensor y, const Weight& w, Tensor x, Tensor bias) {
  matmul(stream, matmul_tile(stream.caps(), phase, y.rows), phase, y, w, x, bias);
}

void matmul(Stream& stream, const MatmulTile& tile, Phase phase, Tensor y, const Weight& w, Tensor x,
            Tensor bias) {
  assert(y.cols == w.n && x.cols == w.k && y.rows == x.rows && (!bias || bias.elements() == w.n));
  const Caps& caps = stream.caps();
  const KernelSpec spec = kernel(tile, phase, w.type, x_access(w.k), static_cast<bool>(bias));
  const uint32_t n_rows = slice_rows(caps, y, x);
  for (uint32_t first = 0; first < y.rows; first += n_rows) {
    const uint32_t rows = std::min(n_rows, y.rows - first);
    const Tensor ys = y.slice(first, rows), xs = x.slice(first, rows);
    for (const WeightPart& part : w.parts) {
      const double outputs = part.count,
                   weights =
                       static_cast<double>(part.values.bytes() + (part.scales ? part.scales.bytes() : 0));
      const Work work{2.0 * rows * outputs * w.k,
                      weights + static_cast<double>(xs.bytes()) + 4.0 * rows * outputs};
      const Grid grid{ceil_div(rows, tile.tm * tile.row_groups), ceil_div(part.count, tile.lanes * tile.tn)};
      stream.dispatch(spec, {ys, part.values, part.scales, xs, bias},
                      MatmulParameters{w.n, w.k, rows, part.first, part.count}, grid, work);
    }
  }
}

std::vector<KernelSpec> matmul_kernels(const Caps& caps) {
  std::vector<KernelSpec> specs;
  for (DType type : {DType::f32, DType::f16, DType::q8_0, DType::q4_0})
    for (uint32_t access = 0; access < (is_scaled(type) ? 1 : 3); access++)
      for (bool bias : {false, true}) {
        specs.push_back(kernel(matmul_tile(caps, Phase::prefill, 1), Phase::prefill, type, access, bias));
        for (uint32_t rows : kDecodeRows)
          specs.push_back(kernel(matmul_tile(caps, Phase::decode, rows), Phase::decode, type, access, bias));
      }
  return specs;
}

void reference::matmul(std::span<double> y, std::span<const double> w, std::span<const double> x,
                       std::span<const double> bias, uint32_t rows) {
  const size_t n = y.size() / rows, k = x.size() / rows;
  for (size_t row = 0; row < rows; row++)
    for (size_t i = 0; i < n; i++) {
      double sum = bias.empty() ? 0 : bias[i];
      for (size_t j = 0; j < k; j++) sum += w[i * k + j] * x[row * k + j];
      y[row * n + i] = sum;
    }
}

}  // namespace spindle
