// VK_KHR_cooperative_matrix: reads its features and the shapes of matrices.
#include "runtime/cooperative_matrix.h"

#include <vector>

namespace spindle {
namespace {

// VkPhysicalDeviceCooperativeMatrixPropertiesKHR
struct Properties {
  VkStructureType sType = static_cast<VkStructureType>(1000506002);
  void* pNext = nullptr;
  VkShaderStageFlags cooperativeMatrixSupportedStages = 0;
};
constexpr uint32_t kFloat16 = 0, kFloat32 = 1;  // VkComponentTypeKHR
constexpr uint32_t kSubgroup = 3;               // VkScopeKHR

// VkCooperativeMatrixPropertiesKHR: [m, k] times [k, n].
struct Shape {
  VkStructureType sType = static_cast<VkStructureType>(1000506001);
  void* pNext = nullptr;
  uint32_t m = 0, n = 0, k = 0;
  uint32_t a = 0, b = 0, c = 0, result = 0;
  VkBool32 saturating = VK_FALSE;
  uint32_t scope = 0;
};
using GetShapes = VkResult(VKAPI_PTR*)(VkPhysicalDevice, uint32_t*, Shape*);

constexpr uint32_t kTile = 32;  // the smallest tile of rows, outputs and inputs
bool fits(const Shape& s) {
  return s.a == kFloat16 && s.b == kFloat16 && s.c == kFloat32 && s.result == kFloat32 && !s.saturating &&
         s.scope == kSubgroup && s.m >= 8 && s.n >= 8 && s.k >= 8 && kTile % s.m == 0 && kTile % s.n == 0 &&
         kTile % s.k == 0;
}

}  // namespace

void read_cooperative_matrices(VkInstance instance, VkPhysicalDevice device, Caps& caps) {
  CooperativeMatrixFeatures matrix;
  VkPhysicalDeviceVulkan12Features f12{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES, &matrix};
  VkPhysicalDeviceFeatures2 features{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, &f12};
  vkGetPhysicalDeviceFeatures2(device, &features);
  Properties properties;
  VkPhysicalDeviceProperties2 p{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, &properties};
  vkGetPhysicalDeviceProperties2(device, &p);
  const auto get_shapes = reinterpret_cast<GetShapes>(
      vkGetInstanceProcAddr(instance, "vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR"));
  caps.coopmat = false;
  if (caps.software && caps.subgroup_size > 8) return;  // lavapipe 26.1 crashes in them with 16 lanes
  if (!get_shapes || !matrix.cooperativeMatrix || !f12.vulkanMemoryModel ||
      !f12.vulkanMemoryModelDeviceScope || !f12.shaderFloat16 ||
      !(properties.cooperativeMatrixSupportedStages & VK_SHADER_STAGE_COMPUTE_BIT))
    return;
  uint32_t n = 0;
  vk(get_shapes(device, &n, nullptr), "vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR");
  std::vector<Shape> shapes(n);
  vk(get_shapes(device, &n, shapes.data()), "vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR");
  for (const Shape& s : shapes) {
    if (!fits(s) || s.m * s.n * s.k <= caps.coopmat_m * caps.coopmat_n * caps.coopmat_k) continue;
    caps.coopmat = true;
    caps.coopmat_m = s.m;
    caps.coopmat_n = s.n;
    caps.coopmat_k = s.k;
  }
}

}  // namespace spindle
