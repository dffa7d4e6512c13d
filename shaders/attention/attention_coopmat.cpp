// Attention by cooperative matrices: when, and with which tile.
#include "shaders/attention/attention_coopmat.h"

#include <algorithm>

#include "shaders/matmul/matmul_coopmat.h"

namespace spindle {
namespace {

constexpr uint32_t kCode[] =
#include "shaders/attention/attention_coopmat.comp.inc"
    ;
constexpr uint32_t kSecondCode[] =
#include "shaders/attention/attention_coopmat2.comp.inc"
    ;
constexpr Program kProgram{"attention_coopmat", kCode}, kSecondProgram{"attention_coopmat2", kSecondCode};

constexpr uint32_t kStepKeys = 16;      // coopmat_tiles.glsl: STEP_KEYS
constexpr uint32_t kMostColumns = 128;  // of one matrix of outputs

uint32_t subgroup_of(const Caps& caps) { return caps.min_subgroup_size; }  // as products have it

// [m, k] times [k, n]: constants 23 to 25 of coopmat_tiles.glsl.
struct Matrices {
  uint32_t m, n, k;
};

std::optional<Matrices> matrices(const Caps& caps, const AttentionVariant& v, const CacheShape& cache) {
  if (!v.second) {
    if (kStepKeys % caps.coopmat_k != 0 || v.keys % (caps.coopmat_n * v.side_by_side) != 0) return {};
    return Matrices{caps.coopmat_m, caps.coopmat_n, caps.coopmat_k};
  }
  // Products are 16 keys across, and weights as many: the first extension's size, or one of any.
  if (caps.coopmat2_m && kStepKeys % caps.coopmat2_n == 0 && kStepKeys % caps.coopmat2_k == 0) {
    const uint32_t n = round_up(ceil_div(cache.v_dim(), v.side_by_side), caps.coopmat2_n);
    return Matrices{round_up(caps.coopmat_m, caps.coopmat2_m),
                    std::min({n, kMostColumns, caps.coopmat2_most / caps.coopmat2_n * caps.coopmat2_n}),
                    kStepKeys};
  }
  if (caps.coopmat_n != kStepKeys || caps.coopmat_k != kStepKeys) return {};
  return Matrices{caps.coopmat_m, kStepKeys, kStepKeys};
}

// What the shader declares.
uint64_t shared_bytes(const Matrices& matrix, const AttentionVariant& v, const CacheShape& cache) {
  const uint32_t n = matrix.n, k = matrix.k, rows = v.clusters();
  const uint32_t k_units = ceil_div(cache.head_dim, k) * (k / 8);
  const uint32_t v_units = ceil_div(cache.v_dim(), n * v.side_by_side) * v.side_by_side * n / 8;
  const uint64_t q_units = uint64_t{rows} * (k_units + 1),
                 kv_units = uint64_t{v.keys} * (std::max(k_units, v_units) + 1);
  if (v.second) return (q_units + 2 * kv_units) * 16 + uint64_t{rows} * (16 + 8) + 2 * 4;
  return (q_units + kv_units + rows * (v.keys / 4 + 1)) * 16 + uint64_t{rows} * (v.keys / 4 + 2) * 8 +
         v.keys / kStepKeys * rows * 4 + 2 * 4;
}

std::optional<AttentionVariant> find_variant(const Caps& caps, const CacheShape& cache,
                                             const AttentionShape& shape, bool second) {
  if (!(second ? coopmat2_built() && caps.coopmat2 : coopmat_built() && caps.coopmat) ||
      cache.k_type == DType::f32 || cache.v_type == DType::f32 ||
      (attention_features(shape) & ATTENTION_LISTED) != 0)
    return {};
  const uint32_t subgroup = subgroup_of(caps);
  // Floats of the outputs that a lane holds; a CPU keeps them in memory.
  const uint32_t most_floats = caps.software ? 1024 : has_few_registers(caps) ? 32 : 64;
  for (uint32_t rows = 64; rows >= caps.coopmat_m; rows /= 2)
    for (uint32_t keys : {32u, 16u})
      for (uint32_t side_by_side : {1u, 2u, 4u}) {
        AttentionVariant v{};
        v.rows = v.unroll = 1;
        v.keys = keys;
        v.side_by_side = side_by_side;
        v.second = second;
        const auto matrix = matrices(caps, v, cache);
        if (!matrix || rows % matrix->m != 0) continue;
        v.lanes = rows / matrix->m * side_by_side * subgroup;
        v.span = v.lanes / rows;
        const uint32_t across = ceil_div(cache.v_dim(), matrix->n * side_by_side),
                       floats = across * matrix->m * matrix->n / subgroup;
        if (floats <= most_floats && (v.span == 1 || v.span == 2 || v.span == 4) && v.lanes % keys == 0 &&
            v.lanes <= std::min(256u, caps.max_workgroup_invocations) &&
            shared_bytes(*matrix, v, cache) <= caps.shared_memory_bytes)
          return v;
      }
  return {};
}

}  // namespace

std::optional<AttentionVariant> find_coopmat_attention(const Caps& caps, const CacheShape& cache,
                                                       const AttentionShape& shape) {
  if (uses_coopmat2(caps))
    if (const auto v = find_variant(caps, cache, shape, true)) return v;
  return find_variant(caps, cache, shape, false);
}

bool attention_uses_coopmat(const Caps& caps, Phase phase, const CacheShape& cache,
                            const AttentionShape& shape) {
  return phase == Phase::prefill && caps.coopmat_pays && find_coopmat_attention(caps, cache, shape);
}

KernelSpec attention_coopmat_kernel(const Caps& caps, const AttentionVariant& v, const CacheShape& cache,
                                    const AttentionShape& shape) {
  std::vector<uint32_t> constants = attention_constants(v, cache, shape);
  const Matrices matrix = matrices(caps, v, cache).value();
  for (uint32_t c : {matrix.m, matrix.n, matrix.k, v.side_by_side}) constants.push_back(c);
  return {v.second ? &kSecondProgram : &kProgram, std::move(constants),
          caps.subgroup_control ? subgroup_of(caps) : 0};
}

std::vector<KernelSpec> attention_coopmat_kernels(const Caps& caps, const CacheShape& cache,
                                                  const AttentionShape& shape) {
  std::vector<KernelSpec> list;
  for (bool second : {false, true})
    if (const auto v = find_variant(caps, cache, shape, second))
      list.push_back(attention_coopmat_kernel(caps, *v, cache, shape));
  return list;
}

}  // namespace spindle
