// Rows as f16: the definition.
#include "shaders/matmul/half_rows.h"

#include <algorithm>
#include <cmath>

namespace spindle {

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
