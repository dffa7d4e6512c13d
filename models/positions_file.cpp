// Reads rotary settings, each value checked where it stands.
#include "models/positions_file.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "runtime/dtype.h"
#include "runtime/error.h"

namespace spindle {
namespace {

using nlohmann::json;

std::vector<double> read_divisors(const Gguf& file, const std::string& name, uint32_t n_rot) {
  const GgufTensor* t = file.find_tensor(name);
  if (!t) return {};
  const auto type = find_dtype_by_gguf(t->type);
  require(type == DType::f32 && t->elements() == n_rot / 2, ErrorKind::model_file,
          "{}: tensor '{}': expected {} F32 values, got {}", file.file(), name, n_rot / 2, t->elements());
  std::vector<float> values(t->elements());
  file.read_tensor(*t, std::as_writable_bytes(std::span(values)));
  for (float d : values)
    require(std::isfinite(d) && d > 0, ErrorKind::model_file,
            "{}: tensor '{}': found {}, expected positive numbers", file.file(), name, d);
  return {values.begin(), values.end()};
}

// A number of a config.json; null counts as absent.
std::optional<double> number(const json& object, const char* key) {
  const auto at = object.find(key);
  if (at == object.end() || at->is_null()) return std::nullopt;
  require(at->is_number(), ErrorKind::usage, "config.json: '{}' is {}, a number was expected", key,
          at->dump());
  return at->get<double>();
}

uint32_t integer(const json& object, const char* key, uint32_t otherwise) {
  const double v = number(object, key).value_or(otherwise);
  require(v >= 1 && v <= 1 << 30 && v == std::floor(v), ErrorKind::usage,
          "config.json: '{}' is {:g}, a whole number from 1 to {} was expected", key, v, 1 << 30);
  return static_cast<uint32_t>(v);
}

}  // namespace

RopeRequest read_rope_request(const Gguf& file, const std::string& prefix) {
  RopeRequest r;
  const std::string scaling = prefix + "rope.scaling.";
  const auto positive = [&](const std::string& key) -> std::optional<double> {
    const std::optional<double> found = file.find<double>(key);
    if (found && !(std::isfinite(*found) && *found >= 0))
      file.fail_value(key, fmt::format("found {}, expected a positive number", *found));
    return found && *found != 0 ? found : std::nullopt;  // 0 means not said
  };
  r.base = positive(prefix + "rope.freq_base");
  r.factor = positive(scaling + "factor");
  if (!r.factor) r.factor = positive(prefix + "rope.scale_linear");
  if (r.factor && *r.factor < 1)
    file.fail_value(scaling + "factor", fmt::format("found {}, expected 1 or more", *r.factor));
  if (const auto type = file.find<std::string>(scaling + "type"); type && !type->empty()) {
    r.method = find_rope_method(*type);
    if (!r.method)
      file.fail_value(scaling + "type",
                      fmt::format("'{}' is not known; known are: {}", *type, rope_method_names()));
    if (!takes_factor(*r.method)) r.factor.reset();
  } else if (r.factor.value_or(1) != 1) {
    r.method = RopeMethod::linear;
  }
  if (const auto n = file.find<uint64_t>(scaling + "original_context_length"); n && *n > 0)
    r.original_context = static_cast<double>(*n);
  r.attention_scale = positive(scaling + "attn_factor");
  if (const auto n = positive(scaling + "yarn_attn_factor"))
    r.attention_scale = *n * r.attention_scale.value_or(1);
  if (r.method == RopeMethod::yarn) {
    if (file.has(scaling + "yarn_ext_factor")) r.extension = file.get<double>(scaling + "yarn_ext_factor");
    // Of latent attention 0.1 mscale_all_dim, with the same mscale, and the scores grow; else mscale_all_dim.
    if (const auto m = positive(scaling + "yarn_log_multiplier")) {
      const bool latent = file.has(prefix + "attention.kv_lora_rank");
      r.mscale_all_dim = latent ? *m * 10 : *m;
      r.mscale = latent ? *r.mscale_all_dim : 1;
      if (latent) r.logit_mscale = r.mscale_all_dim;
    }
    r.beta_fast = positive(scaling + "yarn_beta_fast");
    r.beta_slow = positive(scaling + "yarn_beta_slow");
  }
  return r;
}

const std::vector<double>& RopeDivisors::choose(uint32_t context, double original_context) const {
  if (long_texts.empty() && short_texts.empty()) return always;
  const bool is_long = context > original_context;
  return (is_long && !long_texts.empty()) || short_texts.empty() ? long_texts : short_texts;
}

RopeDivisors read_rope_divisors(const Gguf& file, uint32_t n_rot) {
  return {read_divisors(file, "rope_freqs.weight", n_rot),
          read_divisors(file, "rope_factors_short.weight", n_rot),
          read_divisors(file, "rope_factors_long.weight", n_rot)};
}

FileRope read_hugging_face_rope(const json& config) {
  require(config.is_object(), ErrorKind::usage, "config.json: an object was expected");
  FileRope out;
  RopeRequest& r = out.request;
  out.model.context_length = integer(config, "max_position_embeddings", 2048);
  const uint32_t heads = integer(config, "num_attention_heads", 1);
  out.model.head_dim = integer(config, "head_dim", std::max(1u, integer(config, "hidden_size", 128) / heads));
  const bool latent = number(config, "qk_rope_head_dim").has_value();
  const uint32_t rotated = latent ? integer(config, "qk_rope_head_dim", 0) : 0;
  if (latent) out.model.head_dim = rotated + integer(config, "qk_nope_head_dim", 128);
  json scaling = json::object();
  for (const char* key : {"rope_scaling", "rope_parameters"})
    if (const auto at = config.find(key); at != config.end() && at->is_object()) scaling = *at;
  std::string kinds;  // of layers, each with parameters of its own
  for (const auto& [kind, value] : scaling.items())
    if (value.is_object()) kinds += (kinds.empty() ? "" : ", ") + kind;
  if (!kinds.empty()) {
    const auto full = scaling.find("full_attention");
    require(full != scaling.end() && full->is_object(), ErrorKind::usage,
            "config.json: rope_parameters of {}: those of full_attention were expected", kinds);
    out.note = fmt::format("full_attention of the kinds of layers {}", kinds);
    scaling = json(*full);
  }
  const double partial =
      number(scaling, "partial_rotary_factor").value_or(number(config, "partial_rotary_factor").value_or(1));
  out.model.n_rot = static_cast<uint32_t>(out.model.head_dim * std::clamp(partial, 0.0, 1.0)) / 2 * 2;
  if (latent) out.model.n_rot = rotated;
  out.model.base = number(scaling, "rope_theta").value_or(number(config, "rope_theta").value_or(10000));

  std::string type = "none";
  for (const char* key : {"type", "rope_type"})
    if (const auto at = scaling.find(key); at != scaling.end() && at->is_string())
      type = at->get<std::string>();
  if (type == "default") type = "none";
  if (type == "su") type = "longrope";  // Phi-3's first name for it
  r.method = find_rope_method(type);
  require(r.method.has_value(), ErrorKind::usage,
          "config.json: rope_scaling type '{}' is not known; known are: {}", type, rope_method_names());
  if (*r.method == RopeMethod::none) return out;
  r.factor = number(scaling, "factor");
  r.original_context = number(scaling, "original_max_position_embeddings");
  if (!r.original_context) r.original_context = number(config, "original_max_position_embeddings");
  r.attention_factor = number(scaling, "attention_factor");
  if (*r.method == RopeMethod::yarn) {
    r.beta_fast = number(scaling, "beta_fast");
    r.beta_slow = number(scaling, "beta_slow");
    r.mscale = number(scaling, "mscale");
    r.mscale_all_dim = number(scaling, "mscale_all_dim");
    if (latent && r.mscale_all_dim.value_or(0) != 0) r.logit_mscale = r.mscale_all_dim;
    if (!r.mscale || !r.mscale_all_dim) r.mscale = r.mscale_all_dim = std::nullopt;
    if (const auto at = scaling.find("truncate"); at != scaling.end() && at->is_boolean())
      r.truncate = at->get<bool>();
  }
  if (*r.method == RopeMethod::llama3) {
    r.llama3_low = number(scaling, "low_freq_factor");
    r.llama3_high = number(scaling, "high_freq_factor");
    if (!r.original_context) r.original_context = 8192;
  }
  if (*r.method == RopeMethod::longrope) {
    const double original = r.original_context.value_or(out.model.context_length);
    if (!r.factor) r.factor = std::max(1.0, out.model.context_length / original);
    const auto factors = [&](const char* key) {
      const auto at = scaling.find(key);
      require(at != scaling.end() && at->is_array() && at->size() == out.model.n_rot / 2, ErrorKind::usage,
              "config.json: '{}' with {} numbers was expected", key, out.model.n_rot / 2);
      std::vector<double> values;
      for (const json& v : *at) {
        require(v.is_number() && v.get<double>() > 0, ErrorKind::usage, "config.json: '{}' holds {}", key,
                v.dump());
        values.push_back(v.get<double>());
      }
      return values;
    };
    out.divisors.short_texts = factors("short_factor");
    out.divisors.long_texts = factors("long_factor");
  }
  return out;
}

}  // namespace spindle
