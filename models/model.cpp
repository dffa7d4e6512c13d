// Loading: header, settings, tokenizer, then the weights.
#include "models/model.h"

#include <cmath>

#include "models/chat_template.h"
#include "models/utf8.h"
#include "runtime/error.h"
#include "shaders/weight/weight.h"

namespace spindle {
namespace {

// A tensor of f32 or f16 that the host needs.
std::vector<float> read_values(const Gguf& file, const std::string& name, uint64_t elements) {
  const GgufTensor& t = file.get_tensor(name);
  const auto type = find_dtype_by_gguf(t.type);
  require(type && info(*type).block_elements == 1 && t.elements() == elements, ErrorKind::model_file,
          "{}: tensor '{}' at byte {}: expected {} values of f32 or f16, got {}", file.file_of(t), name,
          t.info_offset, elements, t.elements());
  std::vector<std::byte> bytes(t.bytes);
  file.read_tensor(t, bytes);
  std::vector<float> values;
  for (double v : reference::decode(*type, bytes)) {
    require(std::isfinite(v), ErrorKind::model_file, "{}: tensor '{}': found {}, expected numbers",
            file.file_of(t), name, v);
    values.push_back(static_cast<float>(v));
  }
  return values;
}

HostTensors read_host_tensors(const Gguf& file, const Config& c, const std::vector<Layer>& layers) {
  HostTensors tensors;
  for (uint32_t i = 0; i < layers.size(); i++) {
    const AttentionBlock& a = layers[i].attention;
    if (!a.sinks.empty()) {
      const std::string name = fmt::format("blk.{}.{}.weight", i, a.sinks);
      tensors[name] = read_values(file, name, c.n_heads[i]);
    }
    if (!a.relative_bias.empty()) {
      const std::string name = a.relative_bias + ".weight";
      tensors[name] = read_values(file, name, uint64_t{a.n_buckets} * c.n_heads[i]);
    }
  }
  return tensors;
}

// What there is instead of rotations; empty where there are some.
std::string unrotated_positions(const Architecture& architecture, const Config& c) {
  for (uint32_t i = 0; i < c.n_layers; i++) {
    const AttentionBlock a = architecture.layer(c, static_cast<int>(i)).attention;
    if (a.rope != Rope::none) return "";
    if (a.max_alibi_bias > 0) return fmt::format("ALiBi, largest exponent {:g}", a.max_alibi_bias);
    if (!a.relative_bias.empty()) return fmt::format("T5's bias in {} buckets", a.n_buckets);
  }
  const Ends ends = architecture.ends(c);
  if (ends.sinusoidal) return "sinusoids added to the embedding";
  return ends.position_embedding.empty() ? "no positions but the order of the text"
                                         : fmt::format("{} learned positions", c.context_length);
}

}  // namespace

FileRope read_file_rope(const Gguf& file, const Config& c) {
  FileRope rope{{c.head_dim, c.n_rot, c.rope_base, c.context_length},
                c.rope,
                read_rope_divisors(file, c.n_rot),
                c.architecture,
                {},
                {}};
  if (const Architecture* known = find_architecture(c.architecture))
    rope.unrotated = unrotated_positions(*known, c);
  return rope;
}

uint32_t Model::max_positions() const {
  return ends_.position_embedding.empty() ? UINT32_MAX : config_.context_length;
}

std::vector<Layer> layers_of(const Architecture& architecture, const Config& config) {
  std::vector<Layer> layers;
  for (uint32_t i = 0; i < config.n_layers; i++)
    layers.push_back(architecture.layer(config, static_cast<int>(i)));
  return layers;
}

Config load_config(const Gguf& file) {
  const char* key = "general.architecture";
  const std::string name = file.get_or<std::string>(key, "");
  const Architecture& architecture = [&]() -> const Architecture& {
    try {
      return get_architecture(name);
    } catch (const Error& e) {
      if (file.has(key)) file.fail_value(key, e.what());
      fail(ErrorKind::model_file, "{}: key '{}' is missing: {}", file.file(), key, e.what());
    }
  }();
  const char* type = "general.type";  // "adapter", "mmproj", "imatrix", ... have no model to run
  if (const std::string found = file.get_or<std::string>(type, "model"); found != "model")
    file.fail_value(type, fmt::format("found '{}', allowed 'model'", printable(found)));
  Config config = read_config(file);
  const GgufTensor& embedding = file.get_tensor(architecture.ends(config).token_embedding + ".weight");
  require(embedding.dims[1] >= 1 && embedding.dims[1] <= 1u << 24, ErrorKind::model_file,
          "{}: tensor '{}': {} tokens, expected 1 to {}", file.file(), embedding.name, embedding.dims[1],
          1u << 24);
  config.vocab_size = static_cast<uint32_t>(embedding.dims[1]);
  return config;
}

Model::Model(Device& device, const std::string& path, const Weights::Progress& progress)
    : Model(device, Gguf::open(path), progress) {}

Model::Model(Device& device, Gguf file, const Weights::Progress& progress)
    : device_(device),
      config_(load_config(file)),
      architecture_(get_architecture(config_.architecture)),
      ends_(architecture_.ends(config_)) {
  if (file.has("tokenizer.ggml.model")) {
    try {
      tokenizer_ = std::make_unique<Tokenizer>(file);
      warnings_ = tokenizer_->warnings();
    } catch (const Error& e) {
      tokenizer_error_ = e.what();
    }
  } else {
    tokenizer_error_ = file.file() + ": the file has no tokenizer";
  }
  chat_templates_ = read_chat_templates(file);
  require(!tokenizer_ || static_cast<uint32_t>(tokenizer_->n_tokens()) <= config_.vocab_size,
          ErrorKind::model_file, "{}: the tokenizer has {} tokens, the embedding {}", file.file(),
          tokenizer_ ? tokenizer_->n_tokens() : 0, config_.vocab_size);
  rope_ = read_file_rope(file, config_);
  host_tensors_ = read_host_tensors(file, config_, layers_of(architecture_, config_));
  Stream stream(device);
  weights_ = std::make_unique<Weights>(stream, file, config_, architecture_, progress);
  for (const std::string& name : weights_->unused()) warnings_.push_back("tensor '" + name + "' is not used");
}

RopePlan Model::plan_rope(uint32_t context, const RopeRequest& person) const {
  return choose_rope(rope_, context, person);
}

std::vector<AttentionPlan> Model::plan_attention(const RopePlan& rope,
                                                 const AttentionPattern& pattern) const {
  return spindle::plan_attention(layers_of(architecture_, config_), config_, rope, pattern, host_tensors_);
}

const Tokenizer& Model::tokenizer() const {
  require(tokenizer_ != nullptr, ErrorKind::model_file, "{}", tokenizer_error_);
  return *tokenizer_;
}

}  // namespace spindle
