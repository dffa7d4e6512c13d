// Places many tensors in few buffers, none larger than the device allows: first all are added, then
// allocated.
#ifndef SPINDLE_RUNTIME_ARENA_H
#define SPINDLE_RUNTIME_ARENA_H
#include <deque>
#include <vector>

#include "runtime/buffer.h"
#include "runtime/caps.h"

namespace spindle {

// Bump allocation in buffers of bounded size: what does not fit in the current one opens the next.
class Placement {
 public:
  struct Place {
    size_t buffer = 0;
    uint64_t offset_bytes = 0;
  };
  explicit Placement(const Caps& caps);
  Place add(uint64_t bytes);
  const std::vector<uint64_t>& buffer_bytes() const { return bytes_; }

 private:
  uint64_t most_;
  std::vector<uint64_t> bytes_;
};

class Arena {
 public:
  Arena() = default;
  Arena(Device& device, Memory memory, const char* purpose);
  explicit Arena(const Caps& caps);  // for planned_bytes() alone

  // `to` becomes a tensor of that shape when allocate() runs; it must stay where it is until then.
  void add(Tensor& to, DType type, uint32_t rows, uint32_t cols);
  void allocate();
  uint64_t bytes() const;
  uint64_t planned_bytes() const;  // what allocate() would take

 private:
  struct Item {
    Tensor* to;
    Tensor shape;
    Placement::Place place;
  };
  Device* device_ = nullptr;
  Memory memory_ = Memory::device;
  const char* purpose_ = "";
  std::vector<Placement> placement_;  // one; empty once allocated
  std::vector<Item> items_;
  std::deque<Buffer> buffers_;  // tensors point at them
};

}  // namespace spindle
#endif
