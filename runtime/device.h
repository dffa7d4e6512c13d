// One chosen device: its caps, its memory, its compiled kernels. Passed as Device&, never global.
#ifndef SPINDLE_RUNTIME_DEVICE_H
#define SPINDLE_RUNTIME_DEVICE_H
#include <atomic>
#include <map>
#include <memory>
#include <mutex>

#include "runtime/instance.h"
#include "runtime/kernel.h"

namespace spindle {

struct DeviceHandles;
class Buffer;

class Device {
 public:
  explicit Device(const DeviceOptions& options = DeviceOptions::from_environment());
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  const DeviceInfo& info() const { return info_; }
  const Caps& caps() const { return info_.caps; }
  const DeviceOptions& options() const { return instance_.options(); }
  Instance& instance() { return instance_; }
  DeviceHandles& handles() { return *handles_; }

  // Compiled on first use and kept. Safe from several threads.
  const Kernel& kernel(const KernelSpec& spec);
  // Compiles those that are not there yet, as many at a time as there are processors.
  void compile(std::vector<KernelSpec> specs);
  size_t n_kernels() const;

  // Bytes the device could still allocate: its budget, else the system's free memory.
  uint64_t free_bytes() const;
  std::vector<Heap> heaps() const;  // as they are now
  // Bytes and number of live allocations made through Buffer.
  uint64_t allocated_bytes() const { return allocated_bytes_; }

  // The most one submit may cost (see Work::cost); a watchdog never sees more than about 100 ms.
  double cost_bound() const;
  // Measured by a run of known cost; the bound becomes what takes about 100 ms.
  void calibrate(double cost, double seconds);

  // Whether pictures are drawn on the same queue: then llvmpipe takes timestamps late, see Stream.
  std::atomic<bool> draws = false;

  // Bound in place of a tensor that a dispatch leaves out.
  const Buffer& placeholder();

 private:
  friend class Buffer;
  Instance instance_;
  DeviceInfo info_;
  std::unique_ptr<DeviceHandles> handles_;
  mutable std::mutex mutex_;
  std::map<KernelSpec, std::unique_ptr<Kernel>> kernels_;
  std::unique_ptr<Buffer> placeholder_;
  std::atomic<uint64_t> allocated_bytes_ = 0;
  double cost_rate_ = 0;  // units a second
};

}  // namespace spindle
#endif
