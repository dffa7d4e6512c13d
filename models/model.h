// A loaded model: its file's settings, its tokenizer, its weights on one device, and its position plan.
#ifndef SPINDLE_MODELS_MODEL_H
#define SPINDLE_MODELS_MODEL_H
#include <map>
#include <string>

#include "models/architecture.h"
#include "models/attention_plan.h"
#include "models/chat_template.h"
#include "models/positions_choice.h"
#include "models/tokenizer.h"
#include "models/weights.h"

namespace spindle {

// The settings of a file whose architecture is known, with the size of its vocabulary.
Config load_config(const Gguf& file);
// What the file says about positions; of an architecture that does not run, what its keys say.
FileRope read_file_rope(const Gguf& file, const Config& config);
std::vector<Layer> layers_of(const Architecture& architecture, const Config& config);

class Model {
 public:
  // Everything is checked before memory is taken. Throws ErrorKind::model_file, out_of_memory.
  Model(Device& device, const std::string& path, const Weights::Progress& progress = {});
  Model(Device& device, Gguf file, const Weights::Progress& progress = {});

  Device& device() const { return device_; }
  const Config& config() const { return config_; }
  const Architecture& architecture() const { return architecture_; }
  bool has_tokenizer() const { return tokenizer_ != nullptr; }
  // Throws when the file has no usable tokenizer; token ids work without one.
  const Tokenizer& tokenizer() const;
  // Ids that end a text; empty without a tokenizer.
  std::vector<int> end_ids() const { return tokenizer_ ? tokenizer_->end_ids() : std::vector<int>{}; }
  const Weights& weights() const { return *weights_; }
  // The rotary plan of a session with so long a context; what `person` says goes before what the file says.
  // Throws ErrorKind::usage for what makes no sense.
  RopePlan plan_rope(uint32_t context, const RopeRequest& person = {}) const;
  // How each layer attends in a session with that plan. Throws ErrorKind::usage where they exclude each
  // other.
  std::vector<AttentionPlan> plan_attention(const RopePlan& rope, const AttentionPattern& pattern = {}) const;
  const Ends& ends() const { return ends_; }
  // Positions that the model has embeddings for; where they are not learned, any number.
  uint32_t max_positions() const;
  // The file's chat templates by name; "" is the one without a name.
  const std::map<std::string, std::string>& chat_templates() const { return chat_templates_; }
  const std::vector<std::string>& warnings() const { return warnings_; }

 private:
  Device& device_;
  Config config_;
  Architecture architecture_;
  Ends ends_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::string tokenizer_error_;
  std::unique_ptr<Weights> weights_;
  FileRope rope_;
  HostTensors host_tensors_;
  std::map<std::string, std::string> chat_templates_;
  std::vector<std::string> warnings_;
};

}  // namespace spindle
#endif
