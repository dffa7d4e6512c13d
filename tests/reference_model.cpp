// The double-precision model and the generator of random ones.
#include "tests/reference_model.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "shaders/add/add.h"
#include "shaders/attention/attention.h"
#include "shaders/embed/embed.h"
#include "shaders/matmul/matmul.h"
#include "shaders/rms_norm/rms_norm.h"
#include "shaders/rope/rope.h"
#include "shaders/swiglu/swiglu.h"
#include "tests/gguf_writer.h"

namespace spindle::test {

ReferenceModel::ReferenceModel(const Gguf& file)
    : config_(read_config(file)), architecture_(get_architecture(config_.architecture)) {
  for (const GgufTensor& t : file.tensors()) {
    std::vector<std::byte> bytes(t.bytes);
    file.read_tensor(t, bytes);
    outputs_[t.name] = t.dims[1];
    tensors_[t.name] = reference::decode(*find_dtype_by_gguf(t.type), bytes);
  }
  config_.vocab_size = static_cast<uint32_t>(file.get_tensor("token_embd.weight").dims[1]);
  std::vector<float> divisors;
  if (tensors_.count("rope_freqs.weight"))
    divisors.assign(tensor("rope_freqs.weight").begin(), tensor("rope_freqs.weight").end());
  rope_ = plan_rope(config_, divisors);
}

ReferenceModel::Values ReferenceModel::project(const Values& x, const std::string& prefix,
                                               const Linear& linear) const {
  const Values& w = tensor(prefix + linear.name + ".weight");
  const auto bias = tensors_.find(prefix + linear.name + ".bias");
  const bool biased = linear.bias != Bias::none && bias != tensors_.end();
  const size_t n = outputs_.at(prefix + linear.name + ".weight"), k = w.size() / n;
  Values y(x.size() / k * n);
  reference::matmul(y, w, x, biased ? std::span<const double>(bias->second) : std::span<const double>(),
                    static_cast<uint32_t>(x.size() / k));
  return y;
}

ReferenceModel::Values ReferenceModel::norm(const Values& x, const std::string& name) const {
  Values y(x.size());
  reference::rms_norm(y, x, tensor(name + ".weight"), config_.norm_eps);
  return y;
}

std::vector<double> ReferenceModel::logits(std::span<const int> ids) const {
  const Config& c = config_;
  const auto n = static_cast<uint32_t>(ids.size());
  std::vector<Row> rows;
  std::vector<uint32_t> positions;
  for (uint32_t i = 0; i < n; i++) {
    rows.push_back({static_cast<uint32_t>(ids[i]), 0, i, 1});
    positions.push_back(i);
  }
  Values x(size_t{n} * c.dim);
  reference::embed(x, tensor(architecture_.token_embedding + ".weight"), rows);
  for (uint32_t i = 0; i < c.n_layers; i++) {
    const Layer layer = architecture_.layer(c, static_cast<int>(i));
    const AttentionBlock& a = layer.attention;
    const FeedForward& f = layer.feed_forward;
    const std::string prefix = fmt::format("blk.{}.", i);
    Values h = norm(x, prefix + a.norm);
    Values q = project(h, prefix, a.q), k = project(h, prefix, a.k), v = project(h, prefix, a.v);
    if (!a.q_norm.empty()) q = norm(q, prefix + a.q_norm);
    if (!a.k_norm.empty()) k = norm(k, prefix + a.k_norm);
    if (a.rope != Rope::none) {
      const auto layout = a.rope == Rope::interleaved ? RopeLayout::interleaved : RopeLayout::half_split;
      reference::rope(q, positions, rope_.inv_freq, rope_.magnitude,
                      {c.n_heads[i], c.head_dim, c.n_rot, layout});
      reference::rope(k, positions, rope_.inv_freq, rope_.magnitude,
                      {c.n_kv_heads[i], c.head_dim, c.n_rot, layout});
    }
    Values y(q.size());
    CacheShape cache;
    cache.n_kv_heads = c.n_kv_heads[i];
    cache.head_dim = c.head_dim;
    const double scale = a.scale != 0 ? a.scale : 1 / std::sqrt(static_cast<double>(c.head_dim));
    reference::attention(y, {}, q, k, v, positions, cache, {c.n_heads[i], static_cast<float>(scale)});
    reference::add(x, x, project(y, prefix, a.output));
    h = norm(x, prefix + f.norm);
    Values gate = project(h, prefix, f.gate);
    reference::swiglu(gate, gate, project(h, prefix, f.up));
    reference::add(x, x, project(gate, prefix, f.down));
  }
  const Values h = norm(x, architecture_.output_norm);
  const bool tied = !tensors_.count(architecture_.output + ".weight");
  Values out(size_t{n} * c.vocab_size);
  reference::matmul(out, tensor((tied ? architecture_.token_embedding : architecture_.output) + ".weight"), h,
                    {}, n);
  return out;
}

namespace {

std::vector<std::byte> encode(DType type, std::vector<float> values) {
  if (type == DType::f32) {
    const auto bytes = std::as_bytes(std::span(values));
    return {bytes.begin(), bytes.end()};
  }
  std::vector<std::byte> out;  // halves, made from values that a half holds exactly
  for (float v : values) {
    int exponent = 0;
    const float mantissa = std::frexp(v, &exponent);  // [0.5, 1)
    const auto sign = static_cast<uint16_t>(v < 0 ? 0x8000 : 0);
    uint16_t bits = sign;
    if (v != 0 && exponent > -14)
      bits = static_cast<uint16_t>(sign | ((exponent + 14) << 10) |
                                   (static_cast<int>(std::abs(mantissa) * 2048) & 0x3ff));
    GgufWriter::put(out, bits);
  }
  return out;
}

}  // namespace

std::vector<std::byte> RandomModel::bytes() const {
  GgufWriter w;
  const uint32_t dim = n_heads * head_dim, kv_dim = n_kv_heads * head_dim;
  const std::string p = architecture + ".";
  w.set("general.architecture", architecture);
  w.set(p + "block_count", n_layers);
  w.set(p + "embedding_length", dim);
  w.set(p + "context_length", context);
  w.set(p + "attention.head_count", n_heads);
  w.set(p + "attention.head_count_kv", n_kv_heads);
  w.set(p + "attention.key_length", head_dim);
  w.set(p + "attention.value_length", head_dim);
  w.set(p + "attention.layer_norm_rms_epsilon", 1e-5f);
  w.set(p + "feed_forward_length", ffn_dim);
  w.set(p + "rope.dimension_count", head_dim);
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal;
  const auto matrix = [&](const std::string& name, uint32_t n, uint32_t k, float scale = 1) {
    std::vector<float> values(size_t{n} * k);
    for (float& v : values) v = normal(engine) * scale / std::sqrt(static_cast<float>(k));
    w.add_tensor(name, type, {k, n}, encode(type, values));
  };
  const auto vector = [&](const std::string& name, uint32_t n, float centre) {
    std::vector<float> values(n);
    for (float& v : values) v = centre + 0.1f * normal(engine);
    w.add_tensor(name, {n}, values);
  };
  matrix("token_embd.weight", vocab, dim, std::sqrt(static_cast<float>(dim)));
  vector("output_norm.weight", dim, 1);
  if (!tied) matrix("output.weight", vocab, dim, 2);
  for (uint32_t i = 0; i < n_layers; i++) {
    const std::string b = fmt::format("blk.{}.", i);
    vector(b + "attn_norm.weight", dim, 1);
    matrix(b + "attn_q.weight", dim, dim);
    matrix(b + "attn_k.weight", kv_dim, dim);
    matrix(b + "attn_v.weight", kv_dim, dim);
    matrix(b + "attn_output.weight", dim, dim);
    if (bias || architecture == "qwen2")
      for (const auto& [name, n] : {std::pair{"attn_q", dim}, {"attn_k", kv_dim}, {"attn_v", kv_dim}})
        vector(b + name + ".bias", n, 0);
    if (head_norms || architecture == "qwen3")
      for (const char* name : {"attn_q_norm", "attn_k_norm"}) vector(b + name + ".weight", head_dim, 1);
    vector(b + "ffn_norm.weight", dim, 1);
    matrix(b + "ffn_gate.weight", ffn_dim, dim);
    matrix(b + "ffn_up.weight", ffn_dim, dim);
    matrix(b + "ffn_down.weight", dim, ffn_dim);
  }
  return w.finish();
}

std::vector<int> random_ids(size_t n, uint32_t vocab, uint32_t seed) {
  std::mt19937 engine(seed);
  std::vector<int> ids(n);
  for (int& id : ids) id = static_cast<int>(engine() % vocab);
  return ids;
}

std::vector<double> log_softmax(std::span<const double> logits) {
  const double most = *std::ranges::max_element(logits);
  double sum = 0;
  for (double l : logits) sum += std::exp(l - most);
  std::vector<double> out;
  for (double l : logits) out.push_back(l - most - std::log(sum));
  return out;
}

std::vector<double> log_softmax(std::span<const float> logits) {
  return log_softmax(std::vector<double>(logits.begin(), logits.end()));
}

}  // namespace spindle::test
