// Cache append: dispatch.
#include "shaders/attention/cache_append.h"

#include <cassert>

namespace spindle {
namespace {

constexpr uint32_t kCode[] =
#include "shaders/attention/cache_append.comp.inc"
    ;
constexpr Program kProgram{"cache_append", kCode};

KernelSpec kernel(const Caps& caps, DType k, DType v) {
  return {&kProgram,
          {caps.software ? caps.subgroup_size : 64, static_cast<uint32_t>(k), static_cast<uint32_t>(v)}};
}

}  // namespace

void cache_append(Stream& stream, std::span<const CacheSegment> segments, const CacheShape& shape, Tensor k,
                  Tensor v, Tensor rows, Tensor pages) {
  assert(k.cols == shape.n_kv_heads * shape.head_dim && v.cols == k.cols && v.rows == k.rows &&
         rows.rows >= k.rows);
  assert(shape.head_dim % 8 == 0);
  const KernelSpec spec = kernel(stream.caps(), shape.k_type, shape.v_type);
  const uint32_t groups = ceil_div(k.rows * (k.cols / 8), spec.constants[0]);
  const Work work{0, static_cast<double>(k.bytes() + v.bytes() + bytes_of(shape.k_type, k.elements()) +
                                         bytes_of(shape.v_type, v.elements()))};
  for (const CacheSegment& s : segments) {
    assert(s.first_position % shape.page_tokens == 0 && s.n_positions % shape.page_tokens == 0);
    const CacheAppendParameters p{k.rows,
                                  shape.n_kv_heads,
                                  shape.head_dim,
                                  shape.page_tokens,
                                  pages.cols,
                                  s.first_position,
                                  s.first_position + s.n_positions};
    stream.dispatch(spec, {s.k, s.v, k, v, rows, pages}, p, {groups, 1, 2}, work);
  }
}

std::vector<KernelSpec> cache_append_kernels(const Caps& caps) {
  return {kernel(caps, DType::f16, DType::f16), kernel(caps, DType::f32, DType::f32)};
}

}  // namespace spindle
