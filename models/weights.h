// A model's weights on the device, by layer, as its architecture names them.
#ifndef SPINDLE_MODELS_WEIGHTS_H
#define SPINDLE_MODELS_WEIGHTS_H
#include <functional>
#include <string>
#include <vector>

#include "models/architecture.h"
#include "models/gguf.h"
#include "shaders/experts/expert_matmul.h"

namespace spindle {

struct Projection {
  Weight weight;
  Tensor bias;  // f32 [1, n], or none
};

// A projection whose outputs are those of several that read the same rows, one after the other.
// The outputs of several tensors that may be those of one product: enough rows of them fit into a binding.
uint32_t most_joint_outputs(const Caps& caps);

struct JointProjection : Projection {
  uint32_t n_parts = 0;
};

struct NormWeights {
  Tensor weight,
      bias;  // f32 [1, n], or [heads, head_dim] where heads have weights of their own; bias or none
};

struct ExpertWeights {
  Projection router, shared_down, shared_router;
  std::vector<JointProjection> shared_gate_up;
  ExpertWeight gate, up, down;
};

// What the layer does not have is empty.
struct LayerWeights {
  NormWeights attention_norm, q_norm, k_norm, attention_post_norm;
  std::vector<JointProjection> qkv;  // together all of q, k and v: one product where their types allow it
  Projection output;
  NormWeights feed_forward_norm, feed_forward_post_norm;
  std::vector<JointProjection> gate_up;  // or up alone
  Projection down;
  ExpertWeights experts;
};

class Weights {
 public:
  using Progress = std::function<void(uint64_t done_bytes, uint64_t all_bytes)>;

  // Checks every tensor's presence, type and shape before anything is allocated, then reads and repacks them.
  // Throws ErrorKind::model_file, or ErrorKind::out_of_memory with what is needed and what is free.
  Weights(Stream& stream, const Gguf& file, const Config& config, const Architecture& architecture,
          const Progress& progress);
  // What that would allocate; throws ErrorKind::model_file as it would.
  static uint64_t bytes_needed(const Caps& caps, const Gguf& file, const Config& config,
                               const Architecture& architecture);

  const Weight& embedding() const { return embedding_; }
  const Weight& output() const { return output_; }  // the embedding itself where the model ties them
  const Weight& position_embedding() const { return position_embedding_; }  // by position, or none
  const NormWeights& embedding_norm() const { return embedding_norm_; }
  const NormWeights& output_norm() const { return output_norm_; }
  const LayerWeights& layer(uint32_t i) const { return layers_[i]; }
  uint64_t bytes() const { return store_.bytes(); }
  // Tensors of the file that the architecture has no use for.
  const std::vector<std::string>& unused() const { return unused_; }

 private:
  class Plan;
  Weights() = default;
  // Names every tensor that is needed; true where the output is the embedding.
  bool plan(Plan& plan, const Config& config, const Architecture& architecture);
  static void plan_experts(Plan& plan, const std::string& prefix, const Experts& experts, uint32_t dim,
                           ExpertWeights& to);

  WeightStore store_;
  Weight embedding_, position_embedding_, output_;
  NormWeights embedding_norm_, output_norm_;
  std::vector<LayerWeights> layers_;
  std::vector<std::string> unused_;
};

}  // namespace spindle
#endif
