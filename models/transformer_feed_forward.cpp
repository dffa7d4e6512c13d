// The feed-forward block of a layer.
#include "models/transformer.h"
#include "shaders/activation/activation.h"
#include "shaders/add/add.h"

namespace spindle {

void Transformer::feed_forward(uint32_t i, const StepShape& shape, Tensor y, Tensor input) {
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
  activation(stream_, parts[0], f.activation, parts[0], gated ? parts[1] : Tensor());
  add_product(shape, x, y, parts[0], w.down, f.post_norm, w.feed_forward_post_norm, scale);
}

}  // namespace spindle
