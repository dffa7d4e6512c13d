// The attention block of a layer: q, k, v, rotation, cache, attention, output.
#include <algorithm>
#include <bit>
#include <cassert>

#include "models/transformer.h"
#include "shaders/attention/attention.h"
#include "shaders/attention/cache_append.h"
#include "shaders/attention_map/attention_keep.h"
#include "shaders/limit/limit.h"
#include "shaders/rope/rope.h"

namespace spindle {
namespace {

RopeLayout layout_of(const AttentionBlock& a) {
  return a.rope == Rope::interleaved ? RopeLayout::interleaved : RopeLayout::half_split;
}
RopeForm form_of(const PositionMap& map) { return {map.modulo, map.divide, map.offset, map.cap}; }

}  // namespace

Tensor Transformer::upload(std::span<const std::byte> bytes, DType type, uint32_t cols, const char* purpose) {
  const Buffer& buffer = table_buffers_.emplace_back(stream_.device(), bytes.size(), Memory::device, purpose);
  const Tensor t(buffer, type, static_cast<uint32_t>(bytes.size() / 4 / cols), cols);
  stream_.upload(t, bytes);
  return t;
}

Tensor Transformer::rope_table(const AttentionPlan& plan, const RotaryForm& form) {
  const PositionMap& m = form.map;
  const uint64_t largest = uint64_t{m.modulo ? m.modulo - 1 : cache_.limit()} / m.divide + m.offset;
  RopeTable wanted{plan.inv_freq,
                   plan.magnitude,
                   form.scale,
                   form.phase,
                   static_cast<uint32_t>(std::min<uint64_t>(largest, m.cap)),
                   {},
                   plan.follows};
  if (const auto found = std::ranges::find(rope_tables_, wanted); found != rope_tables_.end())
    return found->table;
  const std::vector<float> table =
      make_rope_table(plan.inv_freq, plan.magnitude, wanted.max_position, form.scale, form.phase);
  wanted.table = upload(std::as_bytes(std::span(table)), DType::f32,
                        static_cast<uint32_t>(2 * plan.inv_freq.size()), "rotary table");
  rope_tables_.push_back(wanted);
  return wanted.table;
}

// The vector of a position is (0, 1) turned backwards by each of its angles: (sin, cos). So it needs no table
// of all positions, whatever the context.
void Transformer::add_sinusoids() {
  const uint32_t dim = model_.config().dim;
  AttentionPlan plan;
  plan.inv_freq = rope_frequencies(dim, 10000);
  sinusoids_ = rope_table(plan, {.scale = -1});
  std::vector<float> pairs(size_t{max_rows_} * dim);
  for (size_t i = 1; i < pairs.size(); i += 2) pairs[i] = 1;
  unit_pairs_ = upload(std::as_bytes(std::span(pairs)), DType::f32, dim, "sinusoids");
}

void Transformer::retune(const std::vector<double>& from, const std::vector<double>& to) {
  for (RopeTable& t : rope_tables_) {
    if (!t.follows || t.inv_freq != from) continue;
    t.inv_freq = to;
    const std::vector<float> table = make_rope_table(to, t.magnitude, t.max_position, t.scale, t.phase);
    stream_.upload(t.table, std::as_bytes(std::span(table)));
  }
}

void Transformer::add_attention(const AttentionPlan& plan) {
  AttentionTables& t = tables_.emplace_back();
  for (const RotaryForm& form : plan.queries) t.queries.push_back(rope_table(plan, form));
  for (const RotaryForm& form : plan.keys) t.keys.push_back(rope_table(plan, form));
  const std::vector<uint32_t> words = attention_table(plan.shape);
  if (words.empty()) return;
  Tensor& table = attention_tables_[words];
  if (!table)
    table = upload(std::as_bytes(std::span(words)), DType::u32, static_cast<uint32_t>(words.size()),
                   "attention table");
  t.table = table;
}

void Transformer::rotate(uint32_t i, Tensor y, Tensor q, Tensor rows, Tensor table, const RotaryForm& form,
                         uint32_t first_row) {
  const Config& c = model_.config();
  const Temperature& t = plans_[i].temperature;
  RopeTemperature temperature;
  if (t.slope != 0)
    temperature = {static_cast<float>(t.base), static_cast<float>(t.slope), t.offset, t.width, t.cap};
  rope(stream_, y, q, rows, table, {c.n_heads[i], c.head_dim, c.n_rot, layout_of(layers_[i].attention)},
       form_of(form.map), temperature, first_row);
}

void Transformer::attend(uint32_t i, const StepShape& shape, Tensor rows, Tensor y,
                         const MatmulInput& input) {
  const Config& c = model_.config();
  const AttentionBlock& a = layers_[i].attention;
  const AttentionPlan& plan = plans_[i];
  const AttentionTables& tables = tables_[i];
  const LayerWeights& w = model_.weights().layer(i);
  const uint32_t heads = c.n_heads[i], kv_heads = c.n_kv_heads[i];
  const std::vector<Tensor> parts =
      views(qkv_, shape.rows, {heads * c.head_dim, kv_heads * c.head_dim, kv_heads * c.head_dim});
  Tensor q = parts[0];
  const Tensor k = parts[1], v = parts[2], x = view(x_, shape, c.dim);
  const Tensor attended = view(attended_, shape, q.cols);

  project(shape, parts, w.qkv, input);
  if (a.clamp_qkv > 0)
    for (const Tensor& t : parts) limit(stream_, t, t, 1, Limit::clamp, static_cast<float>(a.clamp_qkv));
  norm_heads(q, a.q_norm, w.q_norm, heads);
  norm_heads(k, a.k_norm, w.k_norm, kv_heads);

  const uint32_t versions = plan.shape.n_queries();
  if (!plan.queries.empty()) {
    const Tensor raw = q;
    if (versions > 1) {
      q = view(queries_, shape, raw.cols);
      q.rows *= versions;
    }
    for (uint32_t version = 0; version < versions; version++)
      rotate(i, q, raw, rows, tables.queries[version], plan.queries[version], version * shape.rows);
  }
  KeyRotation rotation{c.n_rot, layout_of(a)};
  const uint32_t n_forms = plan.shape.n_key_forms();
  for (uint32_t form = 0; !plan.keys.empty() && form < n_forms; form++)
    rotation.forms.push_back({tables.keys[form], form_of(plan.keys[form].map)});
  std::vector<CacheSegment> segments = cache_.segments(i, shape.segments);
  const uint32_t depth = std::min(shape.depth, segments.back().first_position + segments.back().n_positions);
  if (n_forms < 2)
    for (CacheSegment& segment : segments) segment.k2 = {};
  cache_append(stream_, segments, cache_.shape(i), k, v, rows, cache_.page_table(), rotation);
  const bool kept = shape.kept < shape.end_kept && record_->has(i);
  const Tensor lse = kept ? record_->step_lse(i, shape.rows) : Tensor{};
  attention(stream_, shape.phase, attended, lse, q, rows, cache_.page_table(), segments, cache_.shape(i),
            plan.shape, depth, Tensor(scratch_, DType::u32, 1, static_cast<uint32_t>(scratch_.bytes() / 4)),
            tables.table);
  for (uint32_t part = shape.kept; kept && part < shape.end_kept; part++)
    attention_keep(stream_, record_->q(i, part), record_->lse(i, part), part * record_->part_positions(), q,
                   lse, rows, static_cast<uint32_t>(record_->slot()));
  add_product(shape, x, y, packed(shape, attended, {{&w.output.weight}}), w.output, a.post_norm,
              w.attention_post_norm, static_cast<float>(layers_[i].residual_scale));
}

}  // namespace spindle
