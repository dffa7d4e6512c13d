// Turns an architecture and its weights into dispatches: the only reader of Architecture.
#ifndef SPINDLE_MODELS_TRANSFORMER_H
#define SPINDLE_MODELS_TRANSFORMER_H
#include <compare>
#include <vector>

#include "models/kv_cache.h"
#include "models/model.h"
#include "runtime/arena.h"
#include "shaders/sample/sample.h"

namespace spindle {

enum class Logits { none, last, all };

// What a step looks like; steps of one shape replay one recording.
struct StepShape {
  Phase phase = Phase::decode;
  uint32_t rows = 1;
  uint32_t depth = 256;   // power of two: every position of the step is smaller
  uint32_t segments = 1;  // of the cache, that positions of the step lie in
  Logits logits = Logits::last;
  bool sample = true;
  auto operator<=>(const StepShape&) const = default;
};

// Device buffers that steps read and change; the host fills them between steps.
struct StepState {
  Tensor rows;           // u32 [max rows, 4], Row: of the step
  SampleState sampling;  // its rows are the step's own for decode, one by slot for prefill
  Tensor targets;        // u32 [1, max logit rows]: which row of sampling.rows a row of logits belongs to
};

class Transformer {
 public:
  // max_rows: of one step; it is lowered until every activation fits into a binding.
  Transformer(Stream& stream, const Model& model, const KvCache& cache, uint32_t max_rows,
              uint32_t max_logit_rows);

  uint32_t max_rows() const { return max_rows_; }
  uint32_t max_logit_rows() const { return max_logit_rows_; }
  // Dispatches one step into the stream. Prefill rows are consecutive positions of one slot.
  void record(const StepShape& shape, const StepState& state);
  // Rows of logits of the last step, in parts that each fit into a binding.
  const std::vector<Tensor>& logits() const { return logits_; }
  uint64_t activation_bytes() const { return arena_.bytes() + scratch_.bytes(); }
  // Whether the attention's scratch memory is large enough; reserve() makes it so, and every recording
  // invalid.
  bool serves(const StepShape& shape) const { return scratch_bytes(shape) <= scratch_.bytes(); }
  void reserve(const StepShape& shape);

 private:
  void layer(uint32_t i, const StepShape& shape, Tensor rows);
  void head(const StepShape& shape, const StepState& state);
  uint64_t scratch_bytes(const StepShape& shape) const;

  Stream& stream_;
  const Model& model_;
  const KvCache& cache_;
  std::vector<Layer> layers_;
  uint32_t max_rows_, max_logit_rows_;
  Arena arena_;
  Buffer rope_buffer_, scratch_;
  Tensor x_, h_, q_, k_, v_, attended_, gate_, up_, last_;  // f32 [max rows, ...]
  Tensor quantized_;  // u32 words, of the rows that products read; none where the device has no use for it
  Tensor rope_table_;
  std::vector<Tensor> logits_;
};

}  // namespace spindle
#endif
