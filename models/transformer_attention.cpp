// The attention block of a layer: q, k, v, rotation, cache, attention, output.
#include <algorithm>
#include <cmath>

#include "models/transformer.h"
#include "shaders/attention/attention.h"
#include "shaders/attention/cache_append.h"
#include "shaders/limit/limit.h"
#include "shaders/rope/rope.h"

namespace spindle {

void Transformer::attend(uint32_t i, const StepShape& shape, Tensor rows, Tensor y, Tensor x) {
  const Config& c = model_.config();
  const AttentionBlock& a = layers_[i].attention;
  const LayerWeights& w = model_.weights().layer(i);
  const uint32_t heads = c.n_heads[i], kv_heads = c.n_kv_heads[i];
  const Tensor q = view(q_, shape, heads * c.head_dim), k = view(k_, shape, kv_heads * c.head_dim),
               v = view(v_, shape, kv_heads * c.head_dim), attended = view(attended_, shape, q.cols);

  const MatmulInput from = input(shape, x, {&w.q.weight, &w.k.weight, &w.v.weight});
  matmul(stream_, shape.phase, q, w.q.weight, from, w.q.bias);
  matmul(stream_, shape.phase, k, w.k.weight, from, w.k.bias);
  matmul(stream_, shape.phase, v, w.v.weight, from, w.v.bias);
  if (a.clamp_qkv > 0)
    for (const Tensor& t : {q, k, v}) limit(stream_, t, t, 1, Limit::clamp, static_cast<float>(a.clamp_qkv));
  norm(q, q, a.q_norm, w.q_norm, heads);
  norm(k, k, a.k_norm, w.k_norm, kv_heads);
  if (a.rope != Rope::none) {
    const Tensor table = rope_tables_[layer_rope_[i]].table;
    const auto layout = a.rope == Rope::interleaved ? RopeLayout::interleaved : RopeLayout::half_split;
    rope(stream_, q, rows, table, {heads, c.head_dim, c.n_rot, layout});
    rope(stream_, k, rows, table, {kv_heads, c.head_dim, c.n_rot, layout});
  }
  const std::vector<CacheSegment> segments = cache_.segments(i, shape.segments);
  const uint32_t depth = std::min(shape.depth, segments.back().first_position + segments.back().n_positions);
  cache_append(stream_, segments, cache_.shape(i), k, v, rows, cache_.page_table());
  const double scale = a.scale != 0 ? a.scale : 1 / std::sqrt(static_cast<double>(c.head_dim));
  attention(stream_, shape.phase, attended, {}, q, rows, cache_.page_table(), segments, cache_.shape(i),
            {heads, static_cast<float>(scale)}, depth,
            Tensor(scratch_, DType::u32, 1, static_cast<uint32_t>(scratch_.bytes() / 4)));
  matmul(stream_, shape.phase, y, w.output.weight, input(shape, attended, {&w.output.weight}), w.output.bias);
  norm(y, y, a.post_norm, w.attention_post_norm);
}

}  // namespace spindle
