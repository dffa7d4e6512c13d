// Flash attention: choice of variant.
#include "shaders/attention/attention_variant.h"

#include <algorithm>
#include <bit>

#include "shaders/attention/attention_coopmat.h"

namespace spindle {
namespace {

constexpr uint32_t kCode[] =
#include "shaders/attention/attention.comp.inc"
    ;
constexpr uint32_t kWideCode[] =
#include "shaders/attention/attention_wide.comp.inc"
    ;
constexpr uint32_t kPlainCode[] =
#include "shaders/attention/attention_plain.comp.inc"
    ;
constexpr uint32_t kMergeCode[] =
#include "shaders/attention/attention_merge.comp.inc"
    ;
constexpr Program kShuffle{"attention", kCode, true}, kWide{"attention", kWideCode, true},
    kPlain{"attention_plain", kPlainCode, true}, kMerge{"attention_merge", kMergeCode};

}  // namespace

uint32_t attention_features(const AttentionShape& s) {
  const auto any = [&](auto&& of) { return std::ranges::any_of(s.passes, of); };
  const bool plain =
      s.passes.empty() || (s.passes.size() == 1 && s.passes[0].pack().rule == KeyPass{}.pack().rule &&
                           s.passes[0].from.n == 0 && s.passes[0].to.n == 0);
  return (plain ? 0 : ATTENTION_RANGES) | (s.by_head() ? ATTENTION_BY_HEAD : 0) |
         (any([](const KeyPass& p) { return p.stride > 1; }) ? ATTENTION_STRIDED : 0) |
         (any([](const KeyPass& p) { return p.listed; }) ? ATTENTION_LISTED : 0) |
         (s.decay.empty() ? 0 : ATTENTION_DECAY) | (s.slopes.empty() ? 0 : ATTENTION_SLOPES) |
         (s.bias.empty() ? 0 : ATTENTION_BIAS) | (s.sinks.empty() ? 0 : ATTENTION_SINKS);
}

uint32_t attention_pack(const CacheShape& cache, const AttentionShape& shape) {
  return shape.by_head() ? 1 : shape.n_heads / cache.n_kv_heads;
}

AttentionVariant choose_attention(const Caps& caps, Phase phase, const CacheShape& cache,
                                  const AttentionShape& shape) {
  const uint32_t group = attention_pack(cache, shape), chunks = std::max(cache.head_dim, cache.v_dim()) / 8;
  const bool decode = phase == Phase::decode;
  AttentionVariant v;
  v.split_keys = decode ? (caps.software ? 256 : 128) : 0;
  v.lanes = std::max(caps.software ? caps.subgroup_size : decode ? 64 : 128, caps.max_subgroup_size);
  v.unroll = 1;
  if (!caps.known_subgroups()) {
    v.span = v.rows = 1;
    v.keys = 4;
    return v;
  }
  // A lane holds 8 floats of q and 8 of the output for each of its rows * chunks. Lavapipe keeps them in the
  // L1 cache: measured. Others are given what Mesa's compilers keep in registers (RADV: 132 on gfx1100, ANV:
  // 128 of 8 lanes).
  v.span = std::min(std::bit_ceil(chunks), std::bit_floor(std::min(caps.min_subgroup_size, 16u)));
  v.keys = std::max(v.span, 8u);
  const uint32_t own = ceil_div(chunks, v.span);
  if (caps.software) {
    v.rows = std::min(decode ? group : 8, std::max(1u, 16 / std::max(own, v.keys / v.span)));
    if (caps.unroll) v.rows = std::min(v.rows, decode ? 2u : 1u);  // short enough to be unrolled
  } else {
    const bool few_registers = has_few_registers(caps), narrow = caps.min_subgroup_size <= 8;
    v.rows = std::min({decode ? group : 4, narrow ? 2u : 4u, std::max(1u, 4 / own)});
    v.unroll = few_registers ? 1 : std::min(v.span, 2u);
    // Ranges, slopes and bias are registers too, and so are several scores of a lane.
    if (few_registers && (attention_features(shape) != 0 || shape.soft_cap > 0 || v.keys > 4 * v.span))
      v.rows = std::max(1u, v.rows / 2);
    // Large heads: q and the sums of a row take most registers, or more than there are.
    v.ahead = !few_registers || own <= 2;
    v.keep_query = !few_registers || own <= 6;
  }
  return v;
}

std::vector<uint32_t> score_constants(const AttentionShape& s, uint32_t head_dim) {
  const uint32_t n_bias = static_cast<uint32_t>(s.bias.size()) / std::max(s.n_heads, 1u);
  const uint32_t decay_at = s.decay.empty() && s.listed.empty()
                                ? 0
                                : round_up(s.n_heads * (2 + n_bias), 4);  // else one kernel for all
  const uint32_t decay_rows = s.decay.empty() ? 0 : s.decay_depth / kDecayBlock + 1;
  return {constant(s.soft_cap),
          n_bias,
          s.bias_both_ways ? n_bias / 2 : 0,
          s.seed,
          decay_at,
          decay_at + decay_rows * head_dim,
          static_cast<uint32_t>(s.listed.size())};
}

std::vector<uint32_t> attention_constants(const AttentionVariant& v, const CacheShape& cache,
                                          const AttentionShape& s) {
  std::vector<uint32_t> list = {v.lanes,
                                v.span,
                                v.rows,
                                v.keys,
                                v.unroll,
                                v.split_keys,
                                cache.head_dim,
                                cache.v_dim(),
                                static_cast<uint32_t>(cache.k_type),
                                static_cast<uint32_t>(cache.v_type),
                                cache.ring_first,
                                cache.ring_pages,
                                attention_features(s),
                                std::max(1u, static_cast<uint32_t>(s.passes.size())),
                                s.n_queries(),
                                s.n_key_forms()};
  const std::vector<uint32_t> score = score_constants(s, cache.head_dim);
  list.insert(list.end(), score.begin(), score.end());
  return list;
}

KernelSpec attention_kernel(const Caps& caps, const AttentionVariant& v, const CacheShape& cache,
                            const AttentionShape& s) {
  if (v.side_by_side > 0) return attention_coopmat_kernel(caps, v, cache, s);
  std::vector<uint32_t> constants = attention_constants(v, cache, s);
  constants.push_back(v.ahead);
  constants.push_back(v.keep_query);
  const Program& program = caps.wide_loads() ? kWide : caps.known_subgroups() ? kShuffle : kPlain;
  return {&program, std::move(constants)};
}

KernelSpec attention_merge_kernel(const Caps& caps, const AttentionShape& shape) {
  return {&kMerge,
          {caps.software ? caps.subgroup_size : 64,
           attention_features(shape) & (ATTENTION_RANGES | ATTENTION_SINKS)}};
}

}  // namespace spindle
