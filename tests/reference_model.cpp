// The double-precision model and the generator of random ones.
#include "tests/reference_model.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <random>
#include <set>

#include "models/model.h"
#include "shaders/activation/activation.h"
#include "shaders/add/add.h"
#include "shaders/attention/attention.h"
#include "shaders/embed/embed.h"
#include "shaders/experts/expert_matmul.h"
#include "shaders/experts/expert_route.h"
#include "shaders/experts/expert_sum.h"
#include "shaders/layer_norm/layer_norm.h"
#include "shaders/limit/limit.h"
#include "shaders/matmul/matmul.h"
#include "shaders/rms_norm/rms_norm.h"
#include "shaders/rope/rope.h"
#include "shaders/weight/random_weight.h"
#include "tests/gguf_writer.h"

namespace spindle::test {

ReferenceModel::ReferenceModel(const Gguf& file, uint32_t context, const RopeRequest& person,
                               const AttentionPattern& pattern)
    : config_(read_config(file)), architecture_(get_architecture(config_.architecture)) {
  for (const GgufTensor& t : file.tensors()) {
    std::vector<std::byte> bytes(t.bytes);
    file.read_tensor(t, bytes);
    tensors_[t.name] = reference::decode(*find_dtype_by_gguf(t.type), bytes);
  }
  config_.vocab_size = static_cast<uint32_t>(file.get_tensor("token_embd.weight").dims[1]);
  ends_ = architecture_.ends(config_);
  rope_ = choose_rope(read_file_rope(file, config_), context ? context : config_.context_length, person);
  HostTensors host;
  for (const auto& [name, values] : tensors_) host[name].assign(values.begin(), values.end());
  plans_ = plan_attention(layers_of(architecture_, config_), config_, rope_, pattern, host);
}

std::span<const double> ReferenceModel::find(const std::string& name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? std::span<const double>() : std::span<const double>(found->second);
}

ReferenceModel::Values ReferenceModel::project(const Values& x, const std::string& prefix,
                                               const Linear& linear, uint32_t n) const {
  std::span<const double> w = tensor(prefix + linear.name + ".weight"), bias;
  if (linear.bias != Bias::none) bias = find(prefix + linear.name + ".bias");
  const size_t all = linear.all_rows ? linear.all_rows : n, k = w.size() / all;
  w = w.subspan(linear.first_row * k, n * k);
  if (!bias.empty()) bias = bias.subspan(linear.first_row, n);
  Values y(x.size() / k * n);
  reference::matmul(y, w, x, bias, static_cast<uint32_t>(x.size() / k));
  return y;
}

ReferenceModel::Values ReferenceModel::norm(const Values& x, const std::string& prefix, const Norm& norm,
                                            uint32_t dim) const {
  if (norm.name.empty()) return x;
  const Values& weight = tensor(prefix + norm.name + ".weight");
  Values y(x.size());
  if (norm.over != NormOver::row) dim = config_.head_dim;
  if (norm.kind == NormKind::rms) reference::rms_norm(y, x, dim, weight, config_.rms_eps);
  else
    reference::layer_norm(
        y, x, dim, weight,
        norm.bias == Bias::none ? std::span<const double>() : find(prefix + norm.name + ".bias"),
        config_.layer_eps);
  return y;
}

ReferenceModel::Values ReferenceModel::embed(std::span<const Row> rows) const {
  Values x(rows.size() * config_.dim), positions(x.size());
  reference::embed(x, tensor(ends_.token_embedding + ".weight"), rows, ends_.embedding_scale);
  if (!ends_.position_embedding.empty()) {
    reference::embed(positions, tensor(ends_.position_embedding + ".weight"), rows, 1, EmbedBy::position);
    reference::add(x, x, positions);
  }
  for (size_t r = 0; ends_.sinusoidal && r < rows.size(); r++) {
    const std::vector<double> v = sinusoid(config_.dim, rows[r].position);
    for (size_t i = 0; i < v.size(); i++) x[r * v.size() + i] += v[i];
  }
  return norm(x, "", ends_.embedding_norm, config_.dim);
}

ReferenceModel::Values ReferenceModel::attend(uint32_t i, const AttentionBlock& a, const Values& x,
                                              std::span<const uint32_t> positions,
                                              std::vector<Values>* probabilities) const {
  const Config& c = config_;
  const std::string prefix = fmt::format("blk.{}.", i);
  const uint32_t q_dim = c.n_heads[i] * c.head_dim, kv_dim = c.n_kv_heads[i] * c.head_dim;
  Values q = project(x, prefix, a.q, q_dim), k = project(x, prefix, a.k, kv_dim),
         v = project(x, prefix, a.v, kv_dim);
  if (a.clamp_qkv > 0)
    for (Values* t : {&q, &k, &v}) reference::limit(*t, *t, 1, Limit::clamp, a.clamp_qkv);
  q = norm(q, prefix, a.q_norm, q_dim);
  k = norm(k, prefix, a.k_norm, kv_dim);
  // Every version of q and every form of k, rotated by positions that may be fractions.
  const AttentionPlan& plan = plans_[i];
  const auto rotated = [&](Values t, uint32_t heads, const RotaryForm& form, bool is_query) {
    const auto layout = a.rope == Rope::interleaved ? RopeLayout::interleaved : RopeLayout::half_split;
    std::vector<double> at;
    for (uint32_t p : positions) at.push_back(form.map(p) * form.scale + form.phase);
    reference::rope(t, at, plan.inv_freq, plan.magnitude, {heads, c.head_dim, c.n_rot, layout});
    const Temperature& temperature = plan.temperature;
    for (size_t e = 0; is_query && temperature.slope != 0 && e < t.size(); e++) {
      const double p = std::min(positions[e / (size_t{heads} * c.head_dim)], temperature.cap);
      t[e] *= std::max(
          1.0, temperature.base + temperature.slope *
                                      std::log(1 + std::floor((p + temperature.offset) / temperature.width)));
    }
    return t;
  };
  Values queries = q, k2;
  if (!plan.queries.empty()) {
    queries.clear();
    for (uint32_t version = 0; version < plan.shape.n_queries(); version++) {
      const Values one = rotated(q, c.n_heads[i], plan.queries[version], true);
      queries.insert(queries.end(), one.begin(), one.end());
    }
    if (plan.shape.n_key_forms() > 1) k2 = rotated(k, c.n_kv_heads[i], plan.keys[1], false);
    if (!plan.keys.empty()) k = rotated(k, c.n_kv_heads[i], plan.keys[0], false);
  }
  Values y(q.size());
  CacheShape cache;
  cache.n_kv_heads = c.n_kv_heads[i];
  cache.head_dim = c.head_dim;
  reference::Attention all{y, {}, queries, k, v, k2, positions};
  if (probabilities) all.p = probabilities->emplace_back(positions.size() * positions.size() * c.n_heads[i]);
  reference::attention(all, cache, plan.shape);
  return norm(project(y, prefix, a.output, c.dim), prefix, a.post_norm, c.dim);
}

ReferenceModel::Values ReferenceModel::experts(const std::string& prefix, const FeedForward& f,
                                               const Values& x) const {
  const Experts& e = f.experts;
  const uint32_t dim = config_.dim;
  std::vector<uint32_t> ids(x.size() / dim * e.used);
  Values weights(ids.size());
  reference::expert_route(ids, weights, project(x, prefix, e.router, e.count), e.used, e.renormalise,
                          e.scale);
  const auto product = [&](const Values& from, const std::string& name, uint32_t n) {
    Values w;
    for (uint32_t i = 0; i < (e.separate ? e.count : 1); i++) {
      const Values& more = tensor(prefix + name + (e.separate ? fmt::format(".{}", i) : "") + ".weight");
      w.insert(w.end(), more.begin(), more.end());
    }
    Values y(ids.size() * n);
    reference::expert_matmul(y, w, from, {}, ids, e.count, static_cast<uint32_t>(w.size() / e.count / n));
    return y;
  };
  Values hidden = product(x, e.gate, e.dim), shared, gate;
  reference::activation(hidden, f.activation, hidden, product(x, e.up, e.dim));
  if (e.shared_dim) {
    Values beside = project(x, prefix, e.shared_gate, e.shared_dim);
    reference::activation(beside, f.activation, beside, project(x, prefix, e.shared_up, e.shared_dim));
    shared = project(beside, prefix, e.shared_down, dim);
    if (!e.shared_router.name.empty()) gate = project(x, prefix, e.shared_router, 1);
  }
  Values y(x.size());
  reference::expert_sum(y, product(hidden, e.down, dim), weights, shared, gate);
  return y;
}

ReferenceModel::Values ReferenceModel::feed_forward(uint32_t i, const FeedForward& f, const Values& x) const {
  const std::string prefix = fmt::format("blk.{}.", i);
  const uint32_t n = config_.ffn_dim[i];
  if (f.experts.count) return norm(experts(prefix, f, x), prefix, f.post_norm, config_.dim);
  const Values up = project(x, prefix, f.up, n);
  Values hidden(up.size());
  if (f.gate.name.empty()) reference::activation(hidden, f.activation, up, {});
  else reference::activation(hidden, f.activation, project(x, prefix, f.gate, n), up);
  return norm(project(hidden, prefix, f.down, config_.dim), prefix, f.post_norm, config_.dim);
}

ReferenceModel::Values ReferenceModel::run(std::span<const int> ids,
                                           std::vector<Values>* probabilities) const {
  const Config& c = config_;
  const auto n = static_cast<uint32_t>(ids.size());
  std::vector<Row> rows;
  std::vector<uint32_t> positions;
  for (uint32_t i = 0; i < n; i++) {
    rows.push_back({static_cast<uint32_t>(ids[i]), 0, i, 1});
    positions.push_back(i);
  }
  Values x = embed(rows);
  for (uint32_t i = 0; i < c.n_layers; i++) {
    const Layer layer = architecture_.layer(c, static_cast<int>(i));
    const std::string prefix = fmt::format("blk.{}.", i);
    const Values before = x;
    reference::add(
        x, x,
        attend(i, layer.attention, norm(x, prefix, layer.attention.norm, c.dim), positions, probabilities),
        layer.residual_scale);
    const Values& from = layer.parallel ? before : x;
    reference::add(x, x,
                   feed_forward(i, layer.feed_forward, norm(from, prefix, layer.feed_forward.norm, c.dim)),
                   layer.residual_scale);
  }
  return x;
}

std::vector<std::vector<double>> ReferenceModel::probabilities(std::span<const int> ids) const {
  std::vector<Values> list;
  run(ids, &list);
  return list;
}

std::vector<double> ReferenceModel::logits(std::span<const int> ids) const {
  const Config& c = config_;
  const auto n = static_cast<uint32_t>(ids.size());
  const Values h = norm(run(ids, nullptr), "", ends_.output_norm, c.dim);
  const bool tied = !tensors_.count(ends_.output + ".weight");
  Values out(size_t{n} * c.vocab_size);
  reference::matmul(out, tensor((tied ? ends_.token_embedding : ends_.output) + ".weight"), h, {}, n);
  reference::limit(out, out, ends_.logit_scale, ends_.logit_soft_cap > 0 ? Limit::soft_cap : Limit::none,
                   ends_.logit_soft_cap);
  return out;
}

namespace {

// Truncated; 0 where a half is not normal.
uint16_t half(float v) {
  int exponent = 0;
  const float mantissa = std::frexp(v, &exponent);  // [0.5, 1)
  const int sign = v < 0 ? 0x8000 : 0;
  if (v == 0 || exponent <= -14) return static_cast<uint16_t>(sign);
  return static_cast<uint16_t>(sign | ((exponent + 14) << 10) |
                               (static_cast<int>(std::abs(mantissa) * 2048) & 0x3ff));
}

std::vector<std::byte> encode(DType type, std::vector<float> values) {
  if (type == DType::f32) {
    const auto bytes = std::as_bytes(std::span(values));
    return {bytes.begin(), bytes.end()};
  }
  std::vector<std::byte> out;
  for (float v : values)
    if (type == DType::f16) GgufWriter::put(out, half(v));
    else GgufWriter::put(out, static_cast<uint16_t>(std::bit_cast<uint32_t>(v) >> 16));  // bf16
  return out;
}

// Random blocks of a quantised type: mean 0 and such a deviation.
std::vector<std::byte> random_blocks(DType type, uint32_t n, uint32_t k, float deviation, uint32_t seed) {
  std::vector<std::byte> bytes = RandomWeight(type, n, k, seed).bytes;
  const RandomWeight::Scales at = RandomWeight::scales_of(type);
  const auto set = [&](float scale, float minimum) {
    for (size_t block = 0; block < bytes.size(); block += info(type).block_bytes) {
      const uint16_t s = half(scale), m = half(minimum);
      if (type == DType::mxfp4) bytes[block] = static_cast<std::byte>(127 + std::ilogb(scale));
      else std::memcpy(bytes.data() + block + at.first, &s, 2);
      if (at.minimum > 0) std::memcpy(bytes.data() + block + at.minimum, &m, 2);
    }
    const std::vector<double> values = reference::decode(type, bytes);
    double sum = 0, squares = 0;
    for (double v : values) sum += v, squares += v * v;
    const double mean = sum / static_cast<double>(values.size());
    return std::pair(mean, std::sqrt(squares / static_cast<double>(values.size()) - mean * mean));
  };
  const auto [mean, spread] = set(1, 0);
  const auto scale = static_cast<float>(deviation / spread);
  const auto of_minimum = at.minimum > 0 ? set(0, 1).first : 1;
  set(scale, static_cast<float>(-scale * mean / of_minimum));
  return bytes;
}

}  // namespace

std::vector<std::byte> RandomModel::bytes() const {
  GgufWriter w;
  const std::string p = architecture + ".";
  w.set("general.architecture", architecture);
  w.set(p + "block_count", n_layers);
  w.set(p + "embedding_length", dim ? dim : n_heads * head_dim);
  w.set(p + "context_length", context);
  w.set(p + "attention.head_count", n_heads);
  w.set(p + "attention.head_count_kv", n_kv_heads);
  w.set(p + "attention.key_length", head_dim);
  w.set(p + "attention.value_length", head_dim);
  w.set(p + "attention.layer_norm_rms_epsilon", 1e-5f);
  w.set(p + "attention.layer_norm_epsilon", 2e-5f);
  w.set(p + "feed_forward_length", ffn_dim);
  w.set(p + "rope.dimension_count", n_rot ? n_rot : head_dim);
  for (const auto& [key, value] : keys) std::visit([&](auto v) { w.set(p + key, v); }, value);
  // The settings and the tensors that a variant is told by say which tensors there are.
  Config c = read_config(Gguf::parse(w.finish(), "random"));
  c.tensors.insert(tensors.begin(), tensors.end());
  const Architecture family = get_architecture(architecture);

  std::mt19937 engine(seed);
  std::normal_distribution<float> normal;
  std::set<std::string> done;  // several parts may name one tensor
  const auto matrix = [&](const std::string& name, uint32_t n, uint32_t k, float scale = 1,
                          uint32_t count = 1) {
    if (!done.insert(name).second) return;
    std::vector<uint64_t> dims{k, n};
    if (count > 1) dims.push_back(count);
    if (has_scales(type)) {
      const float deviation = scale / std::sqrt(static_cast<float>(k));
      w.add_tensor(name, type, dims, random_blocks(type, count * n, k, deviation, engine()));
      return;
    }
    std::vector<float> values(size_t{count} * n * k);
    for (float& v : values) v = normal(engine) * scale / std::sqrt(static_cast<float>(k));
    w.add_tensor(name, type, dims, encode(type, values));
  };
  const auto vector = [&](const std::string& name, std::vector<uint64_t> dims, float centre) {
    if (!done.insert(name).second) return;
    std::vector<float> values(dims.size() == 2 ? dims[0] * dims[1] : dims[0]);
    for (float& v : values) v = centre + 0.1f * normal(engine);
    w.add_tensor(name, dims, values);
  };
  const auto takes = [&](Bias b) { return b == Bias::required || (b == Bias::optional && bias); };
  const auto norm = [&](const std::string& prefix, const Norm& n, uint32_t row) {
    if (!n) return;
    std::vector<uint64_t> dims{n.over == NormOver::row ? row : head_dim};
    if (n.over == NormOver::each_head) dims.push_back(row / head_dim);
    vector(prefix + n.name + ".weight", dims, 1);
    if (takes(n.bias)) vector(prefix + n.name + ".bias", dims, 0);
  };
  const auto linear = [&](const std::string& prefix, const Linear& l, uint32_t n, uint32_t k) {
    if (l.name.empty()) return;
    matrix(prefix + l.name + ".weight", l.all_rows ? l.all_rows : n, k);
    if (takes(l.bias)) vector(prefix + l.name + ".bias", {l.all_rows ? l.all_rows : n}, 0);
  };
  const Ends ends = family.ends(c);
  const float one = std::sqrt(static_cast<float>(c.dim)) / static_cast<float>(ends.embedding_scale);
  matrix(ends.token_embedding + ".weight", vocab, c.dim, one);
  if (!ends.position_embedding.empty()) matrix(ends.position_embedding + ".weight", context, c.dim, one);
  norm("", ends.embedding_norm, c.dim);
  norm("", ends.output_norm, c.dim);
  if (!tied) matrix(ends.output + ".weight", vocab, c.dim, 2);
  for (uint32_t i = 0; i < n_layers; i++) {
    const Layer l = family.layer(c, static_cast<int>(i));
    const AttentionBlock& a = l.attention;
    const FeedForward& f = l.feed_forward;
    const std::string b = fmt::format("blk.{}.", i);
    const uint32_t q_dim = n_heads * head_dim, kv_dim = n_kv_heads * head_dim;
    if (!a.relative_bias.empty()) vector(a.relative_bias + ".weight", {n_heads, a.n_buckets}, 0);
    norm(b, a.norm, c.dim);
    linear(b, a.q, q_dim, c.dim);
    linear(b, a.k, kv_dim, c.dim);
    linear(b, a.v, kv_dim, c.dim);
    linear(b, a.output, c.dim, q_dim);
    norm(b, a.q_norm, q_dim);
    norm(b, a.k_norm, kv_dim);
    norm(b, a.post_norm, c.dim);
    norm(b, f.norm, c.dim);
    if (const Experts& e = f.experts; e.count) {
      linear(b, e.router, e.count, c.dim);
      for (const auto& [name, n, k] :
           {std::tuple{e.gate, e.dim, c.dim}, {e.up, e.dim, c.dim}, {e.down, c.dim, e.dim}}) {
        if (!e.separate) matrix(b + name + ".weight", n, k, 1, e.count);
        for (uint32_t j = 0; e.separate && j < e.count; j++)
          matrix(fmt::format("{}{}.{}.weight", b, name, j), n, k);
      }
      if (e.shared_dim) {
        linear(b, e.shared_gate, e.shared_dim, c.dim);
        linear(b, e.shared_up, e.shared_dim, c.dim);
        linear(b, e.shared_down, c.dim, e.shared_dim);
        linear(b, e.shared_router, 1, c.dim);
      }
    } else {
      linear(b, f.gate, ffn_dim, c.dim);
      linear(b, f.up, ffn_dim, c.dim);
      linear(b, f.down, c.dim, ffn_dim);
    }
    norm(b, f.post_norm, c.dim);
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
