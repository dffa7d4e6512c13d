// Cache append: writes the keys and values of new rows to the pages of their slots, the keys rotated.
#ifndef SPINDLE_SHADERS_CACHE_APPEND_H
#define SPINDLE_SHADERS_CACHE_APPEND_H
#include "shaders/common/glsl.h"
#define ROTATION_NONE 0
#define ROTATION_INTERLEAVED 1
#define ROTATION_HALF_SPLIT 2
#define ROTATION_ODD 3  // either, where what is rotated are not whole fours
#ifdef __cplusplus
#include <span>

#include "shaders/attention/cache.h"
#include "shaders/rope/rope.h"
namespace spindle {
#endif

struct CacheAppendParameters {
  uint n_rows, n_kv_heads, head_dim, value_dim;
  uint page_tokens, pages_per_slot;
  uint ring_first, ring_pages;
  uint first_position, end_position;             // rows outside this band belong to another segment
  uint n_pairs;                                  // rotated pairs of a head
  uint half_split;                               // pair t is (t, t + n_pairs), else (2t, 2t + 1)
  uint modulo[2], divide[2], offset[2], cap[2];  // RopeForm of each form of K
};

#ifdef __cplusplus
// How K is rotated by the rows' positions, as rope() does: for each of its one or two forms a table and the
// positions in it. No forms: K is written as it is.
struct KeyRotation {
  struct Form {
    Tensor table;
    RopeForm form = {};
  };
  uint32_t n_rot = 0;
  RopeLayout layout = RopeLayout::interleaved;
  std::vector<Form> forms = {};
};

// k: f32 [rows, n_kv_heads * head_dim]; v: f32 [rows, n_kv_heads * value_dim]; rows: u32 [rows, 4]; pages:
// u32 [slots, pages of the longest sequence]. One dispatch a segment; rows that are inactive or outside the
// segment's band are skipped.
//
// f16: to nearest even, clamped to +-65504. Quantised as ggml does, in f32 with every operation rounded to
// nearest even, a block of 32 at a time, a: its largest magnitude, at most 65504 * 127 (q8_0) or 65504 * 8.
//   q8_0: d = a / 127, code = x * (1 / d) rounded to an integer, halves away from zero.
//   q4_0: d = (the first x of magnitude a) / -8, code = min(15, floor(x * (1 / d) + 8.5)) - 8.
// The stored scale is d as f16. A block with a < 2^-30, whose scale would be 0, gets codes of 0; a block with
// a NaN gets the scale NaN and codes of 0.
void cache_append(Stream& stream, std::span<const CacheSegment> segments, const CacheShape& shape, Tensor k,
                  Tensor v, Tensor rows, Tensor pages, const KeyRotation& rotation = {});
std::vector<KernelSpec> cache_append_kernels(const Caps& caps);

namespace reference {
// One block of 32 as it lies in the cache: 8 (q8_0) or 4 (q4_0) words and the scale as f16 bits.
struct CacheBlock {
  uint32_t words[8] = {};
  uint32_t scale = 0;
};
CacheBlock cache_block(DType type, std::span<const float> x);  // up to 32 elements, the others are 0
void decode(std::span<double> x, DType type, const CacheBlock& block);
}  // namespace reference
}  // namespace spindle
#endif
#endif
