// Placement and allocation.
#include "runtime/arena.h"

#include <algorithm>

#include "runtime/device.h"

namespace spindle {

Placement::Placement(const Caps& caps) {
  constexpr uint64_t usual = 256 << 20;  // small enough to find memory for, large enough to need few
  most_ = std::min(usual, caps.max_allocation_bytes / kTensorAlignment * kTensorAlignment);
}

Placement::Place Placement::add(uint64_t bytes) {
  bytes = align_tensor(bytes);
  if (bytes_.empty() || (bytes_.back() > 0 && bytes_.back() + bytes > most_)) bytes_.push_back(0);
  bytes_.back() += bytes;
  return {bytes_.size() - 1, bytes_.back() - bytes};
}

Arena::Arena(Device& device, Memory memory, const char* purpose)
    : device_(&device), memory_(memory), purpose_(purpose), placement_{Placement(device.caps())} {}

Arena::Arena(const Caps& caps) : placement_{Placement(caps)} {}

void Arena::add(Tensor& to, DType type, uint32_t rows, uint32_t cols) {
  Tensor shape;
  shape.dtype = type;
  shape.rows = rows;
  shape.cols = cols;
  items_.push_back({&to, shape, placement_.front().add(shape.bytes())});
}

void Arena::allocate() {
  for (uint64_t bytes : placement_.front().buffer_bytes())
    buffers_.emplace_back(*device_, bytes, memory_, purpose_);
  for (const Item& item : items_)
    *item.to = Tensor(buffers_[item.place.buffer], item.shape.dtype, item.shape.rows, item.shape.cols,
                      item.place.offset_bytes);
  items_.clear();
  placement_.clear();
}

uint64_t Arena::planned_bytes() const {
  uint64_t sum = 0;
  for (uint64_t bytes : placement_.front().buffer_bytes()) sum += bytes;
  return sum;
}

uint64_t Arena::bytes() const {
  uint64_t sum = 0;
  for (const Buffer& buffer : buffers_) sum += buffer.bytes();
  return sum;
}

}  // namespace spindle
