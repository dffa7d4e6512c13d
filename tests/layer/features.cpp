// The features the layer can hide, by field name.
#include <cstddef>

#include "tests/layer/state.h"

namespace spindle::test_layer {

namespace {

// clang-format off
#define SPINDLE_FEATURE(Struct, TYPE, field) \
  {#field, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_##TYPE, offsetof(VkPhysicalDevice##Struct, field)}
#define SPINDLE_CORE_FEATURE(field)                      \
  {#field, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, \
   offsetof(VkPhysicalDeviceFeatures2, features) + offsetof(VkPhysicalDeviceFeatures, field)}
// clang-format on

// Each by its core structure and by that of the extension it came from: a query may use either.
constexpr Feature table[] = {
    SPINDLE_CORE_FEATURE(robustBufferAccess),
    SPINDLE_CORE_FEATURE(shaderInt16),
    SPINDLE_CORE_FEATURE(shaderInt64),
    SPINDLE_CORE_FEATURE(shaderFloat64),
    SPINDLE_FEATURE(Vulkan11Features, VULKAN_1_1_FEATURES, storageBuffer16BitAccess),
    SPINDLE_FEATURE(16BitStorageFeatures, 16BIT_STORAGE_FEATURES, storageBuffer16BitAccess),
    SPINDLE_FEATURE(Vulkan11Features, VULKAN_1_1_FEATURES, uniformAndStorageBuffer16BitAccess),
    SPINDLE_FEATURE(16BitStorageFeatures, 16BIT_STORAGE_FEATURES, uniformAndStorageBuffer16BitAccess),
    SPINDLE_FEATURE(Vulkan12Features, VULKAN_1_2_FEATURES, storageBuffer8BitAccess),
    SPINDLE_FEATURE(8BitStorageFeatures, 8BIT_STORAGE_FEATURES, storageBuffer8BitAccess),
    SPINDLE_FEATURE(Vulkan12Features, VULKAN_1_2_FEATURES, uniformAndStorageBuffer8BitAccess),
    SPINDLE_FEATURE(8BitStorageFeatures, 8BIT_STORAGE_FEATURES, uniformAndStorageBuffer8BitAccess),
    SPINDLE_FEATURE(Vulkan12Features, VULKAN_1_2_FEATURES, shaderFloat16),
    SPINDLE_FEATURE(ShaderFloat16Int8Features, SHADER_FLOAT16_INT8_FEATURES, shaderFloat16),
    SPINDLE_FEATURE(Vulkan12Features, VULKAN_1_2_FEATURES, shaderInt8),
    SPINDLE_FEATURE(ShaderFloat16Int8Features, SHADER_FLOAT16_INT8_FEATURES, shaderInt8),
    SPINDLE_FEATURE(Vulkan12Features, VULKAN_1_2_FEATURES, timelineSemaphore),
    SPINDLE_FEATURE(TimelineSemaphoreFeatures, TIMELINE_SEMAPHORE_FEATURES, timelineSemaphore),
    SPINDLE_FEATURE(Vulkan12Features, VULKAN_1_2_FEATURES, scalarBlockLayout),
    SPINDLE_FEATURE(ScalarBlockLayoutFeatures, SCALAR_BLOCK_LAYOUT_FEATURES, scalarBlockLayout),
    SPINDLE_FEATURE(Vulkan12Features, VULKAN_1_2_FEATURES, hostQueryReset),
    SPINDLE_FEATURE(HostQueryResetFeatures, HOST_QUERY_RESET_FEATURES, hostQueryReset),
    SPINDLE_FEATURE(Vulkan12Features, VULKAN_1_2_FEATURES, vulkanMemoryModel),
    SPINDLE_FEATURE(VulkanMemoryModelFeatures, VULKAN_MEMORY_MODEL_FEATURES, vulkanMemoryModel),
    SPINDLE_FEATURE(Vulkan12Features, VULKAN_1_2_FEATURES, bufferDeviceAddress),
    SPINDLE_FEATURE(BufferDeviceAddressFeatures, BUFFER_DEVICE_ADDRESS_FEATURES, bufferDeviceAddress),
    SPINDLE_FEATURE(Vulkan12Features, VULKAN_1_2_FEATURES, shaderSubgroupExtendedTypes),
    SPINDLE_FEATURE(ShaderSubgroupExtendedTypesFeatures, SHADER_SUBGROUP_EXTENDED_TYPES_FEATURES,
                    shaderSubgroupExtendedTypes),
    SPINDLE_FEATURE(Vulkan13Features, VULKAN_1_3_FEATURES, subgroupSizeControl),
    SPINDLE_FEATURE(SubgroupSizeControlFeatures, SUBGROUP_SIZE_CONTROL_FEATURES, subgroupSizeControl),
    SPINDLE_FEATURE(Vulkan13Features, VULKAN_1_3_FEATURES, computeFullSubgroups),
    SPINDLE_FEATURE(SubgroupSizeControlFeatures, SUBGROUP_SIZE_CONTROL_FEATURES, computeFullSubgroups),
    SPINDLE_FEATURE(Vulkan13Features, VULKAN_1_3_FEATURES, shaderIntegerDotProduct),
    SPINDLE_FEATURE(ShaderIntegerDotProductFeatures, SHADER_INTEGER_DOT_PRODUCT_FEATURES,
                    shaderIntegerDotProduct),
    SPINDLE_FEATURE(Vulkan13Features, VULKAN_1_3_FEATURES, synchronization2),
    SPINDLE_FEATURE(Synchronization2Features, SYNCHRONIZATION_2_FEATURES, synchronization2),
    SPINDLE_FEATURE(Vulkan13Features, VULKAN_1_3_FEATURES, maintenance4),
    SPINDLE_FEATURE(Maintenance4Features, MAINTENANCE_4_FEATURES, maintenance4),
};

}  // namespace

std::span<const Feature> features() { return table; }

}  // namespace spindle::test_layer
