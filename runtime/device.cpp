// The logical device: features asked for are those of Caps, and every kernel is compiled once.
#include "runtime/device.h"

#include <algorithm>
#include <exception>
#include <thread>

#include "runtime/buffer.h"
#include "runtime/cooperative_matrix.h"
#include "runtime/handles.h"
#include "runtime/pipeline_cache.h"
#include "runtime/tuning.h"

namespace spindle {

Device::Device(const DeviceOptions& options)
    : instance_(options), info_(instance_.choose()), handles_(std::make_unique<DeviceHandles>()) {
  info_.caps.tuning = load_tuning(cache_directory(), info_);
  DeviceHandles& h = *handles_;
  h.physical = instance_.handles().physical[static_cast<size_t>(info_.index)];
  vkGetPhysicalDeviceMemoryProperties(h.physical, &h.memory);

  uint32_t n = 0;
  vkGetPhysicalDeviceQueueFamilyProperties(h.physical, &n, nullptr);
  std::vector<VkQueueFamilyProperties> families(n);
  vkGetPhysicalDeviceQueueFamilyProperties(h.physical, &n, families.data());
  constexpr VkQueueFlags both = VK_QUEUE_COMPUTE_BIT | VK_QUEUE_GRAPHICS_BIT;
  for (uint32_t i = n; i-- > 0;)
    if (families[i].queueFlags & VK_QUEUE_COMPUTE_BIT) h.queue_family = i;
  for (uint32_t i = n; i-- > 0;)
    if ((families[i].queueFlags & both) == both) h.queue_family = i;

  const Caps& caps = info_.caps;
  const bool v13 = info_.api >= VK_API_VERSION_1_3;
  std::vector<const char*> extensions;
  void* chain = nullptr;
  const auto link = [&](auto& feature) {
    feature.pNext = chain;
    chain = &feature;
  };
  VkPhysicalDeviceVulkan11Features f11{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES};
  f11.storageBuffer16BitAccess = caps.storage16;
  link(f11);
  VkPhysicalDeviceVulkan12Features f12{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES};
  f12.storageBuffer8BitAccess = caps.storage8;
  f12.shaderFloat16 = caps.fp16;
  f12.shaderInt8 = caps.int8;
  f12.timelineSemaphore = VK_TRUE;  // always there in 1.2
  // Atomics of modules that do not use the model have the device's scope.
  f12.vulkanMemoryModel = f12.vulkanMemoryModelDeviceScope = caps.coopmat;
  link(f12);
  VkPhysicalDeviceShaderIntegerDotProductFeatures dot{
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES};
  if (caps.dot) {
    dot.shaderIntegerDotProduct = VK_TRUE;
    link(dot);
    if (!v13) extensions.push_back("VK_KHR_shader_integer_dot_product");
  }
  CooperativeMatrixFeatures cooperative_matrix;
  if (caps.coopmat) {
    cooperative_matrix.cooperativeMatrix = VK_TRUE;
    link(cooperative_matrix);
    extensions.push_back(kCooperativeMatrixExtension);
  }
  CooperativeMatrix2Features cooperative_matrix2;
  VkPhysicalDeviceMaintenance4Features maintenance4{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_4_FEATURES};
  if (caps.coopmat2) {
    cooperative_matrix2.cooperativeMatrixFlexibleDimensions = VK_TRUE;
    cooperative_matrix2.cooperativeMatrixReductions = VK_TRUE;
    cooperative_matrix2.cooperativeMatrixConversions = VK_TRUE;
    cooperative_matrix2.cooperativeMatrixPerElementOperations = VK_TRUE;
    link(cooperative_matrix2);
    extensions.push_back(kCooperativeMatrix2Extension);
    maintenance4.maintenance4 = VK_TRUE;  // always there in 1.3: SPIR-V 1.6 has LocalSizeId
    link(maintenance4);
  }
  VkPhysicalDeviceSubgroupSizeControlFeatures size_control{
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES};
  if (caps.subgroup_control) {
    size_control.subgroupSizeControl = size_control.computeFullSubgroups = VK_TRUE;
    link(size_control);
    if (!v13) extensions.push_back("VK_EXT_subgroup_size_control");
  }
  VkPhysicalDevicePipelineExecutablePropertiesFeaturesKHR executable{
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PIPELINE_EXECUTABLE_PROPERTIES_FEATURES_KHR};
  if (caps.executable_properties) {
    executable.pipelineExecutableInfo = VK_TRUE;
    link(executable);
    extensions.push_back("VK_KHR_pipeline_executable_properties");
  }
  if (caps.memory_budget) extensions.push_back("VK_EXT_memory_budget");
  for (const std::string& name : options.device_extensions) extensions.push_back(name.c_str());

  const float priority = 1;
  VkDeviceQueueCreateInfo queue{VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO};
  queue.queueFamilyIndex = h.queue_family;
  queue.queueCount = 1;
  queue.pQueuePriorities = &priority;
  VkPhysicalDeviceFeatures core{};
  core.shaderInt64 = caps.int64;
  VkDeviceCreateInfo create{VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO, chain};
  create.pEnabledFeatures = &core;
  create.queueCreateInfoCount = 1;
  create.pQueueCreateInfos = &queue;
  create.enabledExtensionCount = static_cast<uint32_t>(extensions.size());
  create.ppEnabledExtensionNames = extensions.data();
  vk(vkCreateDevice(h.physical, &create, nullptr, &h.device), "vkCreateDevice");
  vkGetDeviceQueue(h.device, h.queue_family, 0, &h.queue);

  const std::vector<std::byte> cached = load_pipeline_cache(cache_directory(), info_);
  VkPipelineCacheCreateInfo cache{VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO};
  cache.initialDataSize = cached.size();
  cache.pInitialData = cached.data();
  vk(vkCreatePipelineCache(h.device, &cache, nullptr, &h.pipeline_cache), "vkCreatePipelineCache");

  switch (info_.type) {  // until calibrate() knows better
    case DeviceType::discrete:
      cost_rate_ = 1e12;
      break;
    case DeviceType::integrated:
    case DeviceType::virtual_gpu:
      cost_rate_ = 1e11;
      break;
    default:
      cost_rate_ = 1e10;
      break;
  }
}

Device::~Device() {
  DeviceHandles& h = *handles_;
  if (!h.device) return;
  if (info_.caps.has_memory) vkDeviceWaitIdle(h.device);  // on a null device RADV crashes in it
  placeholder_.reset();
  const bool compiled = !kernels_.empty();
  kernels_.clear();
  size_t bytes = 0;
  if (compiled && vkGetPipelineCacheData(h.device, h.pipeline_cache, &bytes, nullptr) >= 0 && bytes) {
    std::vector<std::byte> data(bytes);
    if (vkGetPipelineCacheData(h.device, h.pipeline_cache, &bytes, data.data()) >= 0)
      save_pipeline_cache(cache_directory(), info_, data);
  }
  vkDestroyPipelineCache(h.device, h.pipeline_cache, nullptr);
  vkDestroyDevice(h.device, nullptr);
}

const Kernel& Device::kernel(const KernelSpec& spec) {
  {
    std::lock_guard lock(mutex_);
    if (const auto it = kernels_.find(spec); it != kernels_.end()) return *it->second;
  }
  auto made = std::make_unique<Kernel>(*this, spec);  // outside the lock: pipelines build in parallel
  std::lock_guard lock(mutex_);
  return *kernels_.emplace(spec, std::move(made)).first->second;
}

void Device::compile(std::vector<KernelSpec> specs) {
  std::ranges::sort(specs);
  specs.erase(std::ranges::unique(specs).begin(), specs.end());
  std::atomic<size_t> next = 0;
  std::exception_ptr error;
  const auto work = [&] {
    try {
      for (size_t i = next++; i < specs.size(); i = next++) kernel(specs[i]);
    } catch (...) {
      next = specs.size();
      std::lock_guard lock(mutex_);
      error = std::current_exception();
    }
  };
  {
    std::vector<std::jthread> others;
    const size_t n = std::min<size_t>(specs.size(), std::thread::hardware_concurrency());
    while (others.size() + 1 < n) others.emplace_back(work);
    work();
  }
  if (error) std::rethrow_exception(error);
}

size_t Device::n_kernels() const {
  std::lock_guard lock(mutex_);
  return kernels_.size();
}

uint64_t Device::free_bytes() const {
  uint64_t heap_bytes = 0, used_here = allocated_bytes_;
  if (caps().memory_budget) {
    VkPhysicalDeviceMemoryBudgetPropertiesEXT budget{
        VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT};
    VkPhysicalDeviceMemoryProperties2 memory{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2, &budget};
    vkGetPhysicalDeviceMemoryProperties2(handles_->physical, &memory);
    uint64_t free = 0;
    for (uint32_t i = 0; i < memory.memoryProperties.memoryHeapCount; i++)
      if (memory.memoryProperties.memoryHeaps[i].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT)
        free = std::max(free, budget.heapBudget[i] > budget.heapUsage[i]
                                  ? budget.heapBudget[i] - budget.heapUsage[i]
                                  : 0);
    return free;
  }
  for (const Heap& heap : info_.heaps)
    if (heap.device_local) heap_bytes = std::max(heap_bytes, heap.size_bytes);
  if (info_.type == DeviceType::cpu) return system_free_bytes();  // its heap is nominal
  if (info_.type == DeviceType::integrated) return std::min(heap_bytes, system_free_bytes());
  return heap_bytes > used_here ? heap_bytes - used_here : 0;
}

std::vector<Heap> Device::heaps() const { return read_heaps(handles_->physical, info_.caps); }

double Device::cost_bound() const {
  if (options().limit_cost > 0) return options().limit_cost;
  std::lock_guard lock(mutex_);
  return cost_rate_ * 0.1;
}

void Device::calibrate(double cost, double seconds) {
  std::lock_guard lock(mutex_);
  if (seconds > 0) cost_rate_ = cost / seconds;
}

const Buffer& Device::placeholder() {
  std::lock_guard lock(mutex_);
  if (!placeholder_)
    placeholder_ = std::make_unique<Buffer>(*this, kTensorAlignment, Memory::device, "placeholder");
  return *placeholder_;
}

}  // namespace spindle
