// The Vulkan instance: enumerates devices, reads their features and limits, and chooses one.
#include "runtime/instance.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "runtime/cooperative_matrix.h"
#include "runtime/handles.h"

namespace spindle {

const char* name_of(VkResult result) {
  switch (result) {
    case VK_ERROR_OUT_OF_HOST_MEMORY:
      return "out of host memory";
    case VK_ERROR_OUT_OF_DEVICE_MEMORY:
      return "out of device memory";
    case VK_ERROR_DEVICE_LOST:
      return "the device was lost";
    case VK_ERROR_INITIALIZATION_FAILED:
      return "initialisation failed";
    case VK_ERROR_INCOMPATIBLE_DRIVER:
      return "incompatible driver";
    case VK_ERROR_EXTENSION_NOT_PRESENT:
      return "extension not present";
    case VK_ERROR_FEATURE_NOT_PRESENT:
      return "feature not present";
    case VK_ERROR_LAYER_NOT_PRESENT:
      return "layer not present";
    case VK_ERROR_MEMORY_MAP_FAILED:
      return "memory map failed";
    case VK_ERROR_OUT_OF_POOL_MEMORY:
      return "out of pool memory";
    case VK_ERROR_FRAGMENTED_POOL:
      return "fragmented pool";
    case VK_ERROR_TOO_MANY_OBJECTS:
      return "too many objects";
    case VK_TIMEOUT:
      return "timed out";
    default:
      return "unknown Vulkan error";
  }
}

const char* name_of(DeviceType type) {
  switch (type) {
    case DeviceType::discrete:
      return "discrete GPU";
    case DeviceType::integrated:
      return "integrated GPU";
    case DeviceType::virtual_gpu:
      return "virtual GPU";
    case DeviceType::cpu:
      return "CPU";
    default:
      return "other";
  }
}

std::vector<Heap> read_heaps(VkPhysicalDevice device, const Caps& caps) {
  VkPhysicalDeviceMemoryBudgetPropertiesEXT budget{
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT};
  VkPhysicalDeviceMemoryProperties2 memory{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2};
  if (caps.memory_budget) memory.pNext = &budget;
  vkGetPhysicalDeviceMemoryProperties2(device, &memory);
  const auto& m = memory.memoryProperties;
  const uint64_t system = system_free_bytes();
  std::vector<Heap> heaps;
  for (uint32_t i = 0; i < m.memoryHeapCount; i++) {
    Heap heap;
    heap.size_bytes = m.memoryHeaps[i].size;
    heap.device_local = m.memoryHeaps[i].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT;
    if (caps.memory_budget)
      heap.free_bytes =
          budget.heapBudget[i] > budget.heapUsage[i] ? budget.heapBudget[i] - budget.heapUsage[i] : 0;
    else
      // A CPU's heap is nominal: lavapipe states 2 GiB whatever there is.
      heap.free_bytes = caps.software       ? system
                        : heap.device_local ? heap.size_bytes
                                            : std::min(system, heap.size_bytes);
    heaps.push_back(heap);
  }
  return heaps;
}

namespace {

std::string version_string(uint32_t v) {
  return fmt::format("{}.{}.{}", VK_API_VERSION_MAJOR(v), VK_API_VERSION_MINOR(v), VK_API_VERSION_PATCH(v));
}

std::set<std::string> extensions_of(VkPhysicalDevice device) {
  uint32_t n = 0;
  vk(vkEnumerateDeviceExtensionProperties(device, nullptr, &n, nullptr),
     "vkEnumerateDeviceExtensionProperties");
  std::vector<VkExtensionProperties> list(n);
  vk(vkEnumerateDeviceExtensionProperties(device, nullptr, &n, list.data()),
     "vkEnumerateDeviceExtensionProperties");
  std::set<std::string> names;
  for (const auto& e : list) names.insert(e.extensionName);
  return names;
}

void read_features(VkPhysicalDevice device, const std::set<std::string>& extensions, bool v13, Caps& caps) {
  VkPhysicalDeviceVulkan11Features f11{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES};
  VkPhysicalDeviceVulkan12Features f12{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES, &f11};
  VkPhysicalDeviceShaderIntegerDotProductFeatures dot{
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES, &f12};
  VkPhysicalDeviceSubgroupSizeControlFeatures size_control{
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES, &dot};
  VkPhysicalDevicePipelineExecutablePropertiesFeaturesKHR executable{
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PIPELINE_EXECUTABLE_PROPERTIES_FEATURES_KHR, &size_control};
  VkPhysicalDeviceFeatures2 features{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, &executable};
  vkGetPhysicalDeviceFeatures2(device, &features);
  caps.storage16 = f11.storageBuffer16BitAccess;
  caps.storage8 = f12.storageBuffer8BitAccess;
  caps.fp16 = f12.shaderFloat16;
  caps.int8 = f12.shaderInt8;
  caps.int64 = features.features.shaderInt64;
  caps.dot = dot.shaderIntegerDotProduct && (v13 || extensions.count("VK_KHR_shader_integer_dot_product"));
  caps.subgroup_control = size_control.subgroupSizeControl && size_control.computeFullSubgroups &&
                          (v13 || extensions.count("VK_EXT_subgroup_size_control"));
  caps.coopmat = extensions.count(kCooperativeMatrixExtension);
  caps.coopmat2 = v13 && extensions.count(kCooperativeMatrix2Extension);  // its shaders are SPIR-V 1.6
  caps.memory_budget = extensions.count("VK_EXT_memory_budget");
  caps.executable_properties =
      executable.pipelineExecutableInfo && extensions.count("VK_KHR_pipeline_executable_properties");
}

void read_properties(VkPhysicalDevice device, DeviceInfo& info) {
  Caps& caps = info.caps;
  VkPhysicalDeviceShaderIntegerDotProductProperties dot{
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_PROPERTIES};
  VkPhysicalDeviceSubgroupSizeControlProperties size_control{
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_PROPERTIES, &dot};
  VkPhysicalDeviceVulkan11Properties p11{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_PROPERTIES,
                                         &size_control};
  VkPhysicalDeviceDriverProperties driver{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES, &p11};
  VkPhysicalDeviceProperties2 p{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, &driver};
  vkGetPhysicalDeviceProperties2(device, &p);
  info.name = p.properties.deviceName;
  info.driver = driver.driverName;
  info.driver_version = driver.driverInfo;
  info.api = p.properties.apiVersion;
  info.api_version = version_string(p.properties.apiVersion);
  info.vendor_id = p.properties.vendorID;
  info.device_id = p.properties.deviceID;
  std::memcpy(info.driver_uuid, p11.driverUUID, 16);
  std::memcpy(info.pipeline_cache_uuid, p.properties.pipelineCacheUUID, 16);
  switch (p.properties.deviceType) {
    case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU:
      info.type = DeviceType::discrete;
      break;
    case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU:
      info.type = DeviceType::integrated;
      break;
    case VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU:
      info.type = DeviceType::virtual_gpu;
      break;
    case VK_PHYSICAL_DEVICE_TYPE_CPU:
      info.type = DeviceType::cpu;
      break;
    default:
      break;
  }
  caps.software = info.type == DeviceType::cpu;
  // llvmpipe does so in Mesa 25 and later, which is also when it got to Vulkan 1.4.
  caps.gathers = driver.driverID == VK_DRIVER_ID_MESA_LLVMPIPE && info.api >= VK_MAKE_API_VERSION(0, 1, 4, 0);
  caps.unroll = driver.driverID == VK_DRIVER_ID_GOOGLE_SWIFTSHADER;
  const VkPhysicalDeviceLimits& l = p.properties.limits;
  caps.subgroup_size = caps.min_subgroup_size = caps.max_subgroup_size = p11.subgroupSize;
  if (size_control.minSubgroupSize) {  // 1.3, or VK_EXT_subgroup_size_control: others leave it 0
    caps.min_subgroup_size = size_control.minSubgroupSize;
    caps.max_subgroup_size = size_control.maxSubgroupSize;
  }
  constexpr VkSubgroupFeatureFlags needed = VK_SUBGROUP_FEATURE_BASIC_BIT |
                                            VK_SUBGROUP_FEATURE_ARITHMETIC_BIT |
                                            VK_SUBGROUP_FEATURE_SHUFFLE_BIT | VK_SUBGROUP_FEATURE_BALLOT_BIT;
  caps.subgroup = (p11.subgroupSupportedStages & VK_SHADER_STAGE_COMPUTE_BIT) &&
                  (p11.subgroupSupportedOperations & needed) == needed;
  caps.dot_mixed = !dot.integerDotProduct4x8BitPackedSignedAccelerated;
  caps.dot_accelerated = !caps.dot_mixed || dot.integerDotProduct4x8BitPackedMixedSignednessAccelerated;
  caps.max_workgroup_invocations = l.maxComputeWorkGroupInvocations;
  std::copy_n(l.maxComputeWorkGroupCount, 3, caps.max_workgroup_count);
  caps.shared_memory_bytes = l.maxComputeSharedMemorySize;
  caps.push_constant_bytes = l.maxPushConstantsSize;
  caps.max_bindings = std::min(l.maxPerStageDescriptorStorageBuffers, l.maxDescriptorSetStorageBuffers);
  caps.max_binding_bytes = l.maxStorageBufferRange;
  caps.max_allocation_bytes = p11.maxMemoryAllocationSize;
  caps.buffer_alignment = static_cast<uint32_t>(l.minStorageBufferOffsetAlignment);
  caps.timestamp_period_ns = l.timestampPeriod;
}

void read_memory(VkPhysicalDevice device, DeviceInfo& info) {
  VkPhysicalDeviceMemoryProperties memory;
  vkGetPhysicalDeviceMemoryProperties(device, &memory);
  info.caps.has_memory = memory.memoryTypeCount > 0;
  info.heaps = read_heaps(device, info.caps);
}

// Index of a queue family with compute, preferring one that has graphics too (the viewer shares it).
int find_queue_family(VkPhysicalDevice device, bool& timestamps) {
  uint32_t n = 0;
  vkGetPhysicalDeviceQueueFamilyProperties(device, &n, nullptr);
  std::vector<VkQueueFamilyProperties> families(n);
  vkGetPhysicalDeviceQueueFamilyProperties(device, &n, families.data());
  int best = -1;
  for (uint32_t i = 0; i < n; i++) {
    if (!(families[i].queueFlags & VK_QUEUE_COMPUTE_BIT)) continue;
    if (best < 0 || ((families[i].queueFlags & VK_QUEUE_GRAPHICS_BIT) &&
                     !(families[static_cast<uint32_t>(best)].queueFlags & VK_QUEUE_GRAPHICS_BIT)))
      best = static_cast<int>(i);
  }
  timestamps = best >= 0 && families[static_cast<uint32_t>(best)].timestampValidBits > 0;
  return best;
}

int rank(const DeviceInfo& d) {
  switch (d.type) {
    case DeviceType::discrete:
      return 4;
    case DeviceType::integrated:
      return 3;
    case DeviceType::virtual_gpu:
      return 2;
    case DeviceType::cpu:
      return 1;
    default:
      return 0;
  }
}

uint64_t read_number(const char* path) {
  std::ifstream in(path);
  uint64_t value = 0;
  return in >> value ? value : 0;  // "max" is no number: no limit
}

}  // namespace

uint64_t system_free_bytes() {
  uint64_t free = 0;
  std::ifstream in("/proc/meminfo");
  for (std::string key; in >> key;) {
    uint64_t kib = 0;
    in >> kib;
    in.ignore(64, '\n');
    if (key == "MemAvailable:") free = kib * 1024;
  }
  const uint64_t limit = read_number("/sys/fs/cgroup/memory.max");
  const uint64_t used = read_number("/sys/fs/cgroup/memory.current");
  if (limit) free = std::min(free, limit > used ? limit - used : 0);
  return free;
}

namespace {
std::atomic<uint64_t> loud_messages = 0;
}

uint64_t n_loud_validation_messages() { return loud_messages; }

struct ValidationMessages {
  static VKAPI_ATTR VkBool32 VKAPI_CALL take(VkDebugUtilsMessageSeverityFlagBitsEXT,
                                             VkDebugUtilsMessageTypeFlagsEXT,
                                             const VkDebugUtilsMessengerCallbackDataEXT* data,
                                             void* instance) {
    auto& self = *static_cast<Instance*>(instance);
    self.n_messages_++;
    if (!self.quiet_) loud_messages++;
    if (!self.quiet_) fmt::print(stderr, "validation: {}\n", data->pMessage);
    return VK_FALSE;
  }
};

void Instance::create() {
  VkApplicationInfo app{VK_STRUCTURE_TYPE_APPLICATION_INFO};
  app.pApplicationName = app.pEngineName = "spindle";
  app.apiVersion = VK_API_VERSION_1_3;
  VkInstanceCreateInfo create{VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO};
  create.pApplicationInfo = &app;

  const char* layer = "VK_LAYER_KHRONOS_validation";
  std::vector<const char*> extensions;
  for (const std::string& name : options_.instance_extensions) extensions.push_back(name.c_str());
  if (options_.validation) extensions.push_back(VK_EXT_DEBUG_UTILS_EXTENSION_NAME);
  create.enabledExtensionCount = static_cast<uint32_t>(extensions.size());
  create.ppEnabledExtensionNames = extensions.data();
  const VkValidationFeatureEnableEXT enable = VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT;
  VkValidationFeaturesEXT validation{VK_STRUCTURE_TYPE_VALIDATION_FEATURES_EXT};
  validation.enabledValidationFeatureCount = 1;
  validation.pEnabledValidationFeatures = &enable;
  VkDebugUtilsMessengerCreateInfoEXT messages{VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT};
  messages.messageSeverity =
      VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT | VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT;
  messages.messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT;
  messages.pfnUserCallback = ValidationMessages::take;
  messages.pUserData = this;
  if (options_.validation) {
    // Hazards between submits are an option that the layer reads from its environment alone.
    ::setenv("VK_LAYER_ENABLES", "VALIDATION_CHECK_ENABLE_SYNCHRONIZATION_VALIDATION_QUEUE_SUBMIT", 0);
    create.pNext = &validation;
    create.enabledLayerCount = 1;
    create.ppEnabledLayerNames = &layer;
  }
  const VkResult made = vkCreateInstance(&create, nullptr, &handles_->instance);
  require(made != VK_ERROR_LAYER_NOT_PRESENT, "{} is not installed (Debian: vulkan-validationlayers)", layer);
  require(
      made >= 0, ErrorKind::no_device,
      "no Vulkan: vkCreateInstance failed ({}). Install a driver; mesa-vulkan-drivers has one for the CPU",
      name_of(made));
  if (!options_.validation) return;
  const auto create_messenger = reinterpret_cast<PFN_vkCreateDebugUtilsMessengerEXT>(
      vkGetInstanceProcAddr(handles_->instance, "vkCreateDebugUtilsMessengerEXT"));
  vk(create_messenger(handles_->instance, &messages, nullptr, &handles_->messenger),
     "vkCreateDebugUtilsMessengerEXT");
}

Instance::Instance(const DeviceOptions& options)
    : options_(options), handles_(std::make_unique<InstanceHandles>()) {
  create();
  uint32_t n = 0;
  // With no driver at all the loader answers with an error here: that is an empty list.
  if (vkEnumeratePhysicalDevices(handles_->instance, &n, nullptr) >= 0 && n) {
    handles_->physical.resize(n);
    vk(vkEnumeratePhysicalDevices(handles_->instance, &n, handles_->physical.data()),
       "vkEnumeratePhysicalDevices");
    handles_->physical.resize(n);
  }
  for (VkPhysicalDevice physical : handles_->physical) {
    DeviceInfo info;
    info.index = static_cast<int>(devices_.size());
    VkPhysicalDeviceProperties basic;
    vkGetPhysicalDeviceProperties(physical, &basic);
    info.api = basic.apiVersion;
    if (basic.apiVersion < VK_API_VERSION_1_2) {
      info.name = basic.deviceName;
      info.api_version = version_string(basic.apiVersion);
      info.unusable = "needs Vulkan 1.2";
    } else {
      const bool v13 = basic.apiVersion >= VK_API_VERSION_1_3;
      read_properties(physical, info);
      read_features(physical, extensions_of(physical), v13, info.caps);
      if (info.caps.coopmat) read_cooperative_matrices(handles_->instance, physical, info.caps);
      info.caps.coopmat_pays = !info.caps.software;
      read_memory(physical, info);
      if (find_queue_family(physical, info.caps.timestamps) < 0) info.unusable = "has no compute queue";
      if (!info.caps.has_memory && !options.allow_null)
        info.unusable = "has no memory: it compiles, but cannot run";
      apply(info.caps, options);
    }
    devices_.push_back(info);
  }
}

Instance::~Instance() {
  if (handles_->messenger)
    reinterpret_cast<PFN_vkDestroyDebugUtilsMessengerEXT>(
        vkGetInstanceProcAddr(handles_->instance, "vkDestroyDebugUtilsMessengerEXT"))(
        handles_->instance, handles_->messenger, nullptr);
  if (handles_->instance) vkDestroyInstance(handles_->instance, nullptr);
}

const DeviceInfo& Instance::choose() const {
  require(!devices_.empty(), ErrorKind::no_device,
          "no Vulkan device found. Install a driver; mesa-vulkan-drivers has one for the CPU");
  const std::string& wanted = options_.device;
  const DeviceInfo* best = nullptr;
  if (wanted.empty()) {
    for (const DeviceInfo& d : devices_)
      if (d.unusable.empty() && (!best || rank(d) > rank(*best))) best = &d;
    require(best, ErrorKind::no_device, "none of the {} Vulkan devices can be used: {} {}", devices_.size(),
            devices_[0].name, devices_[0].unusable);
    return *best;
  }
  const bool number =
      std::all_of(wanted.begin(), wanted.end(), [](unsigned char c) { return std::isdigit(c); });
  const auto lower = [](std::string s) {
    std::transform(s.begin(), s.end(), s.begin(), [](unsigned char c) { return std::tolower(c); });
    return s;
  };
  std::string list;
  for (const DeviceInfo& d : devices_) {
    if (number ? std::to_string(d.index) == wanted : lower(d.name).find(lower(wanted)) != std::string::npos) {
      require(d.unusable.empty(), ErrorKind::no_device, "device {} ({}) {}", d.index, d.name, d.unusable);
      return d;
    }
    list += fmt::format("{}{} {}", list.empty() ? "" : ", ", d.index, d.name);
  }
  fail(ErrorKind::no_device, "--device {}: no such device; there are: {}", wanted, list);
}

}  // namespace spindle
