// Keeps the queries and log-sum-exps of a step by their positions, for maps that are made later.
#ifndef SPINDLE_SHADERS_ATTENTION_KEEP_H
#define SPINDLE_SHADERS_ATTENTION_KEEP_H
#include "shaders/common/glsl.h"
#ifdef __cplusplus
#include "shaders/common/op.h"
namespace spindle {
#endif

struct AttentionKeepParameters {
  uint n_rows, n_versions;
  uint n_vectors;  // of 4 floats, of a row of q
  uint n_heads;
  uint slot;
  uint first_position, n_positions;  // of what is kept
};

#ifdef __cplusplus
// Rows in use of `slot` at position first_position + i, i < lse.rows, become row i of
//   kept_q: f32 [versions * positions, n], kept_lse: f32 [positions, n_heads];
// the others are left alone. q: f32 [versions * rows, n], n a multiple of 4; lse: f32 [rows, n_heads]; rows:
// u32 [rows, 4].
void attention_keep(Stream& stream, Tensor kept_q, Tensor kept_lse, uint32_t first_position, Tensor q,
                    Tensor lse, Tensor rows, uint32_t slot);
std::vector<KernelSpec> attention_keep_kernels(const Caps& caps);
}  // namespace spindle
#endif
#endif
