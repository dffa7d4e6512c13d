// Attention by cooperative matrices: when, and with which tile.
#include "shaders/attention/attention_coopmat.h"

#include <algorithm>

#include "shaders/matmul/matmul_coopmat.h"

namespace spindle {
namespace {

constexpr uint32_t kCode[] =
#include "shaders/attention/attention_coopmat.comp.inc"
    ;
constexpr Program kProgram{"attention_coopmat", kCode};

constexpr uint32_t kStepKeys = 16;  // attention_coopmat.comp: STEP_KEYS

uint32_t subgroup_of(const Caps& caps) { return caps.min_subgroup_size; }  // as products have it

// What the shader declares.
uint64_t shared_bytes(const Caps& caps, const AttentionVariant& v, const CacheShape& cache) {
  const uint32_t n = caps.coopmat_n, k = caps.coopmat_k, rows = v.clusters();
  const uint32_t k_units = ceil_div(cache.head_dim, k) * (k / 8);
  const uint32_t v_units = ceil_div(cache.v_dim(), n * v.side_by_side) * v.side_by_side * n / 8;
  const uint64_t units =
      uint64_t{rows} * (k_units + 1) + v.keys * (std::max(k_units, v_units) + 1) + rows * (v.keys / 4 + 1);
  return units * 16 + uint64_t{rows} * (v.keys / 4 + 2) * 8 + v.keys / kStepKeys * rows * 4 + 4;
}

}  // namespace

std::optional<AttentionVariant> find_coopmat_attention(const Caps& caps, const CacheShape& cache,
                                                       const AttentionShape& shape) {
  if (!coopmat_built() || !caps.coopmat || cache.k_type == DType::f32 || cache.v_type == DType::f32 ||
      (attention_features(shape) & ATTENTION_LISTED) != 0 || kStepKeys % caps.coopmat_k != 0)
    return {};
  const uint32_t m = caps.coopmat_m, n = caps.coopmat_n, subgroup = subgroup_of(caps);
  // Floats of the outputs that a lane holds; a CPU keeps them in memory.
  const uint32_t most_floats = caps.software ? 1024 : has_few_registers(caps) ? 32 : 64;
  for (uint32_t rows = 64; rows >= m; rows /= 2)
    for (uint32_t keys : {32u, 16u})
      for (uint32_t side_by_side : {1u, 2u, 4u}) {
        AttentionVariant v{};
        v.lanes = rows / m * side_by_side * subgroup;
        v.span = v.lanes / rows;
        v.rows = v.unroll = 1;
        v.keys = keys;
        v.side_by_side = side_by_side;
        const uint32_t floats = ceil_div(cache.v_dim(), n * side_by_side) * m * n / subgroup;
        if (floats <= most_floats && (v.span == 1 || v.span == 2 || v.span == 4) && v.lanes % keys == 0 &&
            keys % (n * side_by_side) == 0 && v.lanes <= std::min(256u, caps.max_workgroup_invocations) &&
            shared_bytes(caps, v, cache) <= caps.shared_memory_bytes)
          return v;
      }
  return {};
}

bool attention_uses_coopmat(const Caps& caps, Phase phase, const CacheShape& cache,
                            const AttentionShape& shape) {
  return phase == Phase::prefill && caps.coopmat_pays && find_coopmat_attention(caps, cache, shape);
}

KernelSpec attention_coopmat_kernel(const Caps& caps, const AttentionVariant& v, const CacheShape& cache,
                                    const AttentionShape& shape) {
  std::vector<uint32_t> constants = attention_constants(v, cache, shape);
  for (uint32_t c : {caps.coopmat_m, caps.coopmat_n, caps.coopmat_k, v.side_by_side}) constants.push_back(c);
  return {&kProgram, std::move(constants), caps.subgroup_control ? subgroup_of(caps) : 0};
}

}  // namespace spindle
