// A recorded step: command buffers, each within the cost bound, that can be submitted any number of times.
#ifndef SPINDLE_RUNTIME_RECORDING_H
#define SPINDLE_RUNTIME_RECORDING_H
#include <compare>
#include <cstdint>
#include <string>
#include <vector>

#include "runtime/vulkan.h"

namespace spindle {

class Device;

// What a dispatch needs at the least, whatever the kernel does to get there.
struct Work {
  double operations = 0;  // multiplications and additions, two a multiply-add
  double bytes = 0;       // read and written, each once
  // Units that the bound of a submit is counted in; a byte moved weighs as much as 16 operations.
  double cost() const { return operations + 16 * bytes; }
  Work& operator+=(const Work& w) { return operations += w.operations, bytes += w.bytes, *this; }
  auto operator<=>(const Work&) const = default;
};

struct Timing {
  std::string name;
  uint64_t ns = 0;
  uint32_t dispatches = 0;
  Work work;
};

class Recording {
 public:
  Recording() = default;
  ~Recording() { release(); }
  Recording(Recording&& other) noexcept { *this = std::move(other); }
  Recording& operator=(Recording&& other) noexcept;

  explicit operator bool() const { return !parts_.empty(); }
  size_t n_submits() const { return parts_.size(); }
  uint32_t n_dispatches() const { return n_dispatches_; }
  uint32_t n_barriers() const { return n_barriers_; }
  double largest_cost() const { return largest_cost_; }  // of one submit
  Work work() const;

  // Time of each dispatch of the last run, summed by kernel, or by kernel and work; empty unless recorded
  // with profiling.
  std::vector<Timing> timings(bool by_work = false) const;

 private:
  friend class Stream;
  struct Stamp {
    const char* name;
    Work work;
  };
  void release();

  Device* device_ = nullptr;
  VkCommandPool pool_ = VK_NULL_HANDLE;
  std::vector<VkCommandBuffer> parts_;
  std::vector<VkDescriptorPool> descriptor_pools_;
  std::vector<VkQueryPool> query_pools_;  // two timestamps a dispatch
  std::vector<Stamp> stamps_;             // one a dispatch
  bool profiled_ = false;
  uint32_t n_dispatches_ = 0, n_barriers_ = 0;
  double largest_cost_ = 0;
};

}  // namespace spindle
#endif
