// Flash attention's kernels as a device and a model want them.
#ifndef SPINDLE_SHADERS_ATTENTION_VARIANT_H
#define SPINDLE_SHADERS_ATTENTION_VARIANT_H
#include "shaders/attention/attention.h"

namespace spindle {

// The constants of attention.glsl, chosen by device and model, never by the number of rows or keys.
struct AttentionVariant {
  uint32_t lanes, span, rows, keys, unroll;
  uint32_t split_keys;  // decode; 0 in prefill
  bool ahead = true;
  bool keep_query = true;
  // Subgroups that share the outputs of a row, by cooperative matrices (attention_coopmat.h); 0: not by them.
  uint32_t side_by_side = 0;
  bool second = false;  // ... of VK_NV_cooperative_matrix2
  uint32_t clusters() const { return lanes / span; }
};

uint32_t attention_features(const AttentionShape& shape);  // ATTENTION_* of ranges.h
// Heads in one tile of query rows.
uint32_t attention_pack(const CacheShape& cache, const AttentionShape& shape);
AttentionVariant choose_attention(const Caps& caps, Phase phase, const CacheShape& cache,
                                  const AttentionShape& shape);
// What every kernel that computes scores is specialized with last: SOFT_CAP to N_LISTED.
std::vector<uint32_t> score_constants(const AttentionShape& shape, uint32_t head_dim);
// What every kernel of attention is specialized with, ids 0 to 22.
std::vector<uint32_t> attention_constants(const AttentionVariant& v, const CacheShape& cache,
                                          const AttentionShape& shape);
KernelSpec attention_kernel(const Caps& caps, const AttentionVariant& v, const CacheShape& cache,
                            const AttentionShape& shape);
KernelSpec attention_merge_kernel(const Caps& caps, const AttentionShape& shape);

}  // namespace spindle
#endif
