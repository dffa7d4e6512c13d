// How keys and values lie in the cache. A page holds page_tokens consecutive positions of one sequence, as
// [kv_head][token][elements]: f32, or f16 packed two to a u32 word, or in blocks of 32 as signed bytes (q8_0)
// or nibbles (q4_0), element 0 lowest, a token padded with zeros to whole blocks; then the f16 scales of the
// blocks, [kv_head][token][blocks], two to a word, a token padded to whole words. A segment is a band of
// positions: it holds pages of every sequence whose positions fall in [first_position, first_position +
// n_positions), so that the order of the segments is the order of the positions, whatever sequence a page
// belongs to.
#ifndef SPINDLE_SHADERS_CACHE_H
#define SPINDLE_SHADERS_CACHE_H
#include <array>

#include "shaders/common/op.h"

namespace spindle {

// What a cache may be kept in, the largest first: the one list of every flag and table.
inline constexpr std::array kCacheTypes = {DType::f32, DType::f16, DType::q8_0, DType::q4_0};

// u32 words of one token of one head.
constexpr uint64_t cache_row_words(DType type, uint32_t elements) {
  const uint32_t blocks = ceil_div(elements, 32u);
  if (type == DType::q8_0) return blocks * 8 + ceil_div(blocks, 2u);
  if (type == DType::q4_0) return blocks * 4 + ceil_div(blocks, 2u);
  return type == DType::f16 ? elements / 2 : elements;
}

struct CacheShape {
  uint32_t n_kv_heads = 0, head_dim = 0;  // head_dim: of a key, a multiple of 8
  uint32_t page_tokens = 64;              // 16 to 256, a power of two
  DType k_type = DType::f32, v_type = DType::f32;
  uint32_t value_dim = 0;  // 0: head_dim
  // A ring: past the first `ring_first` pages of a sequence, its page table has ring_pages entries that are
  // used by turns. Whatever a row sees must still be there: a window of W, prompts in chunks of C: W - 1 + C
  // positions, and a page for the end that is not full. There is one segment then, of any n_positions. 0: no
  // ring.
  uint32_t ring_first = 0, ring_pages = 0;

  uint32_t v_dim() const { return value_dim ? value_dim : head_dim; }
  uint64_t k_page_bytes() const { return cache_row_words(k_type, head_dim) * n_kv_heads * page_tokens * 4; }
  uint64_t v_page_bytes() const { return cache_row_words(v_type, v_dim()) * n_kv_heads * page_tokens * 4; }
};

// One layer's part of a segment; k, v and k2 are u32 words [pages, words of a page], each within one binding.
struct CacheSegment {
  Tensor k, v;
  uint32_t first_position = 0, n_positions = 0;  // multiples of page_tokens
  Tensor k2 = {};                                // the second form of K, where attention has one
};

// The page table is u32 [slots, pages of the longest sequence]; entry position / page_tokens is the number of
// the page inside the segment whose band holds that position.

}  // namespace spindle
#endif
