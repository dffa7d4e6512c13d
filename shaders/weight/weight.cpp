// Weights: where the cuts are, and the repacking of a file's rows.
#include "shaders/weight/weight.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cmath>
#include <cstring>

namespace spindle {
namespace {

constexpr uint32_t kGroup = WEIGHT_GROUP, kBlock = WEIGHT_BLOCK;
constexpr uint64_t kLargestBinding = uint64_t{1} << 31;  // lavapipe fails beyond

bool has_scales(DType type) { return type == DType::q8_0 || type == DType::q4_0; }
uint64_t group_values_bytes(DType type, uint32_t k) {
  return uint64_t{ceil_div(k, kBlock)} * (kBlock / unit_inputs(type)) * kGroup * 16;
}
uint64_t group_scales_bytes(DType type, uint32_t k) {
  return has_scales(type) ? uint64_t{ceil_div(k, 2 * kBlock)} * kGroup * 4 : 0;
}

struct Unit {
  uint32_t word[4];
};

// One block of one output to its units, which lie kGroup units apart. `n` is how many inputs there are.
template <DType type>
void pack_block(const std::byte* from, uint32_t n, Unit* to) {
  if constexpr (type == DType::q4_0) {
    constexpr uint32_t low = 0x0f0f0f0f, high = 0xf0f0f0f0, minus8 = 0x88888888;
    uint32_t b[4];
    std::memcpy(b, from + 2, 16);
    *to = {{((b[0] & low) | (b[1] & low) << 4) ^ minus8, ((b[2] & low) | (b[3] & low) << 4) ^ minus8,
            ((b[0] >> 4 & low) | (b[1] & high)) ^ minus8, ((b[2] >> 4 & low) | (b[3] & high)) ^ minus8}};
  } else {
    constexpr uint32_t skip = type == DType::q8_0 ? 2 : 0, units = kBlock / unit_inputs(type);
    constexpr uint32_t element = 16 / unit_inputs(type);
    Unit block[units] = {};
    if (n >= kBlock) std::memcpy(block, from + skip, sizeof block);
    else std::memcpy(block, from + skip, n * element);
    for (uint32_t u = 0; u < units; u++) to[u * kGroup] = block[u];
  }
}

template <DType type>
void pack_rows(uint32_t k, uint32_t count, const std::byte* rows, Unit* values, uint32_t* scales) {
  constexpr uint32_t units = kBlock / unit_inputs(type);
  constexpr bool quantised = type == DType::q8_0 || type == DType::q4_0;
  constexpr uint32_t block_bytes = type == DType::f32    ? 128
                                   : type == DType::f16  ? 64
                                   : type == DType::q8_0 ? 34
                                                         : 18;
  const uint64_t row_bytes = bytes_of(type, k);
  const uint32_t n_blocks = ceil_div(k, kBlock);
  for (uint32_t group = 0; group < ceil_div(count, kGroup); group++) {
    const uint32_t n_rows = std::min(kGroup, count - group * kGroup);
    const std::byte* first = rows + uint64_t{group} * kGroup * row_bytes;
    for (uint32_t block = 0; block < n_blocks; block++, values += units * kGroup) {
      const uint32_t n = std::min(kBlock, k - block * kBlock);
      for (uint32_t r = 0; r < n_rows; r++)
        pack_block<type>(first + r * row_bytes + uint64_t{block} * block_bytes, n, values + r);
      for (uint32_t r = n_rows; r < kGroup; r++)
        for (uint32_t u = 0; u < units; u++) values[u * kGroup + r] = {};
    }
    if constexpr (quantised)
      for (uint32_t block = 0; block < n_blocks; block += 2, scales += kGroup)
        for (uint32_t r = 0; r < kGroup; r++) {
          uint16_t pair[2] = {};
          for (uint32_t i = 0; i < 2 && r < n_rows && block + i < n_blocks; i++)
            std::memcpy(&pair[i], first + r * row_bytes + uint64_t{block + i} * block_bytes, 2);
          scales[r] = pair[0] | uint32_t{pair[1]} << 16;
        }
  }
}

double decode_f16(uint16_t bits) {
  const int exponent = bits >> 10 & 31, mantissa = bits & 1023;
  const double magnitude = exponent == 31  ? (mantissa ? NAN : HUGE_VAL)
                           : exponent == 0 ? std::ldexp(mantissa, -24)
                                           : std::ldexp(1024 + mantissa, exponent - 25);
  return bits & 0x8000 ? -magnitude : magnitude;
}

}  // namespace

uint64_t Weight::bytes() const {
  uint64_t sum = 0;
  for (const WeightPart& p : parts) sum += p.values.bytes() + (p.scales ? p.scales.bytes() : 0);
  return sum;
}

std::vector<WeightPartShape> weight_parts(const Caps& caps, const WeightShape& shape) {
  require(shape.n > 0 && shape.k > 0, "a weight of {} outputs and {} inputs", shape.n, shape.k);
  require(!has_scales(shape.type) || shape.k % kBlock == 0, ErrorKind::model_file,
          "a {} weight of {} inputs: not whole blocks of {}", info(shape.type).name, shape.k, kBlock);
  const uint64_t most = std::min({caps.max_binding_bytes, caps.max_allocation_bytes, kLargestBinding});
  const uint64_t values = group_values_bytes(shape.type, shape.k),
                 scales = group_scales_bytes(shape.type, shape.k);
  require(values <= most, "{} outputs of a {} weight with {} inputs are {} bytes, the device binds {}",
          kGroup, info(shape.type).name, shape.k, values, most);
  const uint32_t groups = ceil_div(shape.n, kGroup);
  const auto per_part = static_cast<uint32_t>(std::min<uint64_t>(most / values, groups));
  // Parts of nearly equal size, so that the last one keeps the device busy too.
  const uint32_t n_parts = ceil_div(groups, per_part), even = ceil_div(groups, n_parts);
  std::vector<WeightPartShape> parts;
  for (uint32_t g = 0; g < groups; g += even) {
    const uint32_t n = std::min(even, groups - g);
    parts.push_back({g * kGroup, std::min(n * kGroup, shape.n - g * kGroup), n * values, n * scales});
  }
  return parts;
}

uint64_t weight_bytes(const Caps& caps, const WeightShape& shape) {
  uint64_t sum = 0;
  for (const WeightPartShape& p : weight_parts(caps, shape))
    sum += align_tensor(p.values_bytes) + align_tensor(p.scales_bytes);
  return sum;
}

void pack(DType type, uint32_t k, uint32_t count, std::span<const std::byte> rows, std::span<uint32_t> values,
          std::span<uint32_t> scales) {
  static_assert(std::endian::native == std::endian::little);
  [[maybe_unused]] const uint32_t groups = ceil_div(count, kGroup);
  assert(rows.size() == count * bytes_of(type, k));
  assert(values.size_bytes() >= groups * group_values_bytes(type, k));
  assert(scales.size_bytes() >= groups * group_scales_bytes(type, k));
  auto* units = reinterpret_cast<Unit*>(values.data());
  switch (type) {
    case DType::f32:
      return pack_rows<DType::f32>(k, count, rows.data(), units, scales.data());
    case DType::f16:
      return pack_rows<DType::f16>(k, count, rows.data(), units, scales.data());
    case DType::q8_0:
      return pack_rows<DType::q8_0>(k, count, rows.data(), units, scales.data());
    case DType::q4_0:
      return pack_rows<DType::q4_0>(k, count, rows.data(), units, scales.data());
    case DType::u32:
      break;
  }
  fail(ErrorKind::model_file, "{} is not a type of weights", info(type).name);
}

std::vector<double> reference::decode(DType type, std::span<const std::byte> bytes) {
  const DTypeInfo& t = info(type);
  const size_t n_blocks = bytes.size() / t.block_bytes;
  std::vector<double> values(n_blocks * t.block_elements);
  for (size_t i = 0; i < n_blocks; i++) {
    const std::byte* block = bytes.data() + i * t.block_bytes;
    double* to = values.data() + i * t.block_elements;
    uint16_t half = 0;
    std::memcpy(&half, block, 2);
    if (type == DType::f32) {
      float f = 0;
      std::memcpy(&f, block, 4);
      *to = f;
    } else if (type == DType::f16) {
      *to = decode_f16(half);
    } else if (type == DType::q8_0) {
      for (int j = 0; j < 32; j++) to[j] = decode_f16(half) * static_cast<int8_t>(block[2 + j]);
    } else {
      assert(type == DType::q4_0);
      for (int j = 0; j < 16; j++) {
        const int byte = static_cast<int>(block[2 + j]);
        to[j] = decode_f16(half) * ((byte & 15) - 8);
        to[j + 16] = decode_f16(half) * ((byte >> 4) - 8);
      }
    }
  }
  return values;
}

}  // namespace spindle
