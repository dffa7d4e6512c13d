// The feed-forward block of a layer.
#include "models/transformer.h"
#include "shaders/activation/activation.h"

namespace spindle {

void Transformer::feed_forward(uint32_t i, const StepShape& shape, Tensor y, Tensor x) {
  const Config& c = model_.config();
  const FeedForward& f = layers_[i].feed_forward;
  const LayerWeights& w = model_.weights().layer(i);
  if (f.experts.count) {
    experts(i, shape, y, x);
    return norm(y, y, f.post_norm, w.feed_forward_post_norm);
  }
  const Tensor up = view(up_, shape, c.ffn_dim[i]);
  Tensor hidden = up;
  if (w.gate.weight) {
    hidden = view(gate_, shape, c.ffn_dim[i]);
    const MatmulInput from = input(shape, x, {&w.gate.weight, &w.up.weight});
    matmul(stream_, shape.phase, hidden, w.gate.weight, from, w.gate.bias);
    matmul(stream_, shape.phase, up, w.up.weight, from, w.up.bias);
    activation(stream_, hidden, f.activation, hidden, up);
  } else {
    matmul(stream_, shape.phase, up, w.up.weight, input(shape, x, {&w.up.weight}), w.up.bias);
    activation(stream_, up, f.activation, up);
  }
  matmul(stream_, shape.phase, y, w.down.weight, input(shape, hidden, {&w.down.weight}), w.down.bias);
  norm(y, y, f.post_norm, w.feed_forward_post_norm);
}

}  // namespace spindle
