// Sequences of one model: prompts in, tokens out. One thread drives a session; several sequences share each
// step.
#ifndef SPINDLE_MODELS_SESSION_H
#define SPINDLE_MODELS_SESSION_H
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "models/attention_record.h"
#include "models/transformer.h"

namespace spindle {

enum class ContextShift { none, sinks, window };

struct SessionOptions {
  uint32_t context = 0;  // positions of a sequence; 0: what the model was trained for, if it fits
  uint32_t n_slots = 1;  // sequences at a time, up to 32
  uint32_t prefill_chunk = 512;
  uint32_t logit_rows = 1;    // rows of logits of one step that PrefillOptions::on_logits may ask for
  uint32_t page_tokens = 64;  // 16 to 256, a power of two
  DType k_type = DType::f16, v_type = DType::f16;
  uint32_t steps_in_flight = 4;  // decode steps submitted before the first one's token is read
  AttentionPattern pattern;      // instead of every key, for study
  // Past the context the sequence goes on: the oldest positions are given up, but for the first ones of
  // `sinks`.
  ContextShift context_shift = ContextShift::none;
  uint32_t n_sinks = 4;
  RopeRequest rope;            // how positions are extended, instead of what the file says
  bool share_prefixes = true;  // whole pages of a prompt that another sequence has computed already
  bool profile = false;        // time every dispatch, one step at a time: see Session::timings
};

// Defaults are llama.cpp's.
struct Sampling {
  float temperature = 0.8f;  // 0: the most probable token
  uint32_t top_k = 40;       // 0: all
  float top_p = 0.95f, min_p = 0.05f;
  float repeat_penalty = 1.0f;
  uint32_t repeat_last_n = 64;
  uint64_t seed = 0;
  uint32_t sequence = 0;  // another draw of the same seed
  bool ignore_end = false;
};

struct PrefillOptions {
  bool sample = true;                                         // the token after the last one, for generate()
  std::function<void(uint32_t done, uint32_t all)> progress;  // after each chunk
  // Called for every token of the prompt, in order, with the logits [vocabulary] after it.
  std::function<void(uint32_t position, std::span<const float> logits)> on_logits;
};

struct SessionStatistics {
  uint64_t prefill_tokens = 0, shared_tokens = 0, decode_tokens = 0;
  double prefill_seconds = 0, decode_seconds = 0;
};

// Bytes on the device, by what they are for.
struct MemoryNeed {
  uint64_t weights = 0;
  uint64_t cache = 0;        // with every sequence full
  uint64_t activations = 0;  // of the largest step, logits and rotary table included
  uint64_t scratch = 0;      // of the attention at full depth
  uint64_t state = 0;        // rows, settings and last tokens of the sequences
  uint64_t total() const;    // UINT64_MAX when that is not a number
};

class Session {
 public:
  // What a session allocates in its life, weights left out. The context must be given.
  static MemoryNeed memory_needed(const Caps& caps, const Config& config, std::span<const Layer> layers,
                                  const SessionOptions& options);
  // The longest context, in whole pages, for which memory_needed and `weights` stay within free_bytes; 0:
  // none.
  static uint32_t largest_context(const Caps& caps, const Config& config, std::span<const Layer> layers,
                                  const SessionOptions& options, uint64_t weights, uint64_t free_bytes);

  // Throws ErrorKind::usage for options that contradict each other or the model.
  Session(const Model& model, const SessionOptions& options);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  const Model& model() const { return model_; }
  uint32_t context() const { return cache_.context(); }
  uint32_t n_slots() const { return options_.n_slots; }
  uint32_t prefill_chunk() const { return transformer_.max_rows(); }
  const RopePlan& rope() const { return rope_; }
  const AttentionPattern& pattern() const { return options_.pattern; }
  const KvCache& cache() const { return cache_; }
  Stream& stream() { return stream_; }
  const SessionStatistics& statistics() const { return statistics_; }
  // Of all steps since the last call, by kernel and work; SessionOptions::profile.
  std::vector<Timing> take_timings() { return std::exchange(timings_, {}); }
  uint64_t activation_bytes() const { return transformer_.activation_bytes(); }
  uint64_t scratch_bytes() const { return transformer_.scratch_bytes(); }
  size_t logits_parts() const { return transformer_.logits().size(); }
  size_t n_recordings() const { return recordings_.size(); }
  void profile(bool on);  // from the next step on, whatever SessionOptions::profile says

  // From the next step on, what attention maps need of these layers is kept for one sequence, which shares no
  // prefix then; no layers: nothing is kept. Throws ErrorKind::usage for layers that are not there, and where
  // the cache is a ring.
  void pin(int slot, const AttentionPins& pins);
  const AttentionRecord* record() const { return record_.get(); }     // null: nothing is kept
  const std::vector<AttentionPlan>& plans() const { return plans_; }  // by layer

  // A new empty sequence. Throws when all slots are taken.
  int open(const Sampling& sampling = {});
  void close(int slot);
  void set_sampling(int slot, const Sampling& sampling);
  uint32_t n_tokens(int slot) const { return static_cast<uint32_t>(get(slot).tokens.size()); }

  std::span<const int> tokens(int slot) const { return get(slot).tokens; }  // in the cache
  // Forgets what comes after the first n tokens, and the token that was to come next. Returns how many are
  // kept: fewer than n, whole pages, where another sequence shares the page that holds the last of them, and
  // at most the first pages of a ring that has come round to what the token after them would see.
  uint32_t truncate(int slot, uint32_t n);

  // Appends tokens. Throws ErrorKind::usage with both numbers when they do not fit: nothing is ever cut.
  // After an error the sequence is what it was before.
  void prefill(int slot, std::span<const int> ids, const PrefillOptions& options = {});
  // Appends one known token through the decode kernels and returns the logits after it.
  std::vector<float> decode(int slot, int id);
  // The logits [vocabulary] that the last prefill sampled from.
  std::vector<float> last_logits() { return read_logits(1); }

  // Continues each slot until it ends, its context is full, it has max_tokens new tokens, or on_token says
  // false. End tokens are passed on too. Tokens of one slot come in order.
  using OnToken = std::function<bool(int slot, int id)>;
  void generate(std::span<const int> slots, uint32_t max_tokens, const OnToken& on_token);

 private:
  struct Slot {
    bool used = false;
    std::vector<int> tokens;   // in the cache
    uint32_t n_prefilled = 0;  // leading positions that the prefill kernels computed
    uint32_t written = 0;      // positions that steps have written since it was empty: what a ring has met
    bool stale = false;        // the cache does not hold `tokens` as they would be computed now
    std::optional<int> next;   // sampled, not in the cache
    bool emitted = false;      // next was handed out
    bool ignore_end = false;
  };
  struct Active {
    int slot;
    uint32_t left;  // tokens it may still get
    bool stopped = false;
  };
  const Slot& get(int slot) const;
  bool ends(int slot, int id) const;
  void check_ids(std::span<const int> ids) const;
  void check_room(int slot, size_t n) const;
  uint32_t share_prefix(int slot, std::span<const int> ids);
  void prefill_all(int slot, std::span<const int> ids, const PrefillOptions& options);
  void write_row(Tensor rows, uint32_t index, Row row);
  void write_ring(int slot, uint32_t position, int id);
  void check_status(int slot);
  void clear_status(int slot);
  void roll_back(int slot);
  bool ring_holds(const Slot& s, uint32_t n) const;
  void bring_up_to_date(int slot, uint32_t n_positions);
  uint64_t run(const StepShape& shape);  // records if the shape is new, and submits
  void add_timings(const std::vector<Timing>& more);
  StepShape shape_for(Phase phase, uint32_t rows, uint32_t n_positions) const;
  // The shape with the parts of the record that hold positions [begin, end) of a slot, if it is the one kept.
  StepShape keeping(StepShape shape, int slot, uint32_t begin, uint32_t end);
  void decode_round(std::vector<Active>& active, const OnToken& on_token);
  void calibrate();
  std::vector<float> read_logits(uint32_t rows);  // [rows, vocabulary] of the last step

  const Model& model_;
  SessionOptions options_;
  RopePlan rope_;
  std::vector<AttentionPlan> plans_;  // by layer
  double rope_length_;                // of the sequence that the frequencies are made for
  Stream stream_;
  KvCache cache_;
  Transformer transformer_;
  std::unique_ptr<AttentionRecord> record_;
  uint32_t n_pins_ = 0;  // how often pin() was called
  Arena state_;
  uint32_t ring_;  // tokens that the device remembers of each sequence
  StepState prefill_, decode_;
  std::vector<Slot> slots_;
  std::map<StepShape, Recording> recordings_;
  SessionStatistics statistics_;
  std::vector<Timing> timings_;
};

}  // namespace spindle
#endif
