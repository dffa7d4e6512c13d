// What attention maps need of the steps of one sequence: Q, rotated, and the log-sum-exp of each row, of the
// layers that were pinned. K is in the cache already.
#ifndef SPINDLE_MODELS_ATTENTION_RECORD_H
#define SPINDLE_MODELS_ATTENTION_RECORD_H
#include <deque>
#include <vector>

#include "models/attention_plan.h"
#include "runtime/buffer.h"

namespace spindle {

struct AttentionPins {
  std::vector<uint32_t> layers;  // none: nothing is kept, and steps are as if there were no pins
  uint64_t budget_bytes = 0;  // of what is kept; 0: a quarter of what the device has free. Rows past it are
                              // not kept.
};
AttentionPins pin_all(uint32_t n_layers);

// Rows lie by position in parts of equal numbers of positions; a part is allocated when a step first reaches
// it.
class AttentionRecord {
 public:
  // Throws ErrorKind::usage for a layer that the model has not. limit: positions that the sequence may have.
  AttentionRecord(Device& device, const std::vector<AttentionPlan>& plans, uint32_t head_dim,
                  uint32_t max_rows, uint32_t limit, int slot, const AttentionPins& pins);

  int slot() const { return slot_; }
  const std::vector<uint32_t>& layers() const { return layers_; }  // ascending
  bool has(uint32_t layer) const { return find(layer) < layers_.size(); }
  uint32_t part_positions() const { return part_positions_; }
  uint64_t bytes() const;
  static uint64_t bytes_per_position(const std::vector<AttentionPlan>& plans, uint32_t head_dim,
                                     const std::vector<uint32_t>& layers);

  // Rows that are there: [first, end).
  uint32_t first() const { return first_; }
  uint32_t end() const { return end_; }
  // Before a step of positions below `end`: takes the memory they need. False: the budget is spent.
  bool reserve(uint32_t end);
  void add(uint32_t begin, uint32_t end);  // after it
  void truncate(uint32_t n);

  uint32_t n_parts() const { return static_cast<uint32_t>(parts_.size()); }
  // f32 [versions * part_positions, n_heads * head_dim], version after version; f32 [part_positions,
  // n_heads].
  Tensor q(uint32_t layer, uint32_t part) const;
  Tensor lse(uint32_t layer, uint32_t part) const;
  // Where attention leaves the log-sum-exp of a step: f32 [rows, n_heads].
  Tensor step_lse(uint32_t layer, uint32_t rows) const;

 private:
  struct Part {
    std::vector<Buffer> q, lse;  // by index in layers_
  };
  size_t find(uint32_t layer) const;
  uint64_t part_bytes() const;

  Device& device_;
  std::vector<uint32_t> layers_, n_heads_, versions_;
  uint32_t head_dim_, limit_, part_positions_ = 0, first_ = 0, end_ = 0;
  int slot_;
  uint64_t budget_;
  std::deque<Part> parts_;
  Buffer step_lse_;
};

}  // namespace spindle
#endif
