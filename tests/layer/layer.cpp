// The layer as the loader sees it: negotiation, the instance and device chains, limits and features.
#include <algorithm>
#include <cstddef>
#include <cstring>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "tests/layer/state.h"

namespace spindle::test_layer {

namespace {

constexpr const char* layer_name = "VK_LAYER_SPINDLE_test";

// clang-format off
#define SPINDLE_INSTANCE_CALLS(X)                                \
  X(DestroyInstance) X(EnumerateDeviceExtensionProperties)       \
  X(GetPhysicalDeviceProperties) X(GetPhysicalDeviceProperties2) \
  X(GetPhysicalDeviceFeatures) X(GetPhysicalDeviceFeatures2)     \
  X(GetPhysicalDeviceMemoryProperties)
// clang-format on

struct Instance {
  VkInstance handle;
  PFN_vkGetInstanceProcAddr get_proc_addr;
#define SPINDLE_X(name) PFN_vk##name name;
  SPINDLE_INSTANCE_CALLS(SPINDLE_X)
#undef SPINDLE_X
};

std::mutex mutex;
std::unordered_map<void*, Instance> instances;

Instance& get_instance(void* key) {
  std::lock_guard lock(mutex);
  return instances.at(key);
}

// The loader's entry for us in the create-info chain; taking it leaves the next layer's in its place.
template <class CreateInfo>
auto* take_link(const void* chain, VkStructureType type) {
  for (auto p = static_cast<const CreateInfo*>(chain); p; p = static_cast<const CreateInfo*>(p->pNext))
    if (p->sType == type && p->function == VK_LAYER_LINK_INFO) {
      auto* link = p->u.pLayerInfo;
      const_cast<CreateInfo*>(p)->u.pLayerInfo = link->pNext;
      return link;
    }
  return static_cast<decltype(CreateInfo{}.u.pLayerInfo)>(nullptr);
}

// ---- limits

void lower_limits(VkPhysicalDeviceLimits& limits) {
  const Settings s = settings();
  const auto lower = [](uint32_t& limit, uint32_t wanted) {
    limit = wanted ? std::min(limit, wanted) : limit;
  };
  lower(limits.maxStorageBufferRange, s.max_storage_range_bytes);
  lower(limits.maxComputeSharedMemorySize, s.max_shared_memory_bytes);
  limits.minStorageBufferOffsetAlignment =
      std::max<VkDeviceSize>(limits.minStorageBufferOffsetAlignment, s.storage_alignment_bytes);
}

void lower_allocation(VkDeviceSize& limit) {
  const uint64_t wanted = settings().max_allocation_bytes;
  if (wanted) limit = std::min(limit, wanted);
}

VKAPI_ATTR void VKAPI_CALL GetPhysicalDeviceProperties(VkPhysicalDevice adapter,
                                                       VkPhysicalDeviceProperties* properties) {
  get_instance(key_of(adapter)).GetPhysicalDeviceProperties(adapter, properties);
  lower_limits(properties->limits);
}

VKAPI_ATTR void VKAPI_CALL GetPhysicalDeviceProperties2(VkPhysicalDevice adapter,
                                                        VkPhysicalDeviceProperties2* properties) {
  get_instance(key_of(adapter)).GetPhysicalDeviceProperties2(adapter, properties);
  lower_limits(properties->properties.limits);
  for (auto p = static_cast<VkBaseOutStructure*>(properties->pNext); p; p = p->pNext) {
    if (p->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_PROPERTIES)
      lower_allocation(reinterpret_cast<VkPhysicalDeviceVulkan11Properties*>(p)->maxMemoryAllocationSize);
    if (p->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_3_PROPERTIES)
      lower_allocation(reinterpret_cast<VkPhysicalDeviceMaintenance3Properties*>(p)->maxMemoryAllocationSize);
  }
}

// ---- features

// Calls f(VkBool32&) for each hidden feature of the structures in the chain.
template <class F>
void for_each_hidden(const void* chain, F f) {
  for (auto p = static_cast<const VkBaseInStructure*>(chain); p; p = p->pNext)
    for (const Feature& feature : features())
      if (feature.type == p->sType && is_hidden(feature.name))
        f(*reinterpret_cast<VkBool32*>(reinterpret_cast<char*>(const_cast<VkBaseInStructure*>(p)) +
                                       feature.offset));
}

VKAPI_ATTR void VKAPI_CALL GetPhysicalDeviceFeatures2(VkPhysicalDevice adapter,
                                                      VkPhysicalDeviceFeatures2* found) {
  get_instance(key_of(adapter)).GetPhysicalDeviceFeatures2(adapter, found);
  for_each_hidden(found, [](VkBool32& feature) { feature = VK_FALSE; });
}

VKAPI_ATTR void VKAPI_CALL GetPhysicalDeviceFeatures(VkPhysicalDevice adapter,
                                                     VkPhysicalDeviceFeatures* found) {
  VkPhysicalDeviceFeatures2 all{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, nullptr, {}};
  get_instance(key_of(adapter)).GetPhysicalDeviceFeatures(adapter, &all.features);
  for_each_hidden(&all, [](VkBool32& feature) { feature = VK_FALSE; });
  *found = all.features;
}

VKAPI_ATTR VkResult VKAPI_CALL EnumerateDeviceExtensionProperties(VkPhysicalDevice adapter, const char* layer,
                                                                  uint32_t* n, VkExtensionProperties* out) {
  std::vector<VkExtensionProperties> all;
  if (!layer || std::strcmp(layer, layer_name) != 0) {
    const Instance& instance = get_instance(key_of(adapter));
    uint32_t n_all = 0;
    VkResult result = instance.EnumerateDeviceExtensionProperties(adapter, layer, &n_all, nullptr);
    if (result != VK_SUCCESS) return result;
    all.resize(n_all);
    result = instance.EnumerateDeviceExtensionProperties(adapter, layer, &n_all, all.data());
    if (result != VK_SUCCESS) return result;
    all.resize(n_all);
    std::erase_if(all, [](const VkExtensionProperties& e) { return is_hidden(e.extensionName); });
  }
  const bool incomplete = out && *n < all.size();
  *n = incomplete ? *n : uint32_t(all.size());
  if (out) std::copy_n(all.begin(), *n, out);
  return incomplete ? VK_INCOMPLETE : VK_SUCCESS;
}

// ---- instance and device

VKAPI_ATTR VkResult VKAPI_CALL CreateInstance(const VkInstanceCreateInfo* create,
                                              const VkAllocationCallbacks* callbacks, VkInstance* instance) {
  auto* link =
      take_link<VkLayerInstanceCreateInfo>(create->pNext, VK_STRUCTURE_TYPE_LOADER_INSTANCE_CREATE_INFO);
  if (!link) return VK_ERROR_INITIALIZATION_FAILED;
  const PFN_vkGetInstanceProcAddr get = link->pfnNextGetInstanceProcAddr;
  const auto next = reinterpret_cast<PFN_vkCreateInstance>(get(nullptr, "vkCreateInstance"));
  const VkResult result = next(create, callbacks, instance);
  if (result != VK_SUCCESS) return result;
  Instance table{*instance, get};
#define SPINDLE_X(name)                                                    \
  table.name = reinterpret_cast<PFN_vk##name>(get(*instance, "vk" #name)); \
  if (!table.name) table.name = reinterpret_cast<PFN_vk##name>(get(*instance, "vk" #name "KHR"));
  SPINDLE_INSTANCE_CALLS(SPINDLE_X)
#undef SPINDLE_X
  std::lock_guard lock(mutex);
  instances[key_of(*instance)] = table;
  return result;
}

VKAPI_ATTR void VKAPI_CALL DestroyInstance(VkInstance instance, const VkAllocationCallbacks* callbacks) {
  if (!instance) return;
  void* key = key_of(instance);
  const Instance table = get_instance(key);
  {
    std::lock_guard lock(mutex);
    instances.erase(key);  // before the call, after which another instance may get the same key
  }
  table.DestroyInstance(instance, callbacks);
}

VKAPI_ATTR VkResult VKAPI_CALL CreateDevice(VkPhysicalDevice adapter, const VkDeviceCreateInfo* create,
                                            const VkAllocationCallbacks* callbacks, VkDevice* handle) {
  count(Call::CreateDevice);
  if (std::optional<VkResult> fault = find_fault(Call::CreateDevice)) return *fault;
  // What is hidden is absent: a driver without it would refuse.
  bool refused = false;
  const auto refuse = [&](VkBool32& feature) { refused |= feature == VK_TRUE; };
  for_each_hidden(create->pNext, refuse);
  if (create->pEnabledFeatures) {
    VkPhysicalDeviceFeatures2 enabled{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, nullptr,
                                      *create->pEnabledFeatures};
    for_each_hidden(&enabled, refuse);
  }
  if (refused) return VK_ERROR_FEATURE_NOT_PRESENT;
  for (uint32_t i = 0; i < create->enabledExtensionCount; ++i)
    if (is_hidden(create->ppEnabledExtensionNames[i])) return VK_ERROR_EXTENSION_NOT_PRESENT;

  auto* link = take_link<VkLayerDeviceCreateInfo>(create->pNext, VK_STRUCTURE_TYPE_LOADER_DEVICE_CREATE_INFO);
  if (!link) return VK_ERROR_INITIALIZATION_FAILED;
  const Instance& instance = get_instance(key_of(adapter));
  const auto next = reinterpret_cast<PFN_vkCreateDevice>(
      link->pfnNextGetInstanceProcAddr(instance.handle, "vkCreateDevice"));
  const PFN_vkGetDeviceProcAddr get = link->pfnNextGetDeviceProcAddr;
  const VkResult result = next(adapter, create, callbacks, handle);
  if (result != VK_SUCCESS) return result;
  auto device = std::make_unique<Device>(Device{*handle, get, {}, {}});
  instance.GetPhysicalDeviceMemoryProperties(adapter, &device->memory);
  add_device(std::move(device));
  return result;
}

// ---- what the loader asks for by name

VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL GetDeviceProcAddr(VkDevice device, const char* name) {
  if (std::strcmp(name, "vkGetDeviceProcAddr") == 0)
    return reinterpret_cast<PFN_vkVoidFunction>(GetDeviceProcAddr);
  const PFN_vkVoidFunction next = get_device(key_of(device)).get_proc_addr(device, name);
  const std::optional<Call> call = find_call(name);
  return next && call ? device_hook(*call) : next;
}

VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL GetInstanceProcAddr(VkInstance instance, const char* name) {
  const auto is = [name](const char* known) { return std::strcmp(name, known) == 0; };
  if (is("vkGetInstanceProcAddr")) return reinterpret_cast<PFN_vkVoidFunction>(GetInstanceProcAddr);
  if (is("vkGetDeviceProcAddr")) return reinterpret_cast<PFN_vkVoidFunction>(GetDeviceProcAddr);
  if (is("vkCreateInstance")) return reinterpret_cast<PFN_vkVoidFunction>(CreateInstance);
  if (!instance) return nullptr;
  const PFN_vkVoidFunction next = get_instance(key_of(instance)).get_proc_addr(instance, name);
  if (!next) return nullptr;
  if (is("vkCreateDevice")) return reinterpret_cast<PFN_vkVoidFunction>(CreateDevice);
  if (is("vkDestroyInstance")) return reinterpret_cast<PFN_vkVoidFunction>(DestroyInstance);
  if (is("vkEnumerateDeviceExtensionProperties"))
    return reinterpret_cast<PFN_vkVoidFunction>(EnumerateDeviceExtensionProperties);
  if (is("vkGetPhysicalDeviceProperties"))
    return reinterpret_cast<PFN_vkVoidFunction>(GetPhysicalDeviceProperties);
  if (is("vkGetPhysicalDeviceFeatures"))
    return reinterpret_cast<PFN_vkVoidFunction>(GetPhysicalDeviceFeatures);
  if (is("vkGetPhysicalDeviceProperties2") || is("vkGetPhysicalDeviceProperties2KHR"))
    return reinterpret_cast<PFN_vkVoidFunction>(GetPhysicalDeviceProperties2);
  if (is("vkGetPhysicalDeviceFeatures2") || is("vkGetPhysicalDeviceFeatures2KHR"))
    return reinterpret_cast<PFN_vkVoidFunction>(GetPhysicalDeviceFeatures2);
  const std::optional<Call> call = find_call(name);
  return call ? device_hook(*call) : next;
}

}  // namespace

}  // namespace spindle::test_layer

// The only Vulkan name this library exports, so that a test may link it without shadowing the loader.
extern "C" VK_LAYER_EXPORT VKAPI_ATTR VkResult VKAPI_CALL
vkNegotiateLoaderLayerInterfaceVersion(VkNegotiateLayerInterface* negotiation) {
  if (negotiation->loaderLayerInterfaceVersion < 2) return VK_ERROR_INITIALIZATION_FAILED;
  negotiation->loaderLayerInterfaceVersion = 2;
  negotiation->pfnGetInstanceProcAddr = spindle::test_layer::GetInstanceProcAddr;
  negotiation->pfnGetDeviceProcAddr = spindle::test_layer::GetDeviceProcAddr;
  negotiation->pfnGetPhysicalDeviceProcAddr = nullptr;
  return VK_SUCCESS;
}
