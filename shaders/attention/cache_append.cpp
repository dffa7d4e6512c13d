// Cache append: dispatch, and the encoders' definition.
#include "shaders/attention/cache_append.h"

#include <algorithm>
#include <cassert>
#include <cmath>

namespace spindle {
namespace {

constexpr uint32_t kCode[] =
#include "shaders/attention/cache_append.comp.inc"
    ;
constexpr Program kProgram{"cache_append", kCode};

KernelSpec kernel(const Caps& caps, DType k, DType v, uint32_t rotation) {
  return {&kProgram,
          {caps.software ? caps.subgroup_size : 64, static_cast<uint32_t>(k), static_cast<uint32_t>(v),
           rotation}};
}

bool in_blocks(DType type) { return info(type).block_elements == 32; }

}  // namespace

void cache_append(Stream& stream, std::span<const CacheSegment> segments, const CacheShape& shape, Tensor k,
                  Tensor v, Tensor rows, Tensor pages, const KeyRotation& rotation) {
  assert(k.cols == shape.n_kv_heads * shape.head_dim && v.cols == shape.n_kv_heads * shape.v_dim() &&
         v.rows == k.rows && rows.rows >= k.rows);
  assert(shape.head_dim % 8 == 0 && shape.v_dim() % 8 == 0);
  assert(!shape.ring_pages || (segments.size() == 1 && pages.cols == shape.ring_first + shape.ring_pages));
  const size_t n_forms = rotation.forms.size();
  assert(n_forms <= 2 && rotation.n_rot % 2 == 0 && rotation.n_rot <= shape.head_dim);
  const bool half_split = rotation.layout == RopeLayout::half_split;
  CacheAppendParameters p{k.rows,
                          shape.n_kv_heads,
                          shape.head_dim,
                          shape.v_dim(),
                          shape.page_tokens,
                          pages.cols,
                          shape.ring_first,
                          shape.ring_pages,
                          0,
                          0,
                          rotation.n_rot / 2,
                          half_split,
                          {},
                          {1, 1},
                          {},
                          {}};
  Tensor tables[2];
  for (size_t i = 0; i < n_forms; i++) {
    const auto& [table, form] = rotation.forms[i];
    assert(table.cols == rotation.n_rot && table.rows > 2 * kRopeStep && form.divide > 0);
    tables[i] = table;
    p.modulo[i] = form.modulo, p.divide[i] = form.divide, p.offset[i] = form.offset, p.cap[i] = form.cap;
  }
  const KernelSpec spec = kernel(stream.caps(), shape.k_type, shape.v_type,
                                 n_forms == 0                                 ? ROTATION_NONE
                                 : rotation.n_rot % (half_split ? 8 : 4) != 0 ? ROTATION_ODD
                                 : half_split                                 ? ROTATION_HALF_SPLIT
                                                                              : ROTATION_INTERLEAVED);
  const auto units = [&](DType type, uint32_t dim) {
    return k.rows * shape.n_kv_heads * (in_blocks(type) ? ceil_div(dim, 64u) : dim / 8);
  };
  const uint32_t groups = ceil_div(
      std::max(units(shape.k_type, shape.head_dim), units(shape.v_type, shape.v_dim())), spec.constants[0]);
  const double page_rows = double{1} * k.rows / shape.page_tokens, keys = n_forms == 2 ? 2 : 1;
  // Three operations a rotated element, which another one of K and, per row and pair, two entries of a table
  // are read for.
  const double rotated = static_cast<double>(n_forms) * k.rows * rotation.n_rot;
  const Work work{
      3 * rotated * shape.n_kv_heads,
      keys * (static_cast<double>(k.bytes()) + page_rows * static_cast<double>(shape.k_page_bytes())) +
          8 * rotated + static_cast<double>(v.bytes()) +
          page_rows * static_cast<double>(shape.v_page_bytes())};
  for (const CacheSegment& s : segments) {
    assert(s.first_position % shape.page_tokens == 0 && s.n_positions % shape.page_tokens == 0);
    assert(n_forms < 2 || s.k2);
    p.first_position = s.first_position;
    p.end_position = s.first_position + s.n_positions;
    stream.dispatch(spec, {s.k, s.v, n_forms == 2 ? s.k2 : Tensor(), k, v, rows, pages, tables[0], tables[1]},
                    p, {groups, 1, n_forms == 2 ? 3u : 2u}, work);
  }
}

std::vector<KernelSpec> cache_append_kernels(const Caps& caps) {
  std::vector<KernelSpec> list;
  for (DType type : kCacheTypes)
    for (uint32_t rotation : {ROTATION_NONE, ROTATION_INTERLEAVED, ROTATION_HALF_SPLIT, ROTATION_ODD})
      list.push_back(kernel(caps, type, type, rotation));
  return list;
}

namespace reference {
namespace {

uint32_t f16_bits(float value) {  // to nearest even, clamped
  const double x = std::min(std::abs(static_cast<double>(value)), 65504.0);
  const uint32_t sign = std::signbit(value) ? 0x8000 : 0;
  if (x == 0) return sign;
  int exponent = std::max(std::ilogb(x), -14);
  const auto units = static_cast<uint32_t>(std::min(std::nearbyint(std::ldexp(x, 10 - exponent)), 2048.0));
  // The units' leading bit, where there is one, adds 1 to the exponent's field.
  return sign | std::min((static_cast<uint32_t>(exponent + 14) << 10) + units, 0x7bffu);
}

float f16_value(uint32_t bits) {
  const int exponent = static_cast<int>(bits >> 10 & 31), mantissa = static_cast<int>(bits & 1023);
  const float sign = bits & 0x8000 ? -1.0f : 1.0f;
  if (exponent == 31) return mantissa ? NAN : sign * INFINITY;
  return sign *
         std::ldexp(static_cast<float>(exponent ? 1024 + mantissa : mantissa), std::max(exponent, 1) - 25);
}

}  // namespace

CacheBlock cache_block(DType type, std::span<const float> x) {
  CacheBlock block;
  float largest = 0;
  for (float value : x) {
    if (std::isnan(value)) {
      block.scale = 0x7e00;
      return block;
    }
    if (std::abs(value) > std::abs(largest)) largest = value;
  }
  const bool q8 = type == DType::q8_0;
  if (std::abs(largest) < 0x1p-30f) return block;
  const float size = std::min(std::abs(largest), q8 ? 65504.0f * 127 : 65504.0f * 8);
  volatile float d = q8 ? size / 127 : largest < 0 ? size / 8 : -size / 8;  // volatile: nothing is fused
  volatile float inverse = 1 / d;
  for (size_t i = 0; i < 32; i++) {
    volatile float scaled = (i < x.size() ? std::clamp(x[i], -3.4028234e38f, 3.4028234e38f) : 0) * inverse;
    if (q8) {
      const int code = static_cast<int>(std::round(std::clamp(float{scaled}, -127.0f, 127.0f)));
      block.words[i / 4] |= (static_cast<uint32_t>(code) & 0xff) << (i % 4 * 8);
    } else {
      volatile float moved = scaled + 8.5f;
      const auto code = static_cast<uint32_t>(std::clamp(float{moved}, 0.0f, 15.0f));
      block.words[i / 8] |= (code ^ 8u) << (i % 8 * 4);
    }
  }
  block.scale = f16_bits(d);
  return block;
}

void decode(std::span<double> x, DType type, const CacheBlock& block) {
  const double d = static_cast<double>(f16_value(block.scale));
  for (size_t i = 0; i < x.size(); i++) {
    const auto byte = static_cast<int8_t>(block.words[i / 4] >> (i % 4 * 8));
    const int nibble = static_cast<int32_t>(block.words[i / 8] << (28 - i % 8 * 4)) >> 28;
    x[i] = d * (type == DType::q8_0 ? byte : nibble);
  }
}

}  // namespace reference
}  // namespace spindle
