// Weights: what a file's bytes mean, element by element, as ggml defines its blocks.
#include <cassert>
#include <cmath>
#include <cstring>

#include "shaders/weight/weight.h"

namespace spindle::reference {
namespace {

constexpr int kIq4[] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
constexpr double kE2m1[] = {0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6};

double decode_f16(uint32_t bits) {
  const int exponent = static_cast<int>(bits >> 10 & 31), mantissa = static_cast<int>(bits & 1023);
  const double magnitude = exponent == 31  ? (mantissa ? NAN : HUGE_VAL)
                           : exponent == 0 ? std::ldexp(mantissa, -24)
                                           : std::ldexp(1024 + mantissa, exponent - 25);
  return bits & 0x8000 ? -magnitude : magnitude;
}

struct Block {
  const std::byte* bytes;
  int u8(int i) const { return static_cast<int>(bytes[i]); }
  int i8(int i) const { return static_cast<int8_t>(bytes[i]); }
  double f16(int i) const { return decode_f16(static_cast<uint32_t>(u8(i) | u8(i + 1) << 8)); }
  int bit(int i, int n) const { return u8(i + n / 8) >> n % 8 & 1; }
  // Element e of 32 in 16 bytes: the low nibbles are the first half.
  int nibble(int i, int e) const { return u8(i + e % 16) >> e / 16 * 4 & 15; }
};

// Scale (first) or minimum of block j of q4_k and q5_k: 6 bits each in 12 bytes.
int six(const Block& b, int at, int j, bool minimum) {
  if (j < 4) return b.u8(at + j + (minimum ? 4 : 0)) & 63;
  const int low = b.u8(at + j + 4) >> (minimum ? 4 : 0) & 15, high = b.u8(at + j - (minimum ? 0 : 4)) >> 6;
  return low | high << 4;
}

double element(DType type, const Block& b, int e) {
  const int half = e / 128, quarter = e % 128 / 32, l = e % 32;  // of 256
  switch (type) {
    case DType::f32: {
      float f;
      std::memcpy(&f, b.bytes, 4);
      return f;
    }
    case DType::f16:
      return b.f16(0);
    case DType::bf16: {
      const uint32_t bits = static_cast<uint32_t>(b.u8(0) | b.u8(1) << 8) << 16;
      float f;
      std::memcpy(&f, &bits, 4);
      return f;
    }
    case DType::q8_0:
      return b.f16(0) * b.i8(2 + e);
    case DType::q4_0:
      return b.f16(0) * (b.nibble(2, e) - 8);
    case DType::q4_1:
      return b.f16(0) * b.nibble(4, e) + b.f16(2);
    case DType::q5_0:
      return b.f16(0) * ((b.nibble(6, e) | b.bit(2, e) << 4) - 16);
    case DType::q5_1:
      return b.f16(0) * (b.nibble(8, e) | b.bit(4, e) << 4) + b.f16(2);
    case DType::q2_k: {
      const int q = b.u8(16 + half * 32 + l) >> quarter * 2 & 3, s = b.u8(e / 16);
      return b.f16(80) * (s & 15) * q - b.f16(82) * (s >> 4);
    }
    case DType::q3_k: {
      const int q = b.u8(32 + half * 32 + l) >> quarter * 2 & 3, s = e / 16;
      const int scale = (b.u8(96 + s % 8) >> s / 8 * 4 & 15) | (b.u8(104 + s % 4) >> s / 4 * 2 & 3) << 4;
      return b.f16(108) * (scale - 32) * (q - (b.u8(l) >> e / 32 & 1 ? 0 : 4));
    }
    case DType::q4_k: {
      const int j = e / 32, q = b.u8(16 + j / 2 * 32 + l) >> j % 2 * 4 & 15;
      return b.f16(0) * six(b, 4, j, false) * q - b.f16(2) * six(b, 4, j, true);
    }
    case DType::q5_k: {
      const int j = e / 32, q = (b.u8(48 + j / 2 * 32 + l) >> j % 2 * 4 & 15) | (b.u8(16 + l) >> j & 1) << 4;
      return b.f16(0) * six(b, 4, j, false) * q - b.f16(2) * six(b, 4, j, true);
    }
    case DType::q6_k: {
      const int low = b.u8(half * 64 + quarter % 2 * 32 + l) >> quarter / 2 * 4 & 15;
      const int high = b.u8(128 + half * 32 + l) >> quarter * 2 & 3;
      return b.f16(208) * b.i8(192 + e / 16) * ((low | high << 4) - 32);
    }
    case DType::iq4_nl:
      return b.f16(0) * kIq4[b.nibble(2, e)];
    case DType::iq4_xs: {
      const int j = e / 32;
      const int scale = (b.u8(4 + j / 2) >> j % 2 * 4 & 15) | ((b.u8(2) | b.u8(3) << 8) >> j * 2 & 3) << 4;
      return b.f16(0) * (scale - 32) * kIq4[b.nibble(8 + j * 16, l)];
    }
    case DType::mxfp4:
      return std::ldexp(kE2m1[b.nibble(1, e)], b.u8(0) - 127);
    case DType::u32:
      break;
  }
  assert(false);
  return 0;
}

}  // namespace

std::vector<double> decode(DType type, std::span<const std::byte> bytes) {
  const DTypeInfo& t = info(type);
  std::vector<double> values(bytes.size() / t.block_bytes * t.block_elements);
  for (size_t i = 0; i < values.size(); i++) {
    const Block block{bytes.data() + i / t.block_elements * t.block_bytes};
    values[i] = element(type, block, static_cast<int>(i % t.block_elements));
  }
  return values;
}

}  // namespace spindle::reference
