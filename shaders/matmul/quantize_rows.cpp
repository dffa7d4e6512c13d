// Quantised rows: the definition.
#include "shaders/matmul/quantize_rows.h"

#include <algorithm>
#include <cmath>

namespace spindle {

constexpr uint32_t kBlock = QUANTIZED_BLOCK;

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
