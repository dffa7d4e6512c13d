// The hyper-parameters of a model as its file gives them, checked: sizes that contradict each other never get
// further.
#ifndef SPINDLE_MODELS_CONFIG_H
#define SPINDLE_MODELS_CONFIG_H
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "models/gguf.h"
#include "models/positions.h"

namespace spindle {

// What a file of architecture `spindle` tells positions by.
enum class PositionMethod { none, alibi, t5bias, sinusoidal };
inline constexpr const char* kPositionMethods = "none, alibi, t5bias, sinusoidal";

struct Config {
  std::string architecture;  // general.architecture
  std::string name;          // general.name, or the file's
  uint32_t n_layers = 0;
  uint32_t dim = 0;
  uint32_t vocab_size = 0;
  uint32_t context_length = 0;                         // positions the model was trained for
  std::vector<uint32_t> n_heads, n_kv_heads, ffn_dim;  // by layer
  uint32_t head_dim = 0;
  uint32_t n_rot = 0;                 // rotated elements of a head
  double rms_eps = 0, layer_eps = 0;  // of RMS norms and layer norms
  double rope_base = 10000;
  RopeRequest rope;  // what the file says of its scaling

  // Experts; 0: there are none, or the file does not say.
  uint32_t n_experts = 0, n_experts_used = 0, expert_dim = 0, shared_expert_dim = 0;
  std::optional<bool> expert_weights_norm;
  std::optional<double> expert_weights_scale;

  // What only some families have; nothing where the file says nothing. Scales are positive.
  std::optional<double> embedding_scale, residual_scale, logit_scale, attention_scale, window_rope_base,
      temperature_scale;
  std::optional<double> clamp_qkv, max_alibi_bias, attention_soft_cap, logit_soft_cap;  // 0: none
  std::optional<bool> parallel_residual, rope_finetuned;
  std::optional<PositionMethod> position_method;
  uint32_t relative_buckets = 32, relative_max_distance = 128;  // of T5's bias
  std::optional<uint32_t>
      window;                  // positions that a query of a windowed layer sees; 0: no layer has a window
  std::vector<bool> windowed;  // by layer, where the file says so
  // Names of the file's tensors, those of layers as layer 0 has them, without "blk.0.": some families tell
  // their variants by what there is.
  std::set<std::string, std::less<>> tensors;

  bool has_tensor(std::string_view tensor) const { return tensors.find(tensor) != tensors.end(); }
  // The window of a layer, or 0. Where the file has no pattern, the last layer of each period is a full one.
  uint32_t window_of(int layer, uint32_t period, uint32_t default_window = 0) const;
  uint32_t max_heads() const;
  uint32_t max_kv_heads() const;
  uint32_t max_ffn_dim() const;
};

// Throws ErrorKind::model_file naming the key, the value found and what is allowed.
Config read_config(const Gguf& file);

}  // namespace spindle
#endif
