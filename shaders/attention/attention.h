// Flash attention: y = softmax(scale * q k^T, causal) v without ever storing the scores. Dao, arXiv
// 2307.08691.
#ifndef SPINDLE_SHADERS_ATTENTION_H
#define SPINDLE_SHADERS_ATTENTION_H
#include "shaders/common/glsl.h"
#ifdef __cplusplus
#include <span>

#include "shaders/attention/cache.h"
namespace spindle {
#endif

struct AttentionParameters {
  uint first_row, end_row;  // of this group of rows
  uint n_heads, n_kv_heads;
  uint page_tokens, pages_per_slot;
  uint begin, end;  // keys of this dispatch, within the segment that is bound
  uint first_split,
      n_splits;      // decode: the splits that have a place in scratch; n_splits 0: y is written at once
  uint first_state;  // scratch: where the (m, l) pairs begin, in pairs
  float scale;
  uint write_lse;
};

struct AttentionMergeParameters {
  uint first_row, end_row;
  uint n_heads, head_dim;
  uint first_split, n_splits;
  uint split_keys;
  uint first_state;
  uint write_lse;
};

#ifdef __cplusplus
struct AttentionShape {
  uint32_t n_heads = 0;
  float scale = 0;  // of q k^T, usually 1 / sqrt(head_dim)
};

// y, q: f32 [rows, n_heads * head_dim] with q already rotated; lse: f32 [rows, n_heads], the log-sum-exp of
// each row's scores, or an empty tensor. rows: u32 [rows, 4]; pages: u32 [slots, pages of the longest
// sequence]. A row sees the keys 0 .. position of its slot, which must have been appended. The segments are
// in the order of their bands and cover 0 .. depth - 1. Prefill: the active rows come first, belong to one
// slot and have consecutive positions. Decode: any rows. Inactive rows are neither read nor written. depth: a
// bound of position + 1 for all rows of all replays; the dispatches are recorded for that many keys, and
// workgroups past a row's position end at once.
// scratch: u32 or f32 words, attention_scratch_bytes() or more; with less, down to one tile of rows, the work
// is done in more dispatches. Never changes a bit of y, just as the segments, the page size, the split of a
// prompt into chunks and the other rows of a decode step do not.
void attention(Stream& stream, Phase phase, Tensor y, Tensor lse, Tensor q, Tensor rows, Tensor pages,
               std::span<const CacheSegment> segments, const CacheShape& cache, const AttentionShape& shape,
               uint32_t depth, Tensor scratch);
// At most one binding; valid for smaller depths and fewer rows too.
uint64_t attention_scratch_bytes(const Caps& caps, Phase phase, uint32_t n_rows, const CacheShape& cache,
                                 const AttentionShape& shape, uint32_t depth);
std::vector<KernelSpec> attention_kernels(const Caps& caps, const CacheShape& cache,
                                          const AttentionShape& shape);

namespace reference {
// One sequence: q [rows, n_heads, head_dim]; k, v [keys, n_kv_heads, head_dim]; row i sees keys 0 ..
// positions[i]. lse may be empty.
void attention(std::span<double> y, std::span<double> lse, std::span<const double> q,
               std::span<const double> k, std::span<const double> v, std::span<const uint32_t> positions,
               const CacheShape& cache, const AttentionShape& shape);
}  // namespace reference
}  // namespace spindle
#endif
#endif
