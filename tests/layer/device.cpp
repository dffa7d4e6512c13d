// The layer's device calls: count, perhaps fail, hand on.
#include <algorithm>
#include <cstring>
#include <mutex>
#include <type_traits>
#include <unordered_map>

#include "tests/layer/state.h"

namespace spindle::test_layer {

namespace {

std::mutex mutex;
std::unordered_map<void*, std::unique_ptr<Device>> devices;

template <Call call, class F>
struct Plain;

template <Call call, class R, class Handle, class... Args>
struct Plain<call, R(VKAPI_PTR*)(Handle, Args...)> {
  static VKAPI_ATTR R VKAPI_CALL run(Handle handle, Args... args) {
    const Device& device = get_device(key_of(handle));
    count(call);
    if constexpr (std::is_same_v<R, VkResult>) {
      if (std::optional<VkResult> fault = find_fault(call)) {
        // Nothing runs on a lost device, and the caller may destroy what it was using. Here it does run.
        if (*fault == VK_ERROR_DEVICE_LOST)
          device.get<PFN_vkDeviceWaitIdle>(Call::DeviceWaitIdle)(device.handle);
        return *fault;
      }
    }
    return device.get<R(VKAPI_PTR*)(Handle, Args...)>(call)(handle, args...);
  }
};
#define PLAIN(name) Plain<Call::name, PFN_vk##name>::run

// Fills the whole allocation with 0xFF; false: it cannot be mapped, or its bytes are somebody else's.
bool poison(const Device& device, const VkMemoryAllocateInfo& allocation, VkDeviceMemory memory) {
  for (auto p = static_cast<const VkBaseInStructure*>(allocation.pNext); p; p = p->pNext)
    if (p->sType == VK_STRUCTURE_TYPE_IMPORT_MEMORY_HOST_POINTER_INFO_EXT ||
        p->sType == VK_STRUCTURE_TYPE_IMPORT_MEMORY_FD_INFO_KHR)
      return false;
  const VkMemoryType& type = device.memory.memoryTypes[allocation.memoryTypeIndex];
  if (!(type.propertyFlags & VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT)) return false;
  void* data = nullptr;
  auto map = device.get<PFN_vkMapMemory>(Call::MapMemory);
  if (map(device.handle, memory, 0, VK_WHOLE_SIZE, 0, &data) != VK_SUCCESS) return false;
  std::memset(data, 0xFF, allocation.allocationSize);
  const VkMappedMemoryRange all{VK_STRUCTURE_TYPE_MAPPED_MEMORY_RANGE, nullptr, memory, 0, VK_WHOLE_SIZE};
  device.get<PFN_vkFlushMappedMemoryRanges>(Call::FlushMappedMemoryRanges)(device.handle, 1, &all);
  reinterpret_cast<PFN_vkUnmapMemory>(device.get_proc_addr(device.handle, "vkUnmapMemory"))(device.handle,
                                                                                            memory);
  return true;
}

VKAPI_ATTR VkResult VKAPI_CALL AllocateMemory(VkDevice handle, const VkMemoryAllocateInfo* allocation,
                                              const VkAllocationCallbacks* callbacks,
                                              VkDeviceMemory* memory) {
  const Settings now = settings();
  if (now.max_allocation_bytes && allocation->allocationSize > now.max_allocation_bytes)
    return VK_ERROR_OUT_OF_DEVICE_MEMORY;
  const VkResult result = PLAIN(AllocateMemory)(handle, allocation, callbacks, memory);
  if (result != VK_SUCCESS) return result;
  std::optional<bool> poisoned;
  if (now.poison) poisoned = poison(get_device(key_of(handle)), *allocation, *memory);
  count_allocation(*memory, allocation->allocationSize, poisoned);
  return result;
}

VKAPI_ATTR void VKAPI_CALL FreeMemory(VkDevice device, VkDeviceMemory memory,
                                      const VkAllocationCallbacks* callbacks) {
  count_free(memory);
  PLAIN(FreeMemory)(device, memory, callbacks);
}

VKAPI_ATTR VkResult VKAPI_CALL CreateBuffer(VkDevice device, const VkBufferCreateInfo* create,
                                            const VkAllocationCallbacks* callbacks, VkBuffer* buffer) {
  const VkResult result = PLAIN(CreateBuffer)(device, create, callbacks, buffer);
  if (result == VK_SUCCESS) count_buffer(*buffer, create->size);
  return result;
}

VKAPI_ATTR void VKAPI_CALL DestroyBuffer(VkDevice device, VkBuffer buffer,
                                         const VkAllocationCallbacks* callbacks) {
  count_destroyed(buffer);
  PLAIN(DestroyBuffer)(device, buffer, callbacks);
}

// When these fail the specification wants null in every output: it is there before the call is made to fail.
VKAPI_ATTR VkResult VKAPI_CALL CreateComputePipelines(VkDevice device, VkPipelineCache cache, uint32_t n,
                                                      const VkComputePipelineCreateInfo* create,
                                                      const VkAllocationCallbacks* callbacks,
                                                      VkPipeline* pipelines) {
  std::fill_n(pipelines, n, VkPipeline(VK_NULL_HANDLE));
  return PLAIN(CreateComputePipelines)(device, cache, n, create, callbacks, pipelines);
}

VKAPI_ATTR VkResult VKAPI_CALL CreateGraphicsPipelines(VkDevice device, VkPipelineCache cache, uint32_t n,
                                                       const VkGraphicsPipelineCreateInfo* create,
                                                       const VkAllocationCallbacks* callbacks,
                                                       VkPipeline* pipelines) {
  std::fill_n(pipelines, n, VkPipeline(VK_NULL_HANDLE));
  return PLAIN(CreateGraphicsPipelines)(device, cache, n, create, callbacks, pipelines);
}

VKAPI_ATTR VkResult VKAPI_CALL AllocateCommandBuffers(VkDevice device,
                                                      const VkCommandBufferAllocateInfo* allocation,
                                                      VkCommandBuffer* buffers) {
  std::fill_n(buffers, allocation->commandBufferCount, VkCommandBuffer(VK_NULL_HANDLE));
  return PLAIN(AllocateCommandBuffers)(device, allocation, buffers);
}

VKAPI_ATTR VkResult VKAPI_CALL AllocateDescriptorSets(VkDevice device,
                                                      const VkDescriptorSetAllocateInfo* allocation,
                                                      VkDescriptorSet* sets) {
  std::fill_n(sets, allocation->descriptorSetCount, VkDescriptorSet(VK_NULL_HANDLE));
  return PLAIN(AllocateDescriptorSets)(device, allocation, sets);
}

VKAPI_ATTR void VKAPI_CALL UpdateDescriptorSets(VkDevice device, uint32_t n,
                                                const VkWriteDescriptorSet* writes, uint32_t n_copies,
                                                const VkCopyDescriptorSet* copies) {
  for (uint32_t i = 0; i < n; ++i)
    if (writes[i].descriptorType == VK_DESCRIPTOR_TYPE_STORAGE_BUFFER ||
        writes[i].descriptorType == VK_DESCRIPTOR_TYPE_STORAGE_BUFFER_DYNAMIC)
      for (uint32_t j = 0; j < writes[i].descriptorCount; ++j) count_range(writes[i].pBufferInfo[j]);
  PLAIN(UpdateDescriptorSets)(device, n, writes, n_copies, copies);
}

VKAPI_ATTR void VKAPI_CALL DestroyDevice(VkDevice device, const VkAllocationCallbacks* callbacks) {
  if (!device) return;
  count(Call::DestroyDevice);
  std::unique_ptr<Device> table;
  {
    std::lock_guard lock(mutex);
    const auto found = devices.find(key_of(device));
    table = std::move(found->second);
    devices.erase(found);  // before the call, after which another device may get the same key
  }
  table->get<PFN_vkDestroyDevice>(Call::DestroyDevice)(device, callbacks);
}

}  // namespace

void add_device(std::unique_ptr<Device> device) {
  for (size_t i = 0; i < n_calls; ++i) {
    if (Call(i) == Call::CreateDevice) continue;  // not a device's call, and newer validation says so
    const std::string name = info(Call(i)).name;
    PFN_vkVoidFunction& next = device->next[i] = device->get_proc_addr(device->handle, name.c_str());
    if (!next) next = device->get_proc_addr(device->handle, (name + "KHR").c_str());
  }
  std::lock_guard lock(mutex);
  devices[key_of(device->handle)] = std::move(device);
}

Device& get_device(void* key) {
  std::lock_guard lock(mutex);
  return *devices.at(key);
}

PFN_vkVoidFunction device_hook(Call call) {
  switch (call) {
#define SPINDLE_X(name, kind) \
  case Call::name:            \
    return reinterpret_cast<PFN_vkVoidFunction>(PLAIN(name));
    SPINDLE_LAYER_PLAIN(SPINDLE_X)
#undef SPINDLE_X
#define SPINDLE_X(name, kind) \
  case Call::name:            \
    return reinterpret_cast<PFN_vkVoidFunction>(name);
    SPINDLE_LAYER_SPECIAL(SPINDLE_X)
#undef SPINDLE_X
    case Call::CreateDevice:
      break;
  }
  return nullptr;
}

}  // namespace spindle::test_layer
