// A matrix of random values as a file holds it, for the tests of what reads weights.
#ifndef SPINDLE_SHADERS_RANDOM_WEIGHT_H
#define SPINDLE_SHADERS_RANDOM_WEIGHT_H
#include <algorithm>
#include <cstring>
#include <random>

#include "shaders/weight/weight.h"

namespace spindle::test {

struct RandomWeight {
  DType type;
  uint32_t n, k;
  std::vector<std::byte> bytes;
  std::vector<double> values;  // [n, k]
  std::vector<double>
      minima;  // likewise: what values are where their integers are 0, in types with a minimum

  RandomWeight(DType t, uint32_t n_, uint32_t k_, uint32_t seed)
      : type(t), n(n_), k(k_), bytes(n * bytes_of(t, k)) {
    std::mt19937 engine(seed);
    const auto half = [&] {  // of either sign, 2^-7 to 2
      return static_cast<uint16_t>((engine() & 0x8000) | (8 + engine() % 8) << 10 | (engine() & 1023));
    };
    for (size_t at = 0; at < bytes.size(); at += info(type).block_bytes) {
      std::byte* block = bytes.data() + at;
      const uint16_t h = half();
      const float f = static_cast<float>(static_cast<int>(engine())) * 0x1p-31f;
      if (type == DType::f32) {
        std::memcpy(block, &f, 4);
      } else if (type == DType::bf16) {
        std::memcpy(block, reinterpret_cast<const char*>(&f) + 2, 2);
      } else {
        const Scales scales = scales_of(type);
        for (uint32_t i = 0; i < info(type).block_bytes; i++) block[i] = std::byte(engine() & 255);
        std::memcpy(block + scales.first, &h, 2);
        if (scales.minimum > 0) {
          const uint16_t m = half();
          std::memcpy(block + scales.minimum, &m, 2);
        }
        if (type == DType::mxfp4) block[0] = std::byte(120 + engine() % 8);
      }
    }
    values = reference::decode(type, bytes);
    const Scales scales = scales_of(type);
    minima.resize(values.size());
    if (scales.minimum == 0) return;
    std::vector<std::byte> zeros = bytes;
    for (size_t i = 0; i < zeros.size(); i++) {
      const size_t in_block = i % info(type).block_bytes;
      if (in_block >= scales.values && (in_block < scales.first || scales.first == 0)) zeros[i] = {};
    }
    minima = reference::decode(type, zeros);
  }
  ReadBytes read() const {
    return [this](uint64_t at, std::span<std::byte> to) {
      std::copy_n(bytes.data() + at, to.size(), to.data());
    };
  }
  // Where a block has its halves, and where its integers begin.
  struct Scales {
    uint32_t first, minimum, values;
  };
  static Scales scales_of(DType t) {
    switch (t) {
      case DType::q2_k:
        return {80, 82, 16};
      case DType::q3_k:
        return {108, 0, 0};
      case DType::q6_k:
        return {208, 0, 0};
      case DType::q4_1:
      case DType::q5_1:
        return {0, 2, 4};
      case DType::q4_k:
      case DType::q5_k:
        return {0, 2, 16};
      default:
        return {0, 0, 0};
    }
  }
  std::vector<double> row(uint32_t i) const { return {values.begin() + i * k, values.begin() + (i + 1) * k}; }
};

// The matrix on a device.
struct LoadedWeight {
  LoadedWeight(Stream& stream, const RandomWeight& from) {
    const WeightShape shape{from.type, from.n, from.k};
    store = WeightStore(stream.device(), {&shape, 1});
    store.load_matrix(stream, 0, from.read());
  }
  const Weight& weight() const { return store.matrix(0); }
  WeightStore store;
};

}  // namespace spindle::test
#endif
