// Turns an architecture and its weights into dispatches.
#ifndef SPINDLE_MODELS_TRANSFORMER_H
#define SPINDLE_MODELS_TRANSFORMER_H
#include <compare>
#include <deque>
#include <map>
#include <span>
#include <vector>

#include "models/attention_plan.h"
#include "models/attention_record.h"
#include "models/kv_cache.h"
#include "models/model.h"
#include "runtime/arena.h"
#include "shaders/matmul/matmul.h"
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
  uint32_t kept = 0, end_kept = 0;  // parts of the attention record that rows of the step lie in; equal: none
  auto operator<=>(const StepShape&) const = default;
};

// Device buffers that steps read and change; the host fills them between steps.
struct StepState {
  Tensor rows;           // u32 [max rows, 4], Row: of the step
  SampleState sampling;  // its rows are the step's own for decode, one by slot for prefill
  Tensor targets;        // u32 [1, max logit rows]: which row of sampling.rows a row of logits belongs to
};

// What the layers' experts need: the most of any layer.
struct ExpertSizes {
  bool any_dense = false, any_shared = false;  // layers without experts, with a shared one
  uint32_t count = 0, used = 0;                // 0: there are none
  uint32_t inner = 0;                          // floats of a row between gate and down
  uint32_t quantized = 0;                      // words of a row of those for integer products
  uint32_t widest = 0;                         // words of a row in any tensor
};
ExpertSizes expert_sizes(const Caps& caps, std::span<const Layer> layers, const Config& c);

// Where the values of a step lie.
struct Activations {
  uint32_t max_rows_ = 0, max_logit_rows_ = 0;
  Tensor x_, h_, y_, attended_, last_;  // f32 [max rows, ...]; y_ in parallel layers
  Tensor qkv_, gate_up_;                // rows of q, then of k, then of v; of gate, then of up
  Tensor quantized_;  // u32 words, of the rows that products read; none where the device has no use for it
  std::vector<Tensor> logits_;
  Tensor router_, chosen_, shares_, of_experts_, of_shared_, shared_gate_,
      sorted_;  // where there are experts

  // Of one step: as many as every activation fits into a binding with. Throws where that is none.
  static uint32_t rows_that_fit(const Caps& caps, const Config& c, std::span<const Layer> layers,
                                uint32_t max_rows);
  void place(Arena& arena, const Caps& caps, const Config& c, std::span<const Layer> layers,
             uint32_t max_rows, uint32_t max_logit_rows);

  Tensor queries_;  // f32 [versions * max rows, ...]: where layers have several
  void place_forms(Arena& arena, const Config& config, AttentionForms forms);
  void place_experts(Arena& arena, const ExpertSizes& sizes, uint32_t dim);
};

class Transformer : private Activations {
 public:
  // plans: one a layer.
  Transformer(Stream& stream, const Model& model, std::vector<AttentionPlan> plans, const KvCache& cache,
              uint32_t max_rows, uint32_t max_logit_rows);
  // Activations and rotary tables of sequences that reach so many positions of which rows see the context,
  // and the attention's scratch memory for steps of that shape.
  static uint64_t activation_bytes_needed(const Caps& caps, const Config& config,
                                          std::span<const Layer> layers, AttentionForms forms,
                                          uint32_t context, uint32_t most_positions, uint32_t max_rows,
                                          uint32_t max_logit_rows);
  static uint64_t scratch_bytes_needed(const Caps& caps, const Config& config, const CacheShape& cache,
                                       const StepShape& shape);

  uint32_t max_rows() const { return max_rows_; }
  uint32_t max_logit_rows() const { return max_logit_rows_; }
  // Dispatches one step into the stream. Prefill rows are consecutive positions of one slot.
  void record(const StepShape& shape, const StepState& state);
  // Rows of logits of the last step, in parts that each fit into a binding.
  const std::vector<Tensor>& logits() const { return logits_; }
  uint64_t activation_bytes() const;  // and rotary tables
  uint64_t scratch_bytes() const { return scratch_.bytes(); }
  // Whether the attention's scratch memory is large enough; reserve() makes it so, and every recording
  // invalid.
  bool serves(const StepShape& shape) const { return scratch_bytes(shape) <= scratch_.bytes(); }
  void reserve(const StepShape& shape);
  // Where steps whose shape says so keep what maps need; recordings made with another one are invalid.
  void keep(const AttentionRecord* record) { record_ = record; }
  // Tables of rotations by the frequencies `from` become such by `to`; recordings stay valid.
  void retune(const std::vector<double>& from, const std::vector<double>& to);

 private:
  // The activation buffer's first rows, as wide as they are this time.
  Tensor view(Tensor t, const StepShape& shape, uint32_t cols) const;
  void embedding(const StepShape& shape, Tensor rows);
  void layer(uint32_t i, const StepShape& shape, Tensor rows);
  // Tensors one after the other in the memory of one.
  std::vector<Tensor> views(Tensor t, uint32_t rows, const std::vector<uint32_t>& cols) const;
  // Who reads the input of a block: products with these weights, which may know cooperative matrices, and
  // perhaps others in f32.
  struct Readers {
    std::vector<const Weight*> weights;
    bool coopmat = true, f32 = false;
  };
  static Readers readers(std::span<const JointProjection> projections);
  Readers feed_forward_readers(uint32_t i) const;
  // The norm of x as they read it, its f32 in y; or x, where there is no norm.
  MatmulInput normed(const StepShape& shape, Tensor y, Tensor x, const Norm& norm, const NormWeights& weights,
                     const Readers& readers);
  MatmulInput packed(const StepShape& shape, Tensor x, const Readers& readers);
  // Adds what the block says to the residual. input: normed rows; y: room for one more tensor, which may be
  // input's; both [rows, dim].
  void attend(uint32_t i, const StepShape& shape, Tensor rows, Tensor y, const MatmulInput& input);
  void feed_forward(uint32_t i, const StepShape& shape, Tensor y, const MatmulInput& input);
  void experts(uint32_t i, const StepShape& shape, Tensor y, const MatmulInput& input);  // y = what they say
  void project(const StepShape& shape, std::span<const Tensor> to,
               std::span<const JointProjection> projections, const MatmulInput& x);
  // The activation of gate and up, as the product with `down` reads it, its f32 in gate.
  MatmulInput activated(const StepShape& shape, Activation f, Tensor gate, Tensor up, const Weight& down,
                        bool coopmat = true);
  // x += scale * (the norm of) the projection of `rows`.
  void add_product(const StepShape& shape, Tensor x, Tensor y, const MatmulInput& rows, const Projection& p,
                   const Norm& post_norm, const NormWeights& weights, float scale);
  void head(const StepShape& shape, const StepState& state);
  // Rows, or in place their n_heads heads; without a norm nothing happens.
  void norm(const MatmulInput& y, Tensor x, const Norm& norm, const NormWeights& weights);
  void norm_heads(Tensor x, const Norm& norm, const NormWeights& weights, uint32_t n_heads);
  // Rotates q, [rows, heads], to y from first_row on, as `form` says.
  void rotate(uint32_t i, Tensor y, Tensor q, Tensor rows, Tensor table, const RotaryForm& form,
              uint32_t first_row);
  void add_attention(const AttentionPlan& plan);
  Tensor rope_table(const AttentionPlan& plan, const RotaryForm& form);
  void add_sinusoids();
  Tensor upload(std::span<const std::byte> bytes, DType type, uint32_t cols, const char* purpose);
  uint64_t scratch_bytes(const StepShape& shape) const;

  Stream& stream_;
  const Model& model_;
  const std::vector<AttentionPlan> plans_;  // by layer
  const KvCache& cache_;
  const AttentionRecord* record_ = nullptr;
  std::vector<Layer> layers_;
  // What a layer's attention reads beside activations: tables of rotations by version of q and form of K, and
  // attention_table().
  struct AttentionTables {
    std::vector<Tensor> queries, keys;
    Tensor table;
  };
  std::vector<AttentionTables> tables_;  // by layer
  struct RopeTable {
    std::vector<double> inv_freq;
    double magnitude, scale, phase;
    uint32_t max_position;
    Tensor table;
    bool follows;  // `dynamic` changes it
    bool operator==(const RopeTable& o) const {
      return inv_freq == o.inv_freq && magnitude == o.magnitude && scale == o.scale && phase == o.phase &&
             max_position == o.max_position && follows == o.follows;
    }
  };
  std::vector<RopeTable> rope_tables_;
  Tensor sinusoids_,
      unit_pairs_;  // a table of rotations, and [max rows, dim] of what it turns: 0, 1, 0, 1 ...
  std::map<std::vector<uint32_t>, Tensor> attention_tables_;
  std::deque<Buffer> table_buffers_;  // tensors point at them
  Arena attention_arena_;
  Arena arena_;
  Buffer scratch_;
};

}  // namespace spindle
#endif
