// Cuts tensors of many rows so that each piece fits in a binding and begins where a binding may.
#ifndef SPINDLE_SHADERS_ROW_SLICES_H
#define SPINDLE_SHADERS_ROW_SLICES_H
#include <algorithm>
#include <numeric>

#include "shaders/common/op.h"

namespace spindle {

// Rows of a piece of both a and b, which have as many rows and elements of 4 bytes.
inline uint32_t slice_rows(const Caps& caps, Tensor a, Tensor b) {
  if (std::max(a.bytes(), b.bytes()) <= caps.max_binding_bytes) return a.rows;
  constexpr uint32_t alignment = kTensorAlignment / 4;
  const uint32_t step =
      std::max(alignment / std::gcd(alignment, a.cols), alignment / std::gcd(alignment, b.cols));
  const auto most = static_cast<uint32_t>(caps.max_binding_bytes / 4 / std::max(a.cols, b.cols));
  require(most >= step, "{} rows of {} and {} columns exceed a binding of {} bytes", step, a.cols, b.cols,
          caps.max_binding_bytes);
  return most / step * step;
}

}  // namespace spindle
#endif
