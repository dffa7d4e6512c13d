// What several families are written with.
#include "models/architecture.h"

namespace spindle {

void fuse_qkv(Layer& layer, const Config& c, int i) {
  if (c.has_tensor("attn_q.weight")) return;
  const auto layer_index = static_cast<size_t>(i);
  const uint32_t q = c.n_heads[layer_index] * c.head_dim, kv = c.n_kv_heads[layer_index] * c.head_dim;
  AttentionBlock& a = layer.attention;
  a.q = {"attn_qkv", a.q.bias, 0, q + 2 * kv};
  a.k = {"attn_qkv", a.k.bias, q, q + 2 * kv};
  a.v = {"attn_qkv", a.v.bias, q + kv, q + 2 * kv};
}

void fuse_gate_up(Layer& layer, const Config& c, int i) {
  if (c.has_tensor("ffn_gate.weight")) return;
  const uint32_t rows = c.ffn_dim[static_cast<size_t>(i)];
  FeedForward& f = layer.feed_forward;
  f.gate = {"ffn_up", f.gate.bias, 0, 2 * rows};
  f.up = {"ffn_up", f.up.bias, rows, 2 * rows};
}

void use_experts(Layer& layer, const Config& c, bool renormalise) {
  Experts& e = layer.feed_forward.experts;
  e.count = c.n_experts;
  e.used = c.n_experts_used;
  e.dim = c.expert_dim;
  e.renormalise = c.expert_weights_norm.value_or(renormalise);
  e.scale = c.expert_weights_scale.value_or(1);
  e.separate = c.has_tensor("ffn_gate.0.weight");  // as files were before 2024
  if (e.separate) {
    e.gate = "ffn_gate";
    e.up = "ffn_up";
    e.down = "ffn_down";
  }
}

void set_norms(Layer& layer, NormKind kind, Bias bias) {
  AttentionBlock& a = layer.attention;
  FeedForward& f = layer.feed_forward;
  for (Norm* n : {&a.norm, &a.q_norm, &a.k_norm, &a.post_norm, &f.norm, &f.post_norm}) {
    n->kind = kind;
    n->bias = bias;
  }
}

}  // namespace spindle
