// VK_KHR_cooperative_matrix and VK_NV_cooperative_matrix2: the parts of them that are used, in our own words,
// since headers before 1.3.255 lack the first and later ones still the second.
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

// Used are matrices of other sizes than coopmat's, reductions over rows, conversion of sums to factors, and
// functions of each element.
inline constexpr const char* kCooperativeMatrix2Extension = "VK_NV_cooperative_matrix2";

// VkPhysicalDeviceCooperativeMatrix2FeaturesNV
struct CooperativeMatrix2Features {
  VkStructureType sType = static_cast<VkStructureType>(1000593000);
  void* pNext = nullptr;
  VkBool32 cooperativeMatrixWorkgroupScope = VK_FALSE;
  VkBool32 cooperativeMatrixFlexibleDimensions = VK_FALSE;
  VkBool32 cooperativeMatrixReductions = VK_FALSE;
  VkBool32 cooperativeMatrixConversions = VK_FALSE;
  VkBool32 cooperativeMatrixPerElementOperations = VK_FALSE;
  VkBool32 cooperativeMatrixTensorAddressing = VK_FALSE;
  VkBool32 cooperativeMatrixBlockLoads = VK_FALSE;
};

// Whether shaders can use the extensions, caps.coopmat and caps.coopmat2, which the device must have then,
// and the shape of their matrices: of those that multiply f16 and add in f32 the largest that tiles divide
// by, and the finest steps of flexible ones. All of it into caps.
void read_cooperative_matrices(VkInstance instance, VkPhysicalDevice device, Caps& caps);

}  // namespace spindle
#endif
