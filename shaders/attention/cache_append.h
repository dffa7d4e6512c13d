// Cache append: writes the keys and values of new rows to the pages of their slots.
#ifndef SPINDLE_SHADERS_CACHE_APPEND_H
#define SPINDLE_SHADERS_CACHE_APPEND_H
#include "shaders/common/glsl.h"
#ifdef __cplusplus
#include <span>

#include "shaders/attention/cache.h"
namespace spindle {
#endif

struct CacheAppendParameters {
  uint n_rows, n_kv_heads, head_dim;
  uint page_tokens, pages_per_slot;
  uint first_position, end_position;  // rows outside this band belong to another segment
};

#ifdef __cplusplus
// k, v: f32 [rows, n_kv_heads * head_dim]; rows: u32 [rows, 4]; pages: u32 [slots, pages of the longest
// sequence]. One dispatch a segment; rows that are inactive or outside the segment's band are skipped.
// head_dim: a multiple of 8.
void cache_append(Stream& stream, std::span<const CacheSegment> segments, const CacheShape& shape, Tensor k,
                  Tensor v, Tensor rows, Tensor pages);
std::vector<KernelSpec> cache_append_kernels(const Caps& caps);
}  // namespace spindle
#endif
#endif
