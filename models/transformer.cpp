// A step: memory, embedding, and what a layer is made of.
#include "models/transformer.h"

#include <algorithm>
#include <cassert>
#include <numeric>
#include <set>

#include "runtime/error.h"
#include "shaders/add/add.h"
#include "shaders/attention/attention.h"
#include "shaders/embed/embed.h"
#include "shaders/layer_norm/layer_norm.h"
#include "shaders/rms_norm/rms_norm.h"
#include "shaders/rope/rope.h"

namespace spindle {
namespace {

// Rows after which a row of `cols` floats begins at a multiple of the tensor alignment again.
uint32_t aligned_rows(uint32_t cols) {
  constexpr uint32_t floats = kTensorAlignment / 4;
  return floats / std::gcd(floats, cols);
}

// Floats of a row where several tensors lie one after the other, each aligned.
uint32_t aligned(uint32_t cols) { return round_up(cols, uint32_t{kTensorAlignment / 4}); }
uint32_t qkv_cols(const Config& c) {
  return aligned(c.max_heads() * c.head_dim) + 2 * aligned(c.max_kv_heads() * c.head_dim);
}
uint32_t inner_dim(const Config& c, const ExpertSizes& experts) {
  return std::max(experts.inner, experts.any_dense ? c.max_ffn_dim() : 0);
}
uint32_t gate_up_cols(const Config& c, const ExpertSizes& experts) {
  return 2 * aligned(inner_dim(c, experts));
}

// Words of a row of the widest that is allocated, and that is bound.
struct WidestRow {
  uint32_t allocated, bound;
};
WidestRow widest_row(const Caps& caps, const Config& c, const ExpertSizes& experts) {
  const uint32_t qkv = qkv_cols(c), gate_up = gate_up_cols(c, experts),
                 others = std::max(c.dim, experts.widest), joint = most_joint_outputs(caps);
  return {std::max({others, qkv, gate_up}),
          std::max({others, c.max_heads() * c.head_dim, inner_dim(c, experts), std::min(qkv, joint),
                    std::min(gate_up, joint)})};
}

}  // namespace

uint32_t Activations::rows_that_fit(const Caps& caps, const Config& c, std::span<const Layer> layers,
                                    uint32_t max_rows) {
  const WidestRow widest = widest_row(caps, c, expert_sizes(caps, layers, c));
  const uint64_t rows = std::min({uint64_t{max_rows}, caps.max_allocation_bytes / 4 / widest.allocated,
                                  caps.max_binding_bytes / 4 / widest.bound});
  require(rows > 0, "one row of {} activations does not fit into a binding of {} bytes", widest.bound,
          std::min(caps.max_binding_bytes, caps.max_allocation_bytes));
  return static_cast<uint32_t>(rows);
}

void Activations::place(Arena& arena, const Caps& caps, const Config& c, std::span<const Layer> layers,
                        uint32_t max_rows, uint32_t max_logit_rows) {
  const uint64_t limit = std::min(caps.max_binding_bytes, caps.max_allocation_bytes);
  const uint32_t q_dim = c.max_heads() * c.head_dim;
  const ExpertSizes experts = expert_sizes(caps, layers, c);
  max_rows_ = rows_that_fit(caps, c, layers, max_rows);
  max_logit_rows_ = max_logit_rows;

  // Logits in parts of whole rows; each part starts where the matching rows of h start aligned.
  const uint32_t step = aligned_rows(c.dim);
  const uint64_t row_bytes = uint64_t{4} * c.vocab_size;
  uint32_t part = static_cast<uint32_t>(std::min<uint64_t>(max_logit_rows_, limit / row_bytes));
  if (part < max_logit_rows_) part = part / step * step;
  require(part > 0, "{} rows of logits of {} bytes do not fit into a binding of {} bytes", step, row_bytes,
          limit);

  for (const auto& [tensor, cols] : {std::pair{&x_, c.dim},
                                     {&h_, c.dim},
                                     {&qkv_, qkv_cols(c)},
                                     {&attended_, q_dim},
                                     {&gate_up_, gate_up_cols(c, experts)}})
    arena.add(*tensor, DType::f32, max_rows_, cols);
  if (experts.count) place_experts(arena, experts, c.dim);
  if (std::ranges::any_of(layers, &Layer::parallel)) arena.add(y_, DType::f32, max_rows_, c.dim);
  arena.add(last_, DType::f32, 1, c.dim);
  const uint32_t longest = std::max({c.dim, q_dim, inner_dim(c, experts)});
  const uint64_t quantized_bytes =
      std::max(matmul_scratch_bytes(caps, max_rows_, longest), uint64_t{4} * max_rows_ * experts.quantized);
  if (quantized_bytes)
    arena.add(quantized_, DType::u32, 1, static_cast<uint32_t>(ceil_div(quantized_bytes, uint64_t{4})));
  logits_.resize(ceil_div(max_logit_rows_, part));
  for (uint32_t i = 0; i < logits_.size(); i++)
    arena.add(logits_[i], DType::f32, std::min(part, max_logit_rows_ - i * part), c.vocab_size);
}

void Activations::place_forms(Arena& arena, const Config& c, AttentionForms forms) {
  if (forms.queries > 1)
    arena.add(queries_, DType::f32, forms.queries * max_rows_, c.max_heads() * c.head_dim);
}

Transformer::Transformer(Stream& stream, const Model& model, std::vector<AttentionPlan> plans,
                         const KvCache& cache, uint32_t max_rows, uint32_t max_logit_rows)
    : stream_(stream),
      model_(model),
      plans_(std::move(plans)),
      cache_(cache),
      layers_(layers_of(model.architecture(), model.config())) {
  const Config& c = model.config();
  arena_ = Arena(stream.device(), Memory::device, "activations");
  place(arena_, stream.caps(), c, layers_, max_rows, max_logit_rows);
  arena_.allocate();
  for (const AttentionPlan& plan : plans_) add_attention(plan);
  if (model.ends().sinusoidal) add_sinusoids();
  attention_arena_ = Arena(stream.device(), Memory::device, "rotated queries");
  place_forms(attention_arena_, c, forms_of(plans_));
  if (attention_arena_.planned_bytes() > 0) attention_arena_.allocate();
}

uint64_t Transformer::activation_bytes() const {
  uint64_t bytes = arena_.bytes() + attention_arena_.bytes();
  for (const Buffer& buffer : table_buffers_) bytes += buffer.bytes();
  return bytes;
}

uint64_t Transformer::activation_bytes_needed(const Caps& caps, const Config& c,
                                              std::span<const Layer> layers, AttentionForms forms,
                                              uint32_t context, uint32_t most_positions, uint32_t max_rows,
                                              uint32_t max_logit_rows) {
  Arena arena(caps);
  Activations activations;
  activations.place(arena, caps, c, layers, max_rows, max_logit_rows);
  Arena turned(caps);
  activations.place_forms(turned, c, forms);
  std::set<double> tables;  // as rope_table makes them
  for (const Layer& layer : layers)
    if (layer.attention.rope != Rope::none) tables.insert(std::max(layer.attention.unscaled_rope_base, 0.0));
  const auto table = [](uint32_t positions, uint32_t cols) {
    return align_tensor(uint64_t{4} * rope_table_rows(positions) * cols);
  };
  uint64_t bytes = tables.size() * table(most_positions, c.n_rot);
  if (!tables.empty()) bytes += (forms.queries + forms.keys - 2) * table(context, c.n_rot);
  if (get_architecture(c.architecture).ends(c).sinusoidal)  // as add_sinusoids makes them
    bytes += table(most_positions, c.dim) + align_tensor(uint64_t{4} * activations.max_rows_ * c.dim);
  return arena.planned_bytes() + turned.planned_bytes() + bytes;
}

uint64_t Transformer::scratch_bytes_needed(const Caps& caps, const Config& c, const CacheShape& cache,
                                           const StepShape& shape) {
  uint64_t most = 0;
  for (uint32_t i = 0; i < c.n_layers; i++) {
    CacheShape of_layer = cache;
    of_layer.n_kv_heads = c.n_kv_heads[i];
    const AttentionShape attention{.n_heads = c.n_heads[i], .scale = 1};
    most = std::max(most,
                    attention_scratch_bytes(caps, shape.phase, shape.rows, of_layer, attention, shape.depth));
  }
  return std::min(most, caps.max_allocation_bytes);  // with less, attention takes more dispatches
}

uint64_t Transformer::scratch_bytes(const StepShape& shape) const {
  uint64_t most = 0;
  for (uint32_t i = 0; i < plans_.size(); i++)
    most = std::max(most, attention_scratch_bytes(stream_.caps(), shape.phase, shape.rows, cache_.shape(i),
                                                  plans_[i].shape, shape.depth));
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
  embedding(shape, rows);
  for (uint32_t i = 0; i < layers_.size(); i++) layer(i, shape, rows);
  if (shape.logits != Logits::none) head(shape, state);
}

Tensor Transformer::view(Tensor t, const StepShape& shape, uint32_t cols) const {
  t.rows = shape.rows;
  t.cols = cols;
  return t;
}

std::vector<Tensor> Transformer::views(Tensor t, uint32_t rows, const std::vector<uint32_t>& cols) const {
  std::vector<Tensor> list;
  for (uint32_t n : cols) {
    t.rows = rows;
    t.cols = n;
    list.push_back(t);
    t.offset_bytes += align_tensor(t.bytes());
  }
  return list;
}

void Transformer::norm(const MatmulInput& y, Tensor x, const Norm& norm, const NormWeights& weights) {
  if (!norm) return;
  const Config& c = model_.config();
  if (norm.kind == NormKind::rms) {
    assert(!weights.bias);
    rms_norm(stream_, y, x, weights.weight, static_cast<float>(c.rms_eps));
  } else {
    layer_norm(stream_, y, x, weights.weight, weights.bias, static_cast<float>(c.layer_eps));
  }
}

void Transformer::norm_heads(Tensor x, const Norm& n, const NormWeights& weights, uint32_t n_heads) {
  if (n.over != NormOver::row) {  // heads as rows
    x.rows *= n_heads;
    x.cols /= n_heads;
  }
  norm(x, x, n, weights);
}

Transformer::Readers Transformer::readers(std::span<const JointProjection> projections) {
  Readers list;
  for (const JointProjection& p : projections) list.weights.push_back(&p.weight);
  return list;
}

MatmulInput Transformer::normed(const StepShape& shape, Tensor y, Tensor x, const Norm& n,
                                const NormWeights& weights, const Readers& readers) {
  if (!n) return packed(shape, x, readers);
  MatmulInput to = matmul_input(stream_.caps(), shape.phase, y, readers.weights, quantized_, readers.coopmat);
  if (readers.f32) to.x = y;
  norm(to, x, n, weights);
  return to;
}

MatmulInput Transformer::packed(const StepShape& shape, Tensor x, const Readers& readers) {
  return matmul_input(stream_, shape.phase, x, readers.weights, quantized_, readers.coopmat);
}

void Transformer::project(const StepShape& shape, std::span<const Tensor> to,
                          std::span<const JointProjection> projections, const MatmulInput& x) {
  for (const JointProjection& p : projections) {
    matmul(stream_, shape.phase, MatmulOutput(to.first(p.n_parts)), p.weight, x, p.bias);
    to = to.subspan(p.n_parts);
  }
}

void Transformer::add_product(const StepShape& shape, Tensor x, Tensor y, const MatmulInput& rows,
                              const Projection& p, const Norm& post_norm, const NormWeights& weights,
                              float scale) {
  if (!post_norm) return matmul(stream_, shape.phase, MatmulOutput(x, x, scale), p.weight, rows, p.bias);
  matmul(stream_, shape.phase, y, p.weight, rows, p.bias);
  norm(y, y, post_norm, weights);
  add(stream_, x, x, y, scale);
}

void Transformer::embedding(const StepShape& shape, Tensor rows) {
  const Ends& ends = model_.ends();
  const Weights& w = model_.weights();
  const Tensor x = view(x_, shape, model_.config().dim), h = view(h_, shape, x.cols);
  embed(stream_, x, w.embedding(), rows, static_cast<float>(ends.embedding_scale));
  if (w.position_embedding()) {
    embed(stream_, h, w.position_embedding(), rows, 1, EmbedBy::position);
    add(stream_, x, x, h);
  }
  if (ends.sinusoidal) {
    rope(stream_, h, unit_pairs_.slice(0, shape.rows), rows, sinusoids_, {1, x.cols, x.cols});
    add(stream_, x, x, h);
  }
  norm(x, x, ends.embedding_norm, w.embedding_norm());
}

void Transformer::layer(uint32_t i, const StepShape& shape, Tensor rows) {
  const Layer& l = layers_[i];
  const LayerWeights& w = model_.weights().layer(i);
  const Tensor x = view(x_, shape, model_.config().dim), h = view(h_, shape, x.cols);
  Readers wide = readers(w.qkv);
  if (!l.parallel) {
    attend(i, shape, rows, h, normed(shape, h, x, l.attention.norm, w.attention_norm, wide));
    feed_forward(i, shape, h,
                 normed(shape, h, x, l.feed_forward.norm, w.feed_forward_norm, feed_forward_readers(i)));
    return;
  }
  // Both inputs are there before x changes, the feed-forward's in f32: what is packed holds one at a time.
  // What attention adds goes where no input is needed any more.
  const Tensor y = view(y_, shape, x.cols);
  const bool shared = l.shares_norm();
  Tensor input = l.attention.norm ? h : x;
  if (!shared && l.feed_forward.norm) norm(input = y, x, l.feed_forward.norm, w.feed_forward_norm);
  wide.f32 = shared;
  attend(i, shape, rows, shared ? y : h, normed(shape, h, x, l.attention.norm, w.attention_norm, wide));
  feed_forward(i, shape, shared ? y : h, packed(shape, input, feed_forward_readers(i)));
}

}  // namespace spindle
