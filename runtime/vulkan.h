// Vulkan's header and the check of its results. Only runtime/ and the viewer include this.
#ifndef SPINDLE_RUNTIME_VULKAN_H
#define SPINDLE_RUNTIME_VULKAN_H
#include <vulkan/vulkan.h>

#include "runtime/error.h"

namespace spindle {

const char* name_of(VkResult result);

// Throws with the call's name when `result` is an error.
inline void vk(VkResult result, const char* call) {
  if (result >= 0) [[likely]]
    return;
  const bool memory = result == VK_ERROR_OUT_OF_HOST_MEMORY || result == VK_ERROR_OUT_OF_DEVICE_MEMORY;
  fail(memory ? ErrorKind::out_of_memory : ErrorKind::runtime, "{} failed: {}{}", call, name_of(result),
       memory ? ": try a smaller context (-c) or a smaller cache type (-ctk f16 -ctv f16)" : "");
}

}  // namespace spindle
#endif
