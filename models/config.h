// The hyper-parameters of a model as its file gives them, checked: sizes that contradict each other never get
// further.
#ifndef SPINDLE_MODELS_CONFIG_H
#define SPINDLE_MODELS_CONFIG_H
#include <cstdint>
#include <string>
#include <vector>

#include "models/gguf.h"

namespace spindle {

struct RopeScaling {
  std::string type = "none";  // as the file spells it
  double factor = 1;
};

struct Config {
  std::string architecture;  // general.architecture
  std::string name;          // general.name, or the file's
  uint32_t n_layers = 0;
  uint32_t dim = 0;
  uint32_t vocab_size = 0;
  uint32_t context_length = 0;                         // positions the model was trained for
  std::vector<uint32_t> n_heads, n_kv_heads, ffn_dim;  // by layer
  uint32_t head_dim = 0;
  uint32_t n_rot = 0;  // rotated elements of a head
  double norm_eps = 0;
  double rope_base = 10000;
  RopeScaling rope_scaling;

  uint32_t max_heads() const;
  uint32_t max_kv_heads() const;
  uint32_t max_ffn_dim() const;
};

// Throws ErrorKind::model_file naming the key, the value found and what is allowed.
Config read_config(const Gguf& file);

}  // namespace spindle
#endif
