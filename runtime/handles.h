// Vulkan handles behind Instance and Device, for runtime/ and the viewer.
#ifndef SPINDLE_RUNTIME_HANDLES_H
#define SPINDLE_RUNTIME_HANDLES_H
#include <mutex>
#include <vector>

#include "runtime/instance.h"
#include "runtime/vulkan.h"

namespace spindle {

struct InstanceHandles {
  VkInstance instance = VK_NULL_HANDLE;
  VkDebugUtilsMessengerEXT messenger = VK_NULL_HANDLE;
  std::vector<VkPhysicalDevice> physical;  // by DeviceInfo::index
};

struct DeviceHandles {
  VkPhysicalDevice physical = VK_NULL_HANDLE;
  VkDevice device = VK_NULL_HANDLE;
  uint32_t queue_family = 0;
  VkQueue queue = VK_NULL_HANDLE;
  std::mutex queue_mutex;  // one queue, shared by model and viewer
  VkPhysicalDeviceMemoryProperties memory = {};
  VkPipelineCache pipeline_cache = VK_NULL_HANDLE;
};

// As they are now.
std::vector<Heap> read_heaps(VkPhysicalDevice device, const Caps& caps);

}  // namespace spindle
#endif
