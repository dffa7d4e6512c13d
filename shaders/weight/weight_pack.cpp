// Weights: the repacking of a file's rows.
#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <cstring>

#include "shaders/weight/weight.h"

namespace spindle {
namespace {

constexpr uint32_t kGroup = WEIGHT_GROUP, kBlock = WEIGHT_BLOCK;
using Bytes = const std::byte*;

struct Unit {
  uint32_t word[4];
};
using Steps = std::array<uint32_t, 8>;  // a block's inputs as unsigned bytes, four a word

uint32_t half_at(Bytes p) {
  uint16_t h;
  std::memcpy(&h, p, 2);
  return h;
}
template <size_t n>
std::array<uint32_t, n> words_at(Bytes p) {
  std::array<uint32_t, n> w;
  std::memcpy(w.data(), p, sizeof w);
  return w;
}

constexpr bool is_direct(DType t) {  // a file's bytes in their order
  return t == DType::f32 || t == DType::f16 || t == DType::bf16 || t == DType::q8_0;
}

// Sixteen bytes with inputs 0 to 15 of a block in the low nibbles and 16 to 31 in the high ones.
Steps nibbles(Bytes p) {
  const auto w = words_at<4>(p);
  Steps s;
  for (uint32_t i = 0; i < 4; i++) {
    s[i] = w[i] & 0x0f0f0f0f;
    s[4 + i] = w[i] >> 4 & 0x0f0f0f0f;
  }
  return s;
}

// Bits `shift` and following of 32 bytes, one an input.
Steps bits_of(Bytes p, uint32_t shift, uint32_t mask) {
  Steps s = words_at<8>(p);
  for (uint32_t& w : s) w = w >> shift & mask * 0x01010101;
  return s;
}
Steps with_high(Steps low, const Steps& high, uint32_t shift) {
  for (uint32_t i = 0; i < 8; i++) low[i] |= high[i] << shift;
  return low;
}

// Block b of 32 of a file's block, without the format's offset.
template <DType type>
Steps block_steps(Bytes p, uint32_t b) {
  const uint32_t half = b / 4, quarter = b % 4;  // q2_k, q3_k, q6_k: 128 inputs, 32 of them
  if constexpr (type == DType::q4_1) return nibbles(p + 4);
  if constexpr (type == DType::iq4_nl) return nibbles(p + 2);
  if constexpr (type == DType::mxfp4) return nibbles(p + 1);
  if constexpr (type == DType::iq4_xs) return nibbles(p + 8 + 16 * b);
  if constexpr (type == DType::q5_0 || type == DType::q5_1) {
    const uint32_t at = type == DType::q5_0 ? 2 : 4, high = words_at<1>(p + at)[0];
    Steps s = nibbles(p + at + 4);
    for (uint32_t i = 0; i < 8; i++)  // bit c of four to bit 4 of byte c
      s[i] |= ((high >> 4 * i & 15) * 0x00204081 & 0x01010101) << 4;
    return s;
  }
  if constexpr (type == DType::q2_k) return bits_of(p + 16 + 32 * half, 2 * quarter, 3);
  if constexpr (type == DType::q3_k)
    return with_high(bits_of(p + 32 + 32 * half, 2 * quarter, 3), bits_of(p, b, 1), 2);
  if constexpr (type == DType::q4_k) return bits_of(p + 16 + b / 2 * 32, b % 2 * 4, 15);
  if constexpr (type == DType::q5_k)
    return with_high(bits_of(p + 48 + b / 2 * 32, b % 2 * 4, 15), bits_of(p + 16, b, 1), 4);
  if constexpr (type == DType::q6_k)
    return with_high(bits_of(p + 64 * half + quarter % 2 * 32, quarter / 2 * 4, 15),
                     bits_of(p + 128 + 32 * half, 2 * quarter, 3), 4);
}

// Planes of 1, 2 and 4 bits, see format.h.
uint32_t plane_1(const Steps& s, uint32_t shift) {
  uint32_t word = 0;
  for (uint32_t i = 0; i < 8; i++) word |= (s[i] >> shift & 0x01010101) << i;
  return word;
}
uint32_t plane_2(const uint32_t* four, uint32_t shift) {
  uint32_t word = 0;
  for (uint32_t i = 0; i < 4; i++) word |= (four[i] >> shift & 0x03030303) << 2 * i;
  return word;
}
Unit plane_4(const Steps& s) {
  Unit u;
  for (uint32_t i = 0; i < 4; i++) u.word[i] = (s[2 * i] & 0x0f0f0f0f) | (s[2 * i + 1] & 0x0f0f0f0f) << 4;
  return u;
}

// Sixteen numbers of 6 bits, two a block of 32, into words 1 to 3 of a record.
void put_sixes(const std::array<uint32_t, 16>& numbers, uint32_t* words) {
  words[1] = words[2] = words[3] = 0;
  for (uint32_t b = 0; b < 8; b++) {
    const uint32_t x = numbers[2 * b], y = numbers[2 * b + 1];
    words[1 + b / 4] |= ((x & 15) | (y & 15) << 4) << b % 4 * 8;
    words[3] |= (x >> 4 | y >> 4 << 2) << b * 4;
  }
}

// One record from a file's blocks, of which there are n.
template <DType type>
void pack_record(Bytes p, uint32_t n, uint32_t* words) {
  constexpr uint32_t block_bytes = type == DType::q8_0    ? 34
                                   : type == DType::q5_0  ? 22
                                   : type == DType::mxfp4 ? 17
                                                          : 18;
  if constexpr (type == DType::q4_0 || type == DType::q8_0 || type == DType::iq4_nl || type == DType::q5_0)
    for (uint32_t i = 0; i < n; i++) {
      words[0] |= half_at(p + i * block_bytes) << 16 * i;
      if constexpr (type == DType::q5_0) words[1 + i] = plane_1(block_steps<type>(p + i * block_bytes, 0), 4);
    }
  if constexpr (type == DType::mxfp4)
    for (uint32_t i = 0; i < n; i++) words[0] |= static_cast<uint32_t>(p[i * block_bytes]) << 8 * i;
  if constexpr (type == DType::q4_1 || type == DType::q5_1) words[0] = words_at<1>(p)[0];
  if constexpr (type == DType::q5_1) words[1] = plane_1(block_steps<type>(p, 0), 4);
  if constexpr (type == DType::iq4_xs) std::memcpy(words, p, 8);
  if constexpr (type == DType::q2_k) {
    words[0] = words_at<1>(p + 80)[0];
    std::memcpy(words + 1, p, 16);
  }
  if constexpr (type == DType::q6_k) {
    words[0] = half_at(p + 208);
    std::memcpy(words + 1, p + 192, 16);
    for (uint32_t b = 0; b < 8; b++) {
      const Steps s = block_steps<type>(p, b);
      words[5 + 2 * b] = plane_2(s.data(), 4);
      words[6 + 2 * b] = plane_2(s.data() + 4, 4);
    }
  }
  if constexpr (type == DType::q3_k) {
    words[0] = half_at(p + 108);
    std::array<uint32_t, 16> numbers;
    const auto byte = [&](uint32_t i) { return static_cast<uint32_t>(p[96 + i]); };
    for (uint32_t i = 0; i < 16; i++)
      numbers[i] = (byte(i % 8) >> i / 8 * 4 & 15) | (byte(8 + i % 4) >> i / 4 * 2 & 3) << 4;
    put_sixes(numbers, words);
    for (uint32_t b = 0; b < 8; b++) words[4 + b] = plane_1(block_steps<type>(p, b), 2);
  }
  if constexpr (type == DType::q4_k || type == DType::q5_k) {
    words[0] = words_at<1>(p)[0];
    std::array<uint32_t, 16> numbers;  // scale and minimum of each block
    const auto byte = [&](uint32_t i) { return static_cast<uint32_t>(p[4 + i]); };
    for (uint32_t b = 0; b < 4; b++) {
      numbers[2 * b] = byte(b) & 63;
      numbers[2 * b + 1] = byte(4 + b) & 63;
      numbers[8 + 2 * b] = (byte(8 + b) & 15) | byte(b) >> 6 << 4;
      numbers[9 + 2 * b] = byte(8 + b) >> 4 | byte(4 + b) >> 6 << 4;
    }
    put_sixes(numbers, words);
    if constexpr (type == DType::q5_k)
      for (uint32_t b = 0; b < 8; b++) words[4 + b] = plane_1(block_steps<type>(p, b), 4);
  }
}

// The low bits of one block of one output to its units, which lie kGroup units apart. `n`: inputs there are.
template <DType type>
void pack_block(Bytes from, uint32_t n, Unit* to) {
  constexpr uint32_t units = weight_format(type).low_bits / 4;
  Unit block[units] = {};
  std::memcpy(block, from + (type == DType::q8_0 ? 2 : 0),
              n >= kBlock ? sizeof block : n * (sizeof block / kBlock));
  for (uint32_t u = 0; u < units; u++) to[u * kGroup] = block[u];
}
template <>
void pack_block<DType::q4_0>(Bytes from, uint32_t, Unit* to) {
  constexpr uint32_t low = 0x0f0f0f0f, high = 0xf0f0f0f0, minus8 = 0x88888888;
  const auto b = words_at<4>(from + 2);
  *to = {{((b[0] & low) | (b[1] & low) << 4) ^ minus8, ((b[2] & low) | (b[3] & low) << 4) ^ minus8,
          ((b[0] >> 4 & low) | (b[1] & high)) ^ minus8, ((b[2] >> 4 & low) | (b[3] & high)) ^ minus8}};
}

template <DType type>
void pack_rows(uint32_t k, uint32_t count, Bytes rows, uint32_t* values, uint32_t* scales) {
  constexpr WeightFormat format = weight_format(type);
  constexpr uint32_t block_words = format.low_bits;  // of one output: 32 inputs
  const uint64_t row_bytes = bytes_of(type, k);
  const uint32_t n_blocks = ceil_div(k, kBlock), file_inputs = info(type).block_elements;
  const uint32_t in_file = std::max(file_inputs / kBlock, 1u);  // blocks of 32 of a file's block
  const uint64_t file_bytes = std::max(kBlock / file_inputs, 1u) * uint64_t{info(type).block_bytes};
  for (uint32_t group = 0; group < ceil_div(count, kGroup); group++) {
    const uint32_t n_rows = std::min(kGroup, count - group * kGroup);
    const Bytes first = rows + uint64_t{group} * kGroup * row_bytes;
    for (uint32_t block = 0; block < n_blocks; block++, values += block_words * kGroup) {
      const Bytes at = first + block / in_file * file_bytes;
      for (uint32_t r = 0; r < n_rows; r++) {
        if constexpr (is_direct(type) || type == DType::q4_0) {
          pack_block<type>(at + r * row_bytes, std::min(kBlock, k - block * kBlock),
                           reinterpret_cast<Unit*>(values) + r);
        } else {
          const Steps s = block_steps<type>(at + r * row_bytes, block % in_file);
          if constexpr (format.low_bits == 4) {
            reinterpret_cast<Unit*>(values)[r] = plane_4(s);
          } else {
            values[2 * r] = plane_2(s.data(), 0);
            values[2 * r + 1] = plane_2(s.data() + 4, 0);
          }
        }
      }
      constexpr uint32_t unit_words = std::min(block_words, 4u);
      for (uint32_t u = 0; u < block_words / unit_words; u++)
        std::fill(values + (u * kGroup + n_rows) * unit_words, values + (u + 1) * kGroup * unit_words, 0u);
    }
    if constexpr (format.record_words > 0)
      for (uint32_t block = 0; block < n_blocks; block += format.record_blocks) {
        uint32_t records[kGroup][format.record_words] = {};
        for (uint32_t r = 0; r < n_rows; r++)
          pack_record<type>(first + r * row_bytes + block / in_file * file_bytes,
                            std::min(format.record_blocks, n_blocks - block), records[r]);
        for (uint32_t w = 0; w < format.record_words;) {
          const uint32_t width = w < format.head_words ? format.head_width : format.tail_width;
          for (uint32_t r = 0; r < kGroup; r++, scales += width) std::copy_n(records[r] + w, width, scales);
          w += width;
        }
      }
  }
}

}  // namespace

void pack(DType type, uint32_t k, uint32_t count, std::span<const std::byte> rows, std::span<uint32_t> values,
          std::span<uint32_t> scales) {
  static_assert(std::endian::native == std::endian::little);
  assert(rows.size() == count * bytes_of(type, k));
  assert(values.size_bytes() >= ceil_div(count, kGroup) * group_values_bytes(type, k));
  assert(scales.size_bytes() >= ceil_div(count, kGroup) * group_scales_bytes(type, k));
  const auto rows_of = [&]<DType t>() { pack_rows<t>(k, count, rows.data(), values.data(), scales.data()); };
  switch (type) {
#define SPINDLE_CASE(name) \
  case DType::name:        \
    return rows_of.operator()<DType::name>();
    SPINDLE_CASE(f32)
    SPINDLE_CASE(f16)
    SPINDLE_CASE(bf16)
    SPINDLE_CASE(q8_0)
    SPINDLE_CASE(q4_0)
    SPINDLE_CASE(q4_1)
    SPINDLE_CASE(q5_0)
    SPINDLE_CASE(q5_1)
    SPINDLE_CASE(q2_k)
    SPINDLE_CASE(q3_k)
    SPINDLE_CASE(q4_k)
    SPINDLE_CASE(q5_k)
    SPINDLE_CASE(q6_k)
    SPINDLE_CASE(iq4_nl)
    SPINDLE_CASE(iq4_xs)
    SPINDLE_CASE(mxfp4)
#undef SPINDLE_CASE
    case DType::u32:
      break;
  }
  fail(ErrorKind::model_file, "{} is not a type of weights", info(type).name);
}

}  // namespace spindle
