// Whether a model and its sessions fit into a device's memory, told before anything is loaded.
#ifndef SPINDLE_MODELS_MEMORY_PLAN_H
#define SPINDLE_MODELS_MEMORY_PLAN_H
#include <string>

#include "models/session.h"

namespace spindle {

class MemoryPlan {
 public:
  // Throws ErrorKind::model_file where loading would: settings and every tensor are checked.
  MemoryPlan(const Caps& caps, const Gguf& file);

  const Config& config() const { return config_; }
  // A context of 0 is what the model was trained for. The sums are those of the code that allocates.
  MemoryNeed need(const SessionOptions& options) const;
  // The longest context for these options, in whole pages, or as many positions as are learned; 0 when not
  // even one page fits.
  uint32_t largest_context(const SessionOptions& options, uint64_t free_bytes) const;
  // Throws ErrorKind::out_of_memory with what is needed, what is free and what would fit. A context of 0
  // adapts itself to the memory. free_bytes of 0: unknown.
  void require_fits(const SessionOptions& options, uint64_t free_bytes, const std::string& where) const;

 private:
  Caps caps_;
  std::string file_;
  Config config_;
  std::vector<Layer> layers_;
  uint64_t weight_bytes_;
  uint32_t max_context_ = UINT32_MAX;
};

std::string human_bytes(uint64_t bytes);        // "9.1 GiB"
std::string human_context(uint32_t positions);  // "48k" for 49152 and what is a little more, "500"

}  // namespace spindle
#endif
