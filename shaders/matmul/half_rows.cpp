// Rows as f16: dispatch and reference.
#include "shaders/matmul/half_rows.h"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "shaders/matmul/row_slices.h"

namespace spindle {
namespace {

static_assert(HALF_WORDS(32) * 4 % kTensorAlignment == 0);
constexpr uint32_t kCode[] =
#include "shaders/matmul/half_rows.comp.inc"
    ;
constexpr Program kProgram{"half_rows", kCode};

KernelSpec kernel(const Caps& caps, uint32_t k) {
  return {&kProgram, {caps.software ? caps.subgroup_size : 64, k % 4 == 0}};
}

}  // namespace

void half_rows(Stream& stream, Tensor h, Tensor x) {
  assert(h.cols == HALF_WORDS(x.cols) && h.rows == x.rows);
  const uint32_t n_rows = slice_rows(stream.caps(), h, x);
  for (uint32_t first = 0; first < x.rows; first += n_rows) {
    const uint32_t rows = std::min(n_rows, x.rows - first);
    const Tensor hs = h.slice(first, rows), xs = x.slice(first, rows);
    const Work work{4.0 * static_cast<double>(xs.elements()), static_cast<double>(hs.bytes() + xs.bytes())};
    stream.dispatch(kernel(stream.caps(), x.cols), {hs, xs}, HalfRows{x.cols}, {rows}, work);
  }
}

std::vector<KernelSpec> half_rows_kernels(const Caps& caps) { return {kernel(caps, 4), kernel(caps, 1)}; }

float reference::round_to_f16(float value) {
  int exponent = 0;
  std::frexp(value, &exponent);                   // value is below 2^exponent
  const int last = std::max(exponent, -13) - 11;  // the last of 11 bits
  const double rounded = std::ldexp(std::nearbyint(std::ldexp(double{value}, -last)), last);
  return static_cast<float>(std::abs(rounded) > 65504 ? std::copysign(HUGE_VAL, rounded) : rounded);
}

void reference::half_rows(std::span<float> halves, std::span<float> scales, std::span<const float> x) {
  const size_t k = x.size() / scales.size();
  for (size_t row = 0; row < scales.size(); row++) {
    float largest = 0;
    for (float v : x.subspan(row * k, k)) largest = std::max(largest, std::abs(v));
    if (largest < 0x1p-100f) largest = 0;
    scales[row] = largest == 0 ? 0 : std::exp2(static_cast<float>(std::ilogb(largest) - 14));
    for (size_t i = row * k; i < (row + 1) * k; i++)
      halves[i] = largest == 0 ? 0 : round_to_f16(x[i] / scales[row]);
  }
}

}  // namespace spindle
