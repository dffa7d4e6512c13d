// How keys and values lie in the cache. A page holds page_tokens consecutive positions of one sequence, as
// [kv_head][token][head_dim] elements (f32, or f16 packed two to a u32 word). A segment is a band of
// positions: it holds pages of every sequence whose positions fall in [first_position, first_position +
// n_positions), so that the order of the segments is the order of the positions, whatever sequence a page
// belongs to.
#ifndef SPINDLE_SHADERS_CACHE_H
#define SPINDLE_SHADERS_CACHE_H
#include <array>

#include "shaders/common/op.h"

namespace spindle {

// What a cache may be kept in, the largest first: the one list of every flag and table.
inline constexpr std::array kCacheTypes = {DType::f32, DType::f16};

struct CacheShape {
  uint32_t n_kv_heads = 0, head_dim = 0;
  uint32_t page_tokens = 64;  // 16 to 256, a power of two
  DType k_type = DType::f32, v_type = DType::f32;
  uint64_t k_page_bytes() const { return bytes_of(k_type, uint64_t{n_kv_heads} * page_tokens * head_dim); }
  uint64_t v_page_bytes() const { return bytes_of(v_type, uint64_t{n_kv_heads} * page_tokens * head_dim); }
};

// One layer's part of a segment; k and v are u32 words [pages, words of a page], each within one binding.
struct CacheSegment {
  Tensor k, v;
  uint32_t first_position = 0, n_positions = 0;  // multiples of page_tokens
};

// The page table is u32 [slots, pages of the longest sequence]; entry position / page_tokens is the number of
// the page inside the segment whose band holds that position.

}  // namespace spindle
#endif
