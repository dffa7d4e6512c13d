// One step: embedding, layers, logits, next token.
#include "models/transformer.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <numeric>

#include "runtime/error.h"
#include "shaders/add/add.h"
#include "shaders/attention/attention.h"
#include "shaders/attention/cache_append.h"
#include "shaders/embed/embed.h"
#include "shaders/matmul/matmul.h"
#include "shaders/rms_norm/rms_norm.h"
#include "shaders/rope/rope.h"
#include "shaders/swiglu/swiglu.h"

namespace spindle {
namespace {

// Rows after which a row of `cols` floats begins at a multiple of the tensor alignment again.
uint32_t aligned_rows(uint32_t cols) {
  constexpr uint32_t floats = kTensorAlignment / 4;
  return floats / std::gcd(floats, cols);
}

// The same elements with rows of another width: the heads of a row as rows.
Tensor reshape(Tensor t, uint32_t rows, uint32_t cols) {
  assert(t.elements() == uint64_t{rows} * cols);
  t.rows = rows;
  t.cols = cols;
  return t;
}

}  // namespace

Transformer::Transformer(Stream& stream, const Model& model, const KvCache& cache, uint32_t max_rows,
                         uint32_t max_logit_rows)
    : stream_(stream), model_(model), cache_(cache), max_rows_(max_rows), max_logit_rows_(max_logit_rows) {
  const Config& c = model.config();
  for (uint32_t i = 0; i < c.n_layers; i++)
    layers_.push_back(model.architecture().layer(c, static_cast<int>(i)));

  const uint64_t limit = std::min(stream.caps().max_binding_bytes, stream.caps().max_allocation_bytes);
  const uint32_t q_dim = c.max_heads() * c.head_dim, kv_dim = c.max_kv_heads() * c.head_dim;
  const uint32_t widest = std::max({c.dim, q_dim, c.max_ffn_dim()});
  max_rows_ = static_cast<uint32_t>(std::min<uint64_t>(max_rows, limit / (uint64_t{4} * widest)));
  require(max_rows_ > 0, "one row of {} activations does not fit into a binding of {} bytes", widest, limit);

  // Logits in parts of whole rows; each part starts where the matching rows of h start aligned.
  const uint32_t step = aligned_rows(c.dim);
  const uint64_t row_bytes = uint64_t{4} * c.vocab_size;
  uint32_t part = static_cast<uint32_t>(std::min<uint64_t>(max_logit_rows_, limit / row_bytes));
  if (part < max_logit_rows_) part = part / step * step;
  require(part > 0, "{} rows of logits of {} bytes do not fit into a binding of {} bytes", step, row_bytes,
          limit);

  arena_ = Arena(stream.device(), Memory::device, "activations");
  for (const auto& [tensor, cols] : {std::pair{&x_, c.dim},
                                     {&h_, c.dim},
                                     {&q_, q_dim},
                                     {&k_, kv_dim},
                                     {&v_, kv_dim},
                                     {&attended_, q_dim},
                                     {&gate_, c.max_ffn_dim()},
                                     {&up_, c.max_ffn_dim()}})
    arena_.add(*tensor, DType::f32, max_rows_, cols);
  arena_.add(last_, DType::f32, 1, c.dim);
  const uint64_t quantized_bytes = matmul_scratch_bytes(stream.caps(), max_rows_, widest);
  if (quantized_bytes)
    arena_.add(quantized_, DType::u32, 1, static_cast<uint32_t>(ceil_div(quantized_bytes, uint64_t{4})));
  logits_.resize(ceil_div(max_logit_rows_, part));
  for (uint32_t i = 0; i < logits_.size(); i++)
    arena_.add(logits_[i], DType::f32, std::min(part, max_logit_rows_ - i * part), c.vocab_size);
  arena_.allocate();

  const std::vector<float> table =
      make_rope_table(model.rope().inv_freq, model.rope().magnitude, cache.context());
  const uint32_t cols = c.n_rot;
  rope_buffer_ = Buffer(stream.device(), table.size() * 4, Memory::device, "rotary table");
  rope_table_ = Tensor(rope_buffer_, DType::f32, static_cast<uint32_t>(table.size()) / cols, cols);
  stream.upload(rope_table_, std::as_bytes(std::span(table)));
}

uint64_t Transformer::scratch_bytes(const StepShape& shape) const {
  uint64_t most = 0;
  for (uint32_t i = 0; i < layers_.size(); i++) {
    const Config& c = model_.config();
    const AttentionShape attention{c.n_heads[i], 1.0f};
    most = std::max(most, attention_scratch_bytes(stream_.caps(), shape.phase, shape.rows, cache_.shape(i),
                                                  attention, shape.depth));
  }
  return std::min(most, stream_.caps().max_allocation_bytes);  // with less, attention takes more dispatches
}

void Transformer::reserve(const StepShape& shape) {
  if (serves(shape)) return;
  scratch_ = {};
  scratch_ = Buffer(stream_.device(), scratch_bytes(shape), Memory::device, "attention scratch");
}

void Transformer::record(const StepShape& shape, const StepState& state) {
  assert(serves(shape) && shape.rows <= max_rows_);
  const Tensor rows = state.rows.slice(0, shape.rows);
  embed(stream_, x_.slice(0, shape.rows), model_.weights().embedding(), rows);
  for (uint32_t i = 0; i < layers_.size(); i++) layer(i, shape, rows);
  if (shape.logits != Logits::none) head(shape, state);
}

void Transformer::layer(uint32_t i, const StepShape& shape, Tensor rows) {
  const Config& c = model_.config();
  const AttentionBlock& a = layers_[i].attention;
  const LayerWeights& w = model_.weights().layer(i);
  const uint32_t n = shape.rows, heads = c.n_heads[i], kv_heads = c.n_kv_heads[i];
  const auto eps = static_cast<float>(c.norm_eps);
  const auto view = [&](Tensor t, uint32_t cols) {
    t.rows = n;
    t.cols = cols;
    return t;
  };
  const Tensor x = view(x_, c.dim), h = view(h_, c.dim);
  const Tensor q = view(q_, heads * c.head_dim), k = view(k_, kv_heads * c.head_dim),
               v = view(v_, kv_heads * c.head_dim);
  const Tensor attended = view(attended_, heads * c.head_dim);
  const auto input = [&](Tensor rows_of_x, std::initializer_list<const Weight*> weights) {
    return matmul_input(stream_, shape.phase, rows_of_x, weights, quantized_);
  };

  rms_norm(stream_, h, x, w.attention_norm, eps);
  const MatmulInput normed = input(h, {&w.q.weight, &w.k.weight, &w.v.weight});
  matmul(stream_, shape.phase, q, w.q.weight, normed, w.q.bias);
  matmul(stream_, shape.phase, k, w.k.weight, normed, w.k.bias);
  matmul(stream_, shape.phase, v, w.v.weight, normed, w.v.bias);
  if (w.q_norm) {
    const Tensor by_head = reshape(q, n * heads, c.head_dim);
    rms_norm(stream_, by_head, by_head, w.q_norm, eps);
  }
  if (w.k_norm) {
    const Tensor by_head = reshape(k, n * kv_heads, c.head_dim);
    rms_norm(stream_, by_head, by_head, w.k_norm, eps);
  }
  if (a.rope != Rope::none) {
    const auto layout = a.rope == Rope::interleaved ? RopeLayout::interleaved : RopeLayout::half_split;
    rope(stream_, q, rows, rope_table_, {heads, c.head_dim, c.n_rot, layout});
    rope(stream_, k, rows, rope_table_, {kv_heads, c.head_dim, c.n_rot, layout});
  }
  const std::vector<CacheSegment> segments = cache_.segments(i, shape.segments);
  const uint32_t depth = std::min(shape.depth, segments.back().first_position + segments.back().n_positions);
  cache_append(stream_, segments, cache_.shape(i), k, v, rows, cache_.page_table());
  const double scale = a.scale != 0 ? a.scale : 1 / std::sqrt(static_cast<double>(c.head_dim));
  attention(stream_, shape.phase, attended, {}, q, rows, cache_.page_table(), segments, cache_.shape(i),
            {heads, static_cast<float>(scale)}, depth,
            Tensor(scratch_, DType::u32, 1, static_cast<uint32_t>(scratch_.bytes() / 4)));
  matmul(stream_, shape.phase, h, w.output.weight, input(attended, {&w.output.weight}), w.output.bias);
  add(stream_, x, x, h);

  const Tensor gate = view(gate_, c.ffn_dim[i]), up = view(up_, c.ffn_dim[i]);
  rms_norm(stream_, h, x, w.feed_forward_norm, eps);
  const MatmulInput wide = input(h, {&w.gate.weight, &w.up.weight});
  matmul(stream_, shape.phase, gate, w.gate.weight, wide, w.gate.bias);
  matmul(stream_, shape.phase, up, w.up.weight, wide, w.up.bias);
  swiglu(stream_, gate, gate, up);
  matmul(stream_, shape.phase, h, w.down.weight, input(gate, {&w.down.weight}), w.down.bias);
  add(stream_, x, x, h);
}

void Transformer::head(const StepShape& shape, const StepState& state) {
  const Config& c = model_.config();
  const auto eps = static_cast<float>(c.norm_eps);
  const Tensor norm = model_.weights().output_norm();
  const Weight& output = model_.weights().output();
  // One row of logits for the last row of a prefill, else one for each row.
  const bool last = shape.logits == Logits::last && shape.phase == Phase::prefill;
  Tensor h;
  if (last) {
    Tensor x = x_;
    x.offset_bytes += uint64_t{4} * (shape.rows - 1) * c.dim;  // copies need no alignment
    x.rows = 1;
    stream_.copy(last_, x);
    h = last_;
    rms_norm(stream_, h, last_, norm, eps);
  } else {
    h = h_.slice(0, shape.rows);
    rms_norm(stream_, h, x_.slice(0, shape.rows), norm, eps);
  }
  assert(h.rows <= max_logit_rows_);
  uint32_t first = 0;
  for (const Tensor& part : logits_) {
    if (first >= h.rows) break;
    const Tensor logits = part.slice(0, std::min(part.rows, h.rows - first));
    const Tensor rows = h.slice(first, logits.rows);
    matmul(stream_, shape.phase, logits, output,
           matmul_input(stream_, shape.phase, rows, {&output}, quantized_));
    if (shape.sample) sample(stream_, state.sampling, logits, state.targets, first);
    first += logits.rows;
  }
}

}  // namespace spindle
