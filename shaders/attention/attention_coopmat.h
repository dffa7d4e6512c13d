// Attention of prompts by cooperative matrices, where the device has them and the build's compiler knew them.
#ifndef SPINDLE_SHADERS_ATTENTION_COOPMAT_H
#define SPINDLE_SHADERS_ATTENTION_COOPMAT_H
#include <optional>

#include "shaders/attention/attention_variant.h"

namespace spindle {

// Whether a call is computed so: in prefill, where it pays, of caches other than f32, any pattern but listed
// positions, of heads whose tile fits into registers and shared memory. Q and the weights of the values are
// rounded to f16 then (Q with a scale for each row, weights after the row's largest so far), and quantised
// keys and values; the rest, and every sum, is f32. No row and no number of rows changes the choice.
bool attention_uses_coopmat(const Caps& caps, Phase phase, const CacheShape& cache,
                            const AttentionShape& shape);

// The variant where a kernel can run at all: that of the second extension where uses_coopmat2() says so and
// its tile fits, else that of the first.
std::optional<AttentionVariant> find_coopmat_attention(const Caps& caps, const CacheShape& cache,
                                                       const AttentionShape& shape);
KernelSpec attention_coopmat_kernel(const Caps& caps, const AttentionVariant& v, const CacheShape& cache,
                                    const AttentionShape& shape);
// Those of both extensions.
std::vector<KernelSpec> attention_coopmat_kernels(const Caps& caps, const CacheShape& cache,
                                                  const AttentionShape& shape);

}  // namespace spindle
#endif
