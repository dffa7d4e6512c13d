// Reads `{architecture}.*` and holds the values against each other.
#include "models/config.h"

#include <algorithm>
#include <cmath>

#include "models/positions_file.h"
#include "models/utf8.h"
#include "runtime/error.h"
#include "shaders/experts/expert_route.h"

namespace spindle {
namespace {

// Reads the keys of one architecture with a range for each.
class Reader {
 public:
  Reader(const Gguf& file, std::string prefix) : file_(file), prefix_(std::move(prefix)) {}

  uint32_t integer(const std::string& key, uint32_t least, uint32_t most) const {
    return checked(key, file_.get<uint64_t>(prefix_ + key), least, most);
  }
  uint32_t integer_or(const std::string& key, uint32_t otherwise, uint32_t least, uint32_t most) const {
    return file_.has(prefix_ + key) ? integer(key, least, most) : otherwise;
  }
  std::optional<double> find_positive(const std::string& key) const {
    const std::optional<double> found = file_.find<double>(prefix_ + key);
    if (found && !(fits_f32(*found) && static_cast<float>(*found) > 0))
      file_.fail_value(prefix_ + key, fmt::format("found {}, expected a positive number", *found));
    return found;
  }
  double positive_or(const std::string& key, double otherwise) const {
    return find_positive(key).value_or(otherwise);
  }
  // 0: the mechanism is off.
  std::optional<double> find_limit(const std::string& key) const {
    const std::optional<double> found = file_.find<double>(prefix_ + key);
    if (found && !(fits_f32(*found) && (*found == 0 || static_cast<float>(*found) > 0)))
      file_.fail_value(prefix_ + key, fmt::format("found {}, expected 0 or a positive number", *found));
    return found;
  }
  std::optional<bool> find_flag(const std::string& key) const { return file_.find<bool>(prefix_ + key); }
  // A flag for each layer.
  std::vector<bool> flags_by_layer(const std::string& key, uint32_t n_layers) const {
    const auto flags = file_.get<std::vector<bool>>(prefix_ + key);
    if (flags.size() != n_layers)
      file_.fail_value(prefix_ + key, fmt::format("found {} values for {} layers", flags.size(), n_layers));
    return flags;
  }
  bool is_array(const std::string& key) const {
    const GgufEntry* entry = file_.find_entry(prefix_ + key);
    return entry && entry->value.index() >= kFirstArray;
  }
  // A number for all layers, or an array with one for each.
  std::vector<uint32_t> by_layer(const std::string& key, uint32_t n_layers, uint32_t least,
                                 uint32_t most) const {
    if (!is_array(key)) return std::vector<uint32_t>(n_layers, integer(key, least, most));
    const auto values = file_.get<std::vector<uint64_t>>(prefix_ + key);
    if (values.size() != n_layers)
      file_.fail_value(prefix_ + key, fmt::format("found {} values for {} layers", values.size(), n_layers));
    std::vector<uint32_t> out;
    for (uint64_t v : values) out.push_back(checked(key, v, least, most));
    return out;
  }
  bool has(const std::string& key) const { return file_.has(prefix_ + key); }
  std::optional<PositionMethod> find_position_method(const std::string& key) const {
    const std::optional<std::string> found = file_.find<std::string>(prefix_ + key);
    if (!found) return {};
    if (found == "none") return PositionMethod::none;
    if (found == "alibi") return PositionMethod::alibi;
    if (found == "t5bias") return PositionMethod::t5bias;
    if (found == "sinusoidal") return PositionMethod::sinusoidal;
    fail(key, fmt::format("found '{}', expected one of {}", printable(*found), kPositionMethods));
  }
  [[noreturn]] void fail(const std::string& key, const std::string& what) const {
    file_.fail_value(prefix_ + key, what);
  }

 private:
  static bool fits_f32(double value) { return std::isfinite(static_cast<float>(value)); }
  static constexpr size_t kFirstArray = 12;  // of the alternatives of GgufValue
  uint32_t checked(const std::string& key, uint64_t value, uint32_t least, uint32_t most) const {
    if (value < least || value > most)
      file_.fail_value(prefix_ + key, fmt::format("found {}, expected {} to {}", value, least, most));
    return static_cast<uint32_t>(value);
  }
  const Gguf& file_;
  std::string prefix_;
};

// Routing by softmax, without groups.
void read_experts(Config& c, const Reader& read) {
  c.n_experts = read.integer_or("expert_count", 0, 0, EXPERTS_MOST);
  if (c.n_experts == 0) return;
  c.n_experts_used = read.integer("expert_used_count", 1, std::min<uint32_t>(c.n_experts, EXPERTS_USED_MOST));
  c.expert_dim = read.integer_or("expert_feed_forward_length", 0, 0, 1 << 22);
  if (c.expert_dim == 0) c.expert_dim = c.ffn_dim[0];
  c.shared_expert_dim = read.integer_or("expert_shared_feed_forward_length", 0, 0, 1 << 22);
  c.expert_weights_norm = read.find_flag("expert_weights_norm");
  c.expert_weights_scale = read.find_limit("expert_weights_scale");
  if (c.expert_weights_scale == 0) c.expert_weights_scale.reset();  // as some write it who mean none
  read.integer_or("expert_gating_func", 0, 0, 1);                   // 1: softmax, 0: not said
  read.integer_or("expert_group_count", 0, 0, 1);
}

// What only some families have.
void read_mechanisms(Config& c, const Gguf& file, const Reader& read) {
  c.embedding_scale = read.find_positive("embedding_scale");
  c.residual_scale = read.find_positive("residual_scale");
  c.logit_scale = read.find_positive("logit_scale");
  c.attention_scale = read.find_positive("attention.scale");
  c.temperature_scale = read.find_positive("attention.temperature_scale");
  c.clamp_qkv = read.find_limit("attention.clamp_kqv");
  c.max_alibi_bias = read.find_limit("attention.max_alibi_bias");
  c.attention_soft_cap = read.find_limit("attn_logit_softcapping");
  c.logit_soft_cap = read.find_limit("final_logit_softcapping");
  c.parallel_residual = read.find_flag("use_parallel_residual");
  c.rope_finetuned = read.find_flag("rope.scaling.finetuned");
  c.window_rope_base = read.find_positive("rope.freq_base_swa");
  c.position_method = read.find_position_method("position_method");
  if (c.position_method == PositionMethod::sinusoidal && c.dim % 2 != 0)
    read.fail("embedding_length", fmt::format("found {}, expected an even number for sinusoids", c.dim));
  c.relative_buckets = read.integer_or("attention.relative_buckets_count", 32, 2, 1024);
  // The logarithm of T5's buckets begins at half of them.
  c.relative_max_distance =
      read.integer_or("attention.relative_max_distance", 128, c.relative_buckets / 2 + 1, 1 << 16);
  if (read.has("attention.sliding_window"))
    c.window = read.integer("attention.sliding_window", 0, 0xffffffff);
  const std::string pattern = "attention.sliding_window_pattern";
  if (read.is_array(pattern)) {
    c.windowed = read.flags_by_layer(pattern, c.n_layers);
  } else if (read.has(pattern)) {
    const uint32_t period = read.integer(pattern, 1, 4096);
    for (uint32_t i = 0; i < c.n_layers; i++) c.windowed.push_back(i % period < period - 1);
  }
  for (const GgufTensor& t : file.tensors()) {
    const std::string_view name = t.name;
    if (name.starts_with("blk.0.")) c.tensors.emplace(name.substr(6));
    else if (!name.starts_with("blk.")) c.tensors.emplace(name);
  }
}

uint32_t largest(const std::vector<uint32_t>& v) {
  return v.empty() ? 0 : *std::max_element(v.begin(), v.end());
}

}  // namespace

uint32_t Config::max_heads() const { return largest(n_heads); }
uint32_t Config::max_kv_heads() const { return largest(n_kv_heads); }
uint32_t Config::max_ffn_dim() const { return largest(ffn_dim); }

uint32_t Config::window_of(int layer, uint32_t period, uint32_t default_window) const {
  const auto i = static_cast<uint32_t>(layer);
  return (windowed.empty() ? i % period < period - 1 : windowed[i]) ? window.value_or(default_window) : 0;
}

Config read_config(const Gguf& file) {
  Config c;
  c.architecture = file.get<std::string>("general.architecture");
  c.name = file.get_or<std::string>("general.name", c.architecture);
  const std::string prefix = c.architecture + ".";
  const Reader read(file, prefix);
  c.n_layers = read.integer("block_count", 1, 4096);
  c.dim = read.integer("embedding_length", 1, 1 << 20);
  c.context_length = read.integer("context_length", 1, 1u << 30);
  c.n_heads = read.by_layer("attention.head_count", c.n_layers, 1, 4096);
  c.n_kv_heads = read.has("attention.head_count_kv")
                     ? read.by_layer("attention.head_count_kv", c.n_layers, 1, 4096)
                     : c.n_heads;
  c.ffn_dim = read.by_layer("feed_forward_length", c.n_layers, 1, 1 << 22);
  c.rms_eps = read.positive_or("attention.layer_norm_rms_epsilon", 1e-5);
  c.layer_eps = read.positive_or("attention.layer_norm_epsilon", 1e-5);
  for (uint32_t i = 0; i < c.n_layers; i++)
    if (c.n_heads[i] % c.n_kv_heads[i] != 0)
      read.fail("attention.head_count_kv",
                fmt::format("{} heads cannot be shared evenly among {}", c.n_heads[i], c.n_kv_heads[i]));
  if (!read.has("attention.key_length") && c.dim % c.n_heads[0] != 0)
    read.fail("attention.head_count",
              fmt::format("{} does not divide the embedding length {}", c.n_heads[0], c.dim));
  c.head_dim = read.integer_or("attention.key_length", c.dim / c.n_heads[0], 1, 1024);
  if (c.head_dim % 8 != 0 || c.head_dim > 256)
    file.fail_value(
        prefix + (read.has("attention.key_length") ? "attention.key_length" : "attention.head_count"),
        fmt::format("head size {}, supported are multiples of 8 up to 256", c.head_dim));
  if (read.integer_or("attention.value_length", c.head_dim, 1, 1024) != c.head_dim)
    read.fail("attention.value_length",
              fmt::format("differs from the key length {}, which is not supported", c.head_dim));
  c.n_rot = read.integer_or("rope.dimension_count", c.head_dim, 2, c.head_dim);
  if (c.n_rot % 2 != 0)
    read.fail("rope.dimension_count", fmt::format("found {}, expected an even number", c.n_rot));
  c.rope_base = read.positive_or("rope.freq_base", 10000);
  c.rope = read_rope_request(file, prefix);
  read_experts(c, read);
  read_mechanisms(c, file, read);
  return c;
}

}  // namespace spindle
