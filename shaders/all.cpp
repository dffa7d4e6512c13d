// The one list of operations.
#include "shaders/all.h"

#include <algorithm>

#include "shaders/activation/activation.h"
#include "shaders/add/add.h"
#include "shaders/attention/attention.h"
#include "shaders/attention/cache_append.h"
#include "shaders/attention_map/attention_keep.h"
#include "shaders/attention_map/attention_map.h"
#include "shaders/device_limits/device_limits.h"
#include "shaders/embed/embed.h"
#include "shaders/experts/expert_matmul.h"
#include "shaders/experts/expert_route.h"
#include "shaders/experts/expert_rows.h"
#include "shaders/experts/expert_sum.h"
#include "shaders/layer_norm/layer_norm.h"
#include "shaders/limit/limit.h"
#include "shaders/matmul/matmul.h"
#include "shaders/rms_norm/rms_norm.h"
#include "shaders/rope/rope.h"
#include "shaders/sample/sample.h"

namespace spindle {

namespace {

// One of each kind of cache, pattern and score.
std::vector<KernelSpec> attention_pattern_kernels(const Caps& caps) {
  std::vector<KernelSpec> list;
  const auto take = [&](const CacheShape& cache, AttentionShape shape) {
    shape.n_heads = 32;
    const std::vector<KernelSpec> more = attention_kernels(caps, cache, shape);
    list.insert(list.end(), more.begin(), more.end());
    list.push_back(attention_map_kernels(caps, cache, shape).front());
  };
  const CacheShape f16{8, 128, 64, DType::f16, DType::f16};
  take({8, 128, 64, DType::q8_0, DType::q8_0}, {});
  take({8, 128, 64, DType::q4_0, DType::q4_0}, {});
  take({8, 192, 64, DType::f16, DType::f16, 128}, {});
  take({1, 576, 64, DType::f16, DType::f16, 512}, {});
  take(f16, {.passes = pattern::window(1024), .soft_cap = 50});
  take(f16, {.passes = pattern::window(128), .sinks = std::vector<float>(32)});
  take(f16, {.passes = pattern::sinks(4, 1024), .slopes = std::vector<float>(32)});
  take(f16, {.passes = pattern::far_and_near(512)});
  take(f16, {.passes = pattern::dual_chunk(1024), .bias = std::vector<float>(32 * 129)});
  take(f16, {.passes = pattern::longformer(256, 0, true), .listed = {0, 9}});
  take(f16, {.passes = pattern::bigbird(64, 2, 3, 3)});
  take(f16, {.passes = pattern::dilated({{1024, 1}, {8192, 8}})});
  take(f16, {.decay = std::vector<double>(128, 0.99), .decay_depth = 1024});
  return list;
}

}  // namespace

std::vector<KernelSpec> all_kernels(const Caps& caps) {
  std::vector<KernelSpec> list;
  const auto take = [&](std::vector<KernelSpec> more) { list.insert(list.end(), more.begin(), more.end()); };
  take(embed_kernels(caps));
  take(rms_norm_kernels(caps));
  take(layer_norm_kernels(caps));
  take(matmul_kernels(caps));
  take(rope_kernels(caps));
  take(cache_append_kernels(caps));
  for (DType type : {DType::f32, DType::f16})
    for (const auto& [head_dim, heads, kv_heads] : {std::array{8u, 8u, 8u},
                                                    {64u, 32u, 8u},
                                                    {80u, 32u, 32u},
                                                    {96u, 32u, 32u},
                                                    {128u, 32u, 8u},
                                                    {256u, 8u, 1u}}) {
      CacheShape cache;
      cache.n_kv_heads = kv_heads;
      cache.head_dim = head_dim;
      cache.k_type = cache.v_type = type;
      take(attention_kernels(caps, cache, {heads, 1.0f}));
    }
  take(activation_kernels(caps));
  take(limit_kernels(caps));
  take(attention_pattern_kernels(caps));
  take(attention_keep_kernels(caps));
  take(attention_map_kernels(caps, {8, 128, 64, DType::f16, DType::f16}, {32, 1.0f}));
  take(add_kernels(caps));
  take(expert_route_kernels(caps));
  take(expert_rows_kernels(caps));
  take(expert_matmul_kernels(caps));
  take(expert_sum_kernels(caps));
  take(sample_kernels(caps));
  take(device_limits_kernels(caps));
  std::sort(list.begin(), list.end());
  list.erase(std::unique(list.begin(), list.end()), list.end());
  return list;
}

}  // namespace spindle
