// Quantised rows: dispatch and reference.
#include "shaders/matmul/quantize_rows.h"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "shaders/matmul/row_slices.h"

namespace spindle {
namespace {

static_assert(QUANTIZED_WORDS(32) * 4 % kTensorAlignment == 0);
constexpr uint32_t kCode[] =
#include "shaders/matmul/quantize_rows.comp.inc"
    ;
constexpr Program kProgram{"quantize_rows", kCode};
constexpr uint32_t kBlock = QUANTIZED_BLOCK;

// A workgroup's blocks: few on a CPU, whose cores take workgroups.
uint32_t lanes(const Caps& caps) { return caps.software ? caps.subgroup_size : 64; }
KernelSpec kernel(const Caps& caps) { return {&kProgram, {lanes(caps)}}; }

}  // namespace

void quantize_rows(Stream& stream, Tensor q, Tensor x) {
  assert(x.cols % kBlock == 0 && q.cols == QUANTIZED_WORDS(x.cols) && q.rows == x.rows);
  const uint32_t n_rows = slice_rows(stream.caps(), q, x);
  for (uint32_t first = 0; first < x.rows; first += n_rows) {
    const uint32_t rows = std::min(n_rows, x.rows - first);
    const Tensor qs = q.slice(first, rows), xs = x.slice(first, rows);
    const auto blocks = static_cast<uint32_t>(xs.elements() / kBlock);
    const Work work{8.0 * static_cast<double>(xs.elements()), static_cast<double>(qs.bytes() + xs.bytes())};
    stream.dispatch(kernel(stream.caps()), {qs, xs}, QuantizeRows{blocks, x.cols / kBlock},
                    {ceil_div(blocks, lanes(stream.caps()))}, work);
  }
}

std::vector<KernelSpec> quantize_rows_kernels(const Caps& caps) { return {kernel(caps)}; }

void reference::quantize_rows(std::span<int8_t> q, std::span<float> scales, std::span<const float> x) {
  for (size_t block = 0; block < scales.size(); block++) {
    std::fill_n(q.begin() + static_cast<ptrdiff_t>(block * kBlock), kBlock, int8_t{0});
    float largest = 0;
    for (size_t i = 0; i < kBlock; i++) largest = std::max(largest, std::abs(x[block * kBlock + i]));
    if (largest < 0x1p-100f) largest = 0;
    scales[block] = largest * (1.0f / QUANTIZED_LARGEST);
    if (!(largest > 0 && largest < HUGE_VALF)) continue;
    const double exact = double{QUANTIZED_LARGEST} / largest;
    auto inverse = static_cast<float>(exact);
    if (inverse > exact) inverse = std::nextafter(inverse, 0.0f);
    for (size_t i = 0; i < kBlock; i++)
      q[block * kBlock + i] = static_cast<int8_t>(std::nearbyint(x[block * kBlock + i] * inverse));
  }
}

}  // namespace spindle
