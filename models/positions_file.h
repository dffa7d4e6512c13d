// What a model file says about rotary positions: GGUF keys and tensors, or Hugging Face's config.json.
#ifndef SPINDLE_MODELS_POSITIONS_FILE_H
#define SPINDLE_MODELS_POSITIONS_FILE_H
#include <nlohmann/json_fwd.hpp>

#include "models/gguf.h"
#include "models/positions.h"

namespace spindle {

// `{prefix}rope.scaling.*` and the older `{prefix}rope.scale_linear`; prefix: "llama.". Throws
// ErrorKind::model_file naming the key.
RopeRequest read_rope_request(const Gguf& file, const std::string& prefix);

// Divisors of the frequencies, one a pair; empty where the file has no such tensor.
struct RopeDivisors {
  std::vector<double> always;                   // rope_freqs.weight
  std::vector<double> short_texts, long_texts;  // rope_factors_short.weight, rope_factors_long.weight
  // LongRoPE: which of the two is decided once, by the context a session was opened with.
  const std::vector<double>& choose(uint32_t context, double original_context) const;
};
RopeDivisors read_rope_divisors(const Gguf& file, uint32_t n_rot);

// All of it.
struct FileRope {
  RopeModel model;
  RopeRequest request;
  RopeDivisors divisors;
  std::string architecture;
  std::string unrotated;  // what tells positions instead of rotations; empty: rotations do
  std::string note;       // which part of the model this is, where parts differ
};

// `rope_scaling` or `rope_parameters` of a config.json (either spelling of the type), with rope_theta and
// max_position_embeddings; of parameters by kind of layer those of `full_attention`. Throws ErrorKind::usage
// naming the field.
FileRope read_hugging_face_rope(const nlohmann::json& config);

}  // namespace spindle
#endif
