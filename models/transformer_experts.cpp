// The experts of a layer: their activations and their dispatches.
#include <algorithm>

#include "models/transformer.h"
#include "shaders/experts/expert_matmul.h"
#include "shaders/experts/expert_route.h"
#include "shaders/experts/expert_rows.h"
#include "shaders/experts/expert_sum.h"
#include "shaders/matmul/matmul.h"
#include "shaders/matmul/quantize_rows.h"

namespace spindle {

ExpertSizes expert_sizes(const Caps& caps, std::span<const Layer> layers, const Config& c) {
  ExpertSizes s;
  for (const Layer& layer : layers) {
    const Experts& e = layer.feed_forward.experts;
    s.any_dense |= e.count == 0;
    if (e.count == 0) continue;
    s.count = std::max(s.count, e.count);
    s.used = std::max(s.used, e.used);
    s.inner = std::max({s.inner, e.used * e.dim, e.shared_dim});
    s.any_shared |= e.shared_dim > 0;
    if (matmul_scratch_bytes(caps, 1, e.dim))
      s.quantized = std::max<uint32_t>(s.quantized, e.used * QUANTIZED_WORDS(e.dim));
  }
  s.widest = std::max({s.count, s.inner, s.used * c.dim, s.quantized});
  return s;
}

void Activations::place_experts(Arena& arena, const ExpertSizes& s, uint32_t dim) {
  arena.add(router_, DType::f32, max_rows_, s.count);
  arena.add(chosen_, DType::u32, max_rows_, s.used);
  arena.add(shares_, DType::f32, max_rows_, s.used);
  arena.add(of_experts_, DType::f32, max_rows_, s.used * dim);
  if (s.any_shared) {
    arena.add(of_shared_, DType::f32, max_rows_, dim);
    arena.add(shared_gate_, DType::f32, max_rows_, 1);
  }
  arena.add(sorted_, DType::u32, 1,
            static_cast<uint32_t>(expert_rows_scratch_bytes(max_rows_ * s.used, s.count) / 4));
}

void Transformer::experts(uint32_t i, const StepShape& shape, Tensor y, const MatmulInput& input) {
  const FeedForward& f = layers_[i].feed_forward;
  const Experts& e = f.experts;
  const ExpertWeights& w = model_.weights().layer(i).experts;
  const Phase phase = shape.phase;
  const Tensor x = input.x;
  const auto of_pairs = [&](Tensor t, uint32_t cols) {
    t.rows = shape.rows * e.used;
    t.cols = cols;
    return t;
  };

  // The router is always computed in f32: which expert is taken must not hang on rounding.
  const Tensor logits = view(router_, shape, e.count), chosen = view(chosen_, shape, e.used),
               weights = view(shares_, shape, e.used);
  matmul(stream_, phase, logits, w.router.weight, x, w.router.bias);
  expert_route(stream_, chosen, weights, logits, e.renormalise, static_cast<float>(e.scale));
  const ExpertRows rows = expert_rows(stream_, phase, chosen, e.count, sorted_);
  const std::vector<Tensor> inner = views(gate_up_, shape.rows * e.used, {e.dim, e.dim});
  const Tensor gate = inner[0], up = inner[1], out = of_pairs(of_experts_, x.cols);
  expert_matmul(stream_, phase, gate, w.gate, input, rows);
  expert_matmul(stream_, phase, up, w.up, input, rows);
  expert_matmul(stream_, phase, out, w.down, activated(shape, f.activation, gate, up, w.down.weight, false),
                rows);

  SharedExpert shared;
  if (e.shared_dim) {
    shared.output = view(of_shared_, shape, x.cols);
    const std::vector<Tensor> parts = views(gate_up_, shape.rows, {e.shared_dim, e.shared_dim});
    project(shape, parts, w.shared_gate_up, packed(shape, x, readers(w.shared_gate_up)));
    matmul(stream_, phase, shared.output, w.shared_down.weight,
           activated(shape, f.activation, parts[0], parts[1], w.shared_down.weight), w.shared_down.bias);
    if (w.shared_router.weight) {
      shared.gate = view(shared_gate_, shape, 1);
      matmul(stream_, phase, shared.gate, w.shared_router.weight, x, w.shared_router.bias);
    }
  }
  expert_sum(stream_, y, out, weights, shared);
}

}  // namespace spindle
