// Flash attention: y = softmax(scale * q k^T) v over the keys a row sees, without ever storing the scores.
// Dao, arXiv 2307.08691.
#ifndef SPINDLE_SHADERS_ATTENTION_H
#define SPINDLE_SHADERS_ATTENTION_H
#include "shaders/attention/ranges.h"
#ifdef __cplusplus
#include <span>

#include "shaders/attention/attention_shape.h"
#include "shaders/attention/cache.h"
namespace spindle {
#endif

#define ATTENTION_WRITE_LSE 1u
#define ATTENTION_CARRIED 2u   // an earlier dispatch left states in scratch
#define ATTENTION_FINISHED 4u  // no later dispatch follows: y is written

struct AttentionParameters {
  uint first_row, end_row;  // of this group of rows
  uint n_heads, n_kv_heads;
  uint page_tokens, pages_per_slot;
  uint begin, end;  // keys of this dispatch, within the segment that is bound
  uint first_split,
      n_splits;      // decode: first split of the first pass here; places of a row in scratch, 0: none
  uint first_place;  // where the state of the first split lies among them
  uint first_state;  // scratch: where the (m, l) pairs begin, in pairs
  uint query_rows;   // rows of one version of q
  uint depth;
  uint flags;  // and the passes of this dispatch: the first from bit 8 on, the end from bit 16 on
  float scale;
  AttentionPass passes[ATTENTION_PASSES];
};

struct AttentionMergeParameters {
  uint first_row, end_row;
  uint n_heads, value_dim;
  uint first_split, n_splits;  // as above
  uint split_keys, depth;
  uint first_state, flags;
  uint turn;  // which of its two places the unfinished state is read from
  uint n_passes, seed;
  AttentionPass passes[ATTENTION_PASSES];
};

#ifdef __cplusplus
// y: f32 [rows, n_heads * value_dim]; q: f32 [versions * rows, n_heads * head_dim], rotated, version after
// version; lse: f32 [rows, n_heads], the log-sum-exp of each row's scores, or an empty tensor. rows: u32
// [rows, 4]; pages: u32 [slots, pages of the longest sequence]. The keys that a row sees (shape.passes) must
// have been appended. The segments are in the order of their bands and cover 0 .. depth - 1. Prefill: the
// active rows come first, belong to one slot and have consecutive positions. Decode: any rows. Inactive rows
// are neither read nor written. depth: a bound of position + 1 for all rows of all replays; the dispatches
// are recorded for that many keys, and workgroups past a row's position end at once. A row without keys gives
// 0 and a log-sum-exp of -1e30. scratch: u32 or f32 words, attention_scratch_bytes() or more; with less, down
// to one tile of rows, the work is done in more dispatches. Never changes a bit of y, just as the segments,
// the page size, the split of a prompt into chunks and the other rows of a decode step do not (strided
// passes: where segments begin at multiples of 256). table: attention_table(shape) on the device, empty where
// that is empty.
void attention(Stream& stream, Phase phase, Tensor y, Tensor lse, Tensor q, Tensor rows, Tensor pages,
               std::span<const CacheSegment> segments, const CacheShape& cache, const AttentionShape& shape,
               uint32_t depth, Tensor scratch, Tensor table = {});
// At most one binding; valid for smaller depths and fewer rows too.
uint64_t attention_scratch_bytes(const Caps& caps, Phase phase, uint32_t n_rows, const CacheShape& cache,
                                 const AttentionShape& shape, uint32_t depth);
std::vector<KernelSpec> attention_kernels(const Caps& caps, const CacheShape& cache,
                                          const AttentionShape& shape);

namespace reference {
// One sequence: q [versions, rows, n_heads, head_dim]; k, k2 [keys, n_kv_heads, head_dim]; v [keys,
// n_kv_heads, value_dim]; row i is at positions[i]. lse may be empty, k2 where no pass wants it, and p, the
// probabilities [rows, n_heads, keys].
struct Attention {
  std::span<double> y, lse;
  std::span<const double> q, k, v, k2;
  std::span<const uint32_t> positions;
  std::span<double> p = {};
};
void attention(const Attention& a, const CacheShape& cache, const AttentionShape& shape);
// Key by key, from the fields of the pass alone.
bool sees(const AttentionShape& shape, size_t pass, uint32_t i, uint32_t j, uint32_t head);
}  // namespace reference
}  // namespace spindle
#endif
#endif
