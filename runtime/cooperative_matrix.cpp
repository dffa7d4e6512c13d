// Cooperative matrices: reads the features of the extensions and the shapes of matrices.
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

// VkPhysicalDeviceCooperativeMatrix2PropertiesNV
struct Properties2 {
  VkStructureType sType = static_cast<VkStructureType>(1000593002);
  void* pNext = nullptr;
  uint32_t cooperativeMatrixWorkgroupScopeMaxWorkgroupSize = 0;
  uint32_t cooperativeMatrixFlexibleDimensionsMaxDimension = 0;
  uint32_t cooperativeMatrixWorkgroupScopeReservedSharedMemory = 0;
};

// VkCooperativeMatrixFlexibleDimensionsPropertiesNV
struct Steps {
  VkStructureType sType = static_cast<VkStructureType>(1000593001);
  void* pNext = nullptr;
  uint32_t m = 0, n = 0, k = 0;
  uint32_t a = 0, b = 0, c = 0, result = 0;
  VkBool32 saturating = VK_FALSE;
  uint32_t scope = 0, lanes = 0;
};
using GetSteps = VkResult(VKAPI_PTR*)(VkPhysicalDevice, uint32_t*, Steps*);

// f16 times f16, added in f32, by a subgroup.
template <class T>
bool is_used(const T& s) {
  return s.a == kFloat16 && s.b == kFloat16 && s.c == kFloat32 && s.result == kFloat32 && !s.saturating &&
         s.scope == kSubgroup;
}

constexpr uint32_t kTile = 32;  // the smallest tile of rows, outputs and inputs
bool fits(const Shape& s) {
  return is_used(s) && s.m >= 8 && s.n >= 8 && s.k >= 8 && kTile % s.m == 0 && kTile % s.n == 0 &&
         kTile % s.k == 0;
}

void read_second(VkInstance instance, VkPhysicalDevice device, Caps& caps) {
  CooperativeMatrix2Features matrix;
  VkPhysicalDeviceFeatures2 features{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, &matrix};
  vkGetPhysicalDeviceFeatures2(device, &features);
  const auto get_steps = reinterpret_cast<GetSteps>(
      vkGetInstanceProcAddr(instance, "vkGetPhysicalDeviceCooperativeMatrixFlexibleDimensionsPropertiesNV"));
  caps.coopmat2 = get_steps && matrix.cooperativeMatrixFlexibleDimensions &&
                  matrix.cooperativeMatrixReductions && matrix.cooperativeMatrixConversions &&
                  matrix.cooperativeMatrixPerElementOperations;
  if (!caps.coopmat2) return;
  Properties2 properties;
  VkPhysicalDeviceProperties2 p{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, &properties};
  vkGetPhysicalDeviceProperties2(device, &p);
  uint32_t n = 0;
  vk(get_steps(device, &n, nullptr), "vkGetPhysicalDeviceCooperativeMatrixFlexibleDimensionsPropertiesNV");
  std::vector<Steps> list(n);
  vk(get_steps(device, &n, list.data()),
     "vkGetPhysicalDeviceCooperativeMatrixFlexibleDimensionsPropertiesNV");
  for (const Steps& s : list) {
    if (!is_used(s) || s.m % 8 || s.n % 8 || s.k % 8) continue;
    if (caps.coopmat2_m && s.m * s.n * s.k >= caps.coopmat2_m * caps.coopmat2_n * caps.coopmat2_k) continue;
    caps.coopmat2_m = s.m;
    caps.coopmat2_n = s.n;
    caps.coopmat2_k = s.k;
    caps.coopmat2_most = properties.cooperativeMatrixFlexibleDimensionsMaxDimension;
  }
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
  if (caps.coopmat && caps.coopmat2) read_second(instance, device, caps);
  caps.coopmat2 &= caps.coopmat;
}

}  // namespace spindle
