// VK_KHR_cooperative_matrix: the part of it that is used, in our own words, since headers before 1.3.255 lack
// it.
#ifndef SPINDLE_RUNTIME_COOPERATIVE_MATRIX_H
#define SPINDLE_RUNTIME_COOPERATIVE_MATRIX_H
#include "runtime/caps.h"
#include "runtime/vulkan.h"

namespace spindle {

inline constexpr const char* kCooperativeMatrixExtension = "VK_KHR_cooperative_matrix";

// VkPhysicalDeviceCooperativeMatrixFeaturesKHR
struct CooperativeMatrixFeatures {
  VkStructureType sType = static_cast<VkStructureType>(1000506000);
  void* pNext = nullptr;
  VkBool32 cooperativeMatrix = VK_FALSE;
  VkBool32 cooperativeMatrixRobustBufferAccess = VK_FALSE;
};

// Whether shaders can use the extension, which the device must have, and the shape of their matrices: of
// those that multiply f16 and add in f32 the largest that tiles divide by. All of it into caps.
void read_cooperative_matrices(VkInstance instance, VkPhysicalDevice device, Caps& caps);

}  // namespace spindle
#endif
