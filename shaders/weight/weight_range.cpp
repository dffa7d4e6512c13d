// Weights: whether what a file's blocks can stand for exceeds f16.
#include <bit>
#include <cassert>
#include <cmath>
#include <cstring>

#include "shaders/weight/weight.h"

namespace spindle {
namespace {

constexpr double kLargest = 65504;

// The magnitude of two bytes as f16.
double half_at(const std::byte* p) {
  uint16_t h;
  std::memcpy(&h, p, 2);
  const int exponent = h >> 10 & 31, mantissa = h & 1023;
  return exponent == 31 ? HUGE_VAL
                        : std::ldexp(exponent ? 1024 + mantissa : mantissa, std::max(exponent, 1) - 25);
}

// A value is at most of_scale times the f16 at `scale` plus of_minimum times that at `minimum`.
struct Bound {
  uint32_t scale;
  double of_scale;
  uint32_t minimum;
  double of_minimum;
};
Bound bound_of(DType type) {
  switch (type) {
    case DType::q8_0:
      return {0, 128, 0, 0};
    case DType::q4_0:
      return {0, 8, 0, 0};
    case DType::q4_1:
      return {0, 15, 2, 1};
    case DType::q5_0:
      return {0, 16, 0, 0};
    case DType::q5_1:
      return {0, 31, 2, 1};
    case DType::q2_k:
      return {80, 15 * 3, 82, 15};
    case DType::q3_k:
      return {108, 32 * 4, 0, 0};
    case DType::q4_k:
      return {0, 63 * 15, 2, 63};
    case DType::q5_k:
      return {0, 63 * 31, 2, 63};
    case DType::q6_k:
      return {208, 128 * 32, 0, 0};
    case DType::iq4_nl:
      return {0, 127, 0, 0};
    case DType::iq4_xs:
      return {0, 32 * 127, 0, 0};
    default:
      break;
  }
  return {0, 0, 0, 0};
}

}  // namespace

bool fits_f16(DType type, std::span<const std::byte> blocks) {
  if (type == DType::f32 || type == DType::f16) return type == DType::f16;
  const uint32_t block_bytes = info(type).block_bytes;
  const Bound b = bound_of(type);
  for (const std::byte* at = blocks.data(); at < blocks.data() + blocks.size(); at += block_bytes) {
    double most = 0;
    if (type == DType::bf16) {
      uint16_t h;
      std::memcpy(&h, at, 2);
      most = std::bit_cast<float>((h & 0x7fffu) << 16);
    } else if (type == DType::mxfp4) {
      most = std::ldexp(12, static_cast<int>(at[0]) - 128);
    } else {
      most = b.of_scale * half_at(at + b.scale);
      if (b.of_minimum > 0) most += b.of_minimum * half_at(at + b.minimum);
    }
    if (!(most <= kLargest)) return false;
  }
  return true;
}

}  // namespace spindle
