// Memory of what maps need, part by part, and which rows of it are there.
#include "models/attention_record.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <numeric>

#include "runtime/device.h"
#include "runtime/error.h"

namespace spindle {
namespace {

constexpr uint64_t kPartBytes = 32 << 20;  // of one layer's q, about

}  // namespace

AttentionPins pin_all(uint32_t n_layers) {
  AttentionPins pins;
  pins.layers.resize(n_layers);
  std::iota(pins.layers.begin(), pins.layers.end(), 0u);
  return pins;
}

AttentionRecord::AttentionRecord(Device& device, const std::vector<AttentionPlan>& plans, uint32_t head_dim,
                                 uint32_t max_rows, uint32_t limit, int slot, const AttentionPins& pins)
    : device_(device), layers_(pins.layers), head_dim_(head_dim), limit_(limit), slot_(slot) {
  std::ranges::sort(layers_);
  layers_.erase(std::unique(layers_.begin(), layers_.end()), layers_.end());
  assert(!layers_.empty());
  uint64_t most = 0;  // bytes of q of a position
  uint32_t most_heads = 0;
  for (uint32_t layer : layers_) {
    require(layer < plans.size(), ErrorKind::usage, "layer {}: the model has layers 0 to {}", layer,
            plans.size() - 1);
    n_heads_.push_back(plans[layer].shape.n_heads);
    versions_.push_back(plans[layer].shape.n_queries());
    most = std::max(most, uint64_t{4} * versions_.back() * n_heads_.back() * head_dim_);
    most_heads = std::max(most_heads, n_heads_.back());
  }
  const uint64_t most_bytes =
      std::min({kPartBytes, device.caps().max_binding_bytes, device.caps().max_allocation_bytes});
  require(most <= most_bytes, ErrorKind::usage,
          "the queries of one position, {} bytes, do not fit into {} bytes", most, most_bytes);
  part_positions_ = std::bit_floor(static_cast<uint32_t>(std::min<uint64_t>(most_bytes / most, 1u << 20)));
  part_positions_ = std::min(part_positions_, std::bit_ceil(limit));
  step_lse_ = Buffer(device, uint64_t{4} * max_rows * most_heads, Memory::device, "log-sum-exp of a step");
  budget_ = pins.budget_bytes     ? pins.budget_bytes
            : device.free_bytes() ? device.free_bytes() / 4
                                  : UINT64_MAX;
}

uint64_t AttentionRecord::bytes_per_position(const std::vector<AttentionPlan>& plans, uint32_t head_dim,
                                             const std::vector<uint32_t>& layers) {
  uint64_t bytes = 0;
  for (uint32_t layer : layers) {
    const AttentionShape& s = plans.at(layer).shape;
    bytes += uint64_t{4} * s.n_heads * (uint64_t{s.n_queries()} * head_dim + 1);
  }
  return bytes;
}

size_t AttentionRecord::find(uint32_t layer) const {
  return static_cast<size_t>(std::ranges::find(layers_, layer) - layers_.begin());
}

uint64_t AttentionRecord::part_bytes() const {
  uint64_t bytes = 0;
  for (size_t i = 0; i < layers_.size(); i++)
    bytes += uint64_t{4} * part_positions_ * n_heads_[i] * (uint64_t{versions_[i]} * head_dim_ + 1);
  return bytes;
}

uint64_t AttentionRecord::bytes() const { return parts_.size() * part_bytes() + step_lse_.bytes(); }

bool AttentionRecord::reserve(uint32_t end) {
  assert(end <= limit_);
  while (parts_.size() * uint64_t{part_positions_} < end) {
    if ((parts_.size() + 1) * part_bytes() > budget_) return false;
    Part part;
    try {
      for (size_t i = 0; i < layers_.size(); i++) {
        const uint64_t floats = uint64_t{4} * part_positions_ * n_heads_[i];
        part.q.emplace_back(device_, floats * versions_[i] * head_dim_, Memory::device, "queries for maps");
        part.lse.emplace_back(device_, floats, Memory::device, "log-sum-exp for maps");
      }
    } catch (const Error& e) {  // generating goes on without
      if (e.kind() != ErrorKind::out_of_memory) throw;
      budget_ = parts_.size() * part_bytes();
      return false;
    }
    parts_.push_back(std::move(part));
  }
  return true;
}

void AttentionRecord::add(uint32_t begin, uint32_t end) {
  if (begin > end_ || begin < first_ || first_ == end_) first_ = begin;
  end_ = end;
}

void AttentionRecord::truncate(uint32_t n) {
  end_ = std::min(end_, n);
  first_ = std::min(first_, end_);
}

Tensor AttentionRecord::q(uint32_t layer, uint32_t part) const {
  const size_t i = find(layer);
  return Tensor(parts_[part].q[i], DType::f32, versions_[i] * part_positions_, n_heads_[i] * head_dim_);
}

Tensor AttentionRecord::lse(uint32_t layer, uint32_t part) const {
  const size_t i = find(layer);
  return Tensor(parts_[part].lse[i], DType::f32, part_positions_, n_heads_[i]);
}

Tensor AttentionRecord::step_lse(uint32_t layer, uint32_t rows) const {
  return Tensor(step_lse_, DType::f32, rows, n_heads_[find(layer)]);
}

}  // namespace spindle
