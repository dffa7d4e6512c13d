// The feed-forward block of a layer, but for experts.
#include "models/transformer.h"
#include "shaders/activation/activation.h"
#include "shaders/add/add.h"

namespace spindle {

Transformer::Readers Transformer::feed_forward_readers(uint32_t i) const {
  const LayerWeights& w = model_.weights().layer(i);
  if (!layers_[i].feed_forward.experts.count) return readers(w.gate_up);
  return {{&w.experts.gate.weight, &w.experts.up.weight}, false, true};
}

MatmulInput Transformer::activated(const StepShape& shape, Activation f, Tensor gate, Tensor up,
                                   const Weight& down, bool coopmat) {
  const MatmulInput y = matmul_input(stream_.caps(), shape.phase, gate, {&down}, quantized_, coopmat);
  activation(stream_, y, f, gate, up);
  return y;
}

void Transformer::feed_forward(uint32_t i, const StepShape& shape, Tensor y, const MatmulInput& input) {
  const Config& c = model_.config();
  const FeedForward& f = layers_[i].feed_forward;
  const LayerWeights& w = model_.weights().layer(i);
  const Tensor x = view(x_, shape, c.dim);
  const auto scale = static_cast<float>(layers_[i].residual_scale);
  if (f.experts.count) {
    experts(i, shape, y, input);
    norm(y, y, f.post_norm, w.feed_forward_post_norm);
    return add(stream_, x, x, y, scale);
  }
  const bool gated = !f.gate.name.empty();
  const std::vector<Tensor> parts =
      views(gate_up_, shape.rows, std::vector<uint32_t>(gated ? 2 : 1, c.ffn_dim[i]));
  project(shape, parts, w.gate_up, input);
  const MatmulInput inner =
      activated(shape, f.activation, parts[0], gated ? parts[1] : Tensor(), w.down.weight);
  add_product(shape, x, y, inner, w.down, f.post_norm, w.feed_forward_post_norm, scale);
}

}  // namespace spindle
