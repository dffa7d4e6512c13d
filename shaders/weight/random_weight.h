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
      } else {
        std::memcpy(block, &h, 2);
        for (uint32_t i = 2; i < info(type).block_bytes; i++) block[i] = std::byte(engine() & 255);
      }
    }
    values = reference::decode(type, bytes);
  }
  ReadBytes read() const {
    return [this](uint64_t at, std::span<std::byte> to) {
      std::copy_n(bytes.data() + at, to.size(), to.data());
    };
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
