// A whole model in double precision, put together from the references of the operations: slow and plain.
#ifndef SPINDLE_TESTS_REFERENCE_MODEL_H
#define SPINDLE_TESTS_REFERENCE_MODEL_H
#include <map>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "models/architecture.h"
#include "models/attention_plan.h"
#include "models/gguf.h"
#include "models/positions_file.h"
#include "runtime/dtype.h"
#include "shaders/common/rows.h"

namespace spindle::test {

class ReferenceModel {
 public:
  // As a session with so long a context and these wishes would compute it; 0: the trained context.
  explicit ReferenceModel(const Gguf& file, uint32_t context = 0, const RopeRequest& person = {},
                          const AttentionPattern& pattern = {});

  // Logits [ids, vocabulary] after every token of a text.
  std::vector<double> logits(std::span<const int> ids) const;
  // Attention's probabilities [ids, n_heads, ids], layer by layer.
  std::vector<std::vector<double>> probabilities(std::span<const int> ids) const;
  uint32_t vocab_size() const { return config_.vocab_size; }

 private:
  using Values = std::vector<double>;
  const Values& tensor(const std::string& name) const { return tensors_.at(name); }
  std::span<const double> find(const std::string& name) const;  // empty: there is none
  Values project(const Values& x, const std::string& prefix, const Linear& linear, uint32_t n) const;
  // Of rows of `dim` elements, or of heads; no norm: x.
  Values norm(const Values& x, const std::string& prefix, const Norm& norm, uint32_t dim) const;
  Values embed(std::span<const Row> rows) const;
  // The hidden rows after the last layer; probabilities, if wanted, by layer.
  Values run(std::span<const int> ids, std::vector<Values>* probabilities) const;
  Values attend(uint32_t i, const AttentionBlock& a, const Values& x, std::span<const uint32_t> positions,
                std::vector<Values>* probabilities) const;
  Values experts(const std::string& prefix, const FeedForward& f, const Values& x) const;
  Values feed_forward(uint32_t i, const FeedForward& f, const Values& x) const;

  Config config_;
  Architecture architecture_;
  Ends ends_;
  RopePlan rope_;
  std::vector<AttentionPlan> plans_;
  std::map<std::string, Values> tensors_;
};

// A small model of any family with random weights, as the bytes of a GGUF file.
struct RandomModel {
  std::string architecture = "llama";
  uint32_t n_layers = 2, n_heads = 4, n_kv_heads = 2, head_dim = 64, ffn_dim = 96, vocab = 97, context = 4096;
  DType type = DType::f32;          // of the matrices
  bool tied = false, bias = false;  // bias: those that are optional
  uint32_t seed = 1;
  uint32_t dim = 0;    // 0: n_heads * head_dim
  uint32_t n_rot = 0;  // 0: head_dim
  std::vector<std::pair<std::string, std::variant<float, bool, uint32_t, std::string>>>
      keys;                          // after "ARCHITECTURE."
  std::vector<std::string> tensors;  // by which the family tells its variants, see Config::tensors
  std::vector<std::byte> bytes() const;
};

// Ids of a random text, from a fixed seed.
std::vector<int> random_ids(size_t n, uint32_t vocab, uint32_t seed);
// Natural logarithms of softmax over one row.
std::vector<double> log_softmax(std::span<const double> logits);
std::vector<double> log_softmax(std::span<const float> logits);

}  // namespace spindle::test
#endif
