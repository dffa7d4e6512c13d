// The Vulkan instance and the list of devices it sees.
#ifndef SPINDLE_RUNTIME_INSTANCE_H
#define SPINDLE_RUNTIME_INSTANCE_H
#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "runtime/caps.h"

namespace spindle {

enum class DeviceType { discrete, integrated, virtual_gpu, cpu, other };
const char* name_of(DeviceType type);

struct Heap {
  uint64_t size_bytes = 0;
  uint64_t free_bytes = 0;  // from the budget extension, else of the system; 0 when unknown
  bool device_local = false;
};

struct DeviceInfo {
  int index = 0;
  std::string name, driver, driver_version, api_version;
  uint32_t api = 0;  // VK_MAKE_API_VERSION
  uint32_t vendor_id = 0, device_id = 0;
  uint8_t driver_uuid[16] = {}, pipeline_cache_uuid[16] = {};
  DeviceType type = DeviceType::other;
  Caps caps;
  std::vector<Heap> heaps;
  std::string unusable;  // why it cannot be chosen; empty when it can
};

struct InstanceHandles;  // Vulkan's own, for runtime/ and the viewer

class Instance {
 public:
  explicit Instance(const DeviceOptions& options = {});
  ~Instance();
  Instance(const Instance&) = delete;
  Instance& operator=(const Instance&) = delete;

  // Every physical device, usable or not, with options applied to its caps.
  const std::vector<DeviceInfo>& devices() const { return devices_; }
  // The device named by options.device, else the best: discrete, integrated, virtual, CPU.
  // Throws ErrorKind::no_device.
  const DeviceInfo& choose() const;
  // Errors and warnings of the validation layer so far; each was printed to standard error, unless quiet.
  uint64_t n_validation_messages() const { return n_messages_; }
  void quiet_validation(bool quiet) { quiet_ = quiet; }
  const DeviceOptions& options() const { return options_; }
  InstanceHandles& handles() const { return *handles_; }

 private:
  void create();
  friend struct ValidationMessages;

  DeviceOptions options_;
  std::atomic<uint64_t> n_messages_ = 0;
  std::atomic<bool> quiet_ = false;
  std::unique_ptr<InstanceHandles> handles_;
  std::vector<DeviceInfo> devices_;
};

// Messages of all instances of the process that were not quiet.
uint64_t n_loud_validation_messages();

// Memory the system could still give (MemAvailable, bounded by the cgroup), in bytes; 0 when unknown.
uint64_t system_free_bytes();

}  // namespace spindle
#endif
