// What the files of the layer share: the intercepted calls, settings and counts, the next functions.
#ifndef SPINDLE_TESTS_LAYER_STATE_H
#define SPINDLE_TESTS_LAYER_STATE_H
#include <vulkan/vk_layer.h>

#include <array>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "tests/layer/layer.h"

// clang-format off
// Device calls whose hook only counts and perhaps fails. X(name, kind), 0: cannot fail.
#define SPINDLE_LAYER_PLAIN(X)                                                                           \
  X(CmdBindPipeline, 0) X(CmdBindDescriptorSets, 0) X(CmdPushConstants, 0) X(CmdPushDescriptorSetKHR, 0) \
  X(CmdDispatch, 0) X(CmdDispatchBase, 0) X(CmdDispatchIndirect, 0) X(CmdExecuteCommands, 0)             \
  X(CmdPipelineBarrier, 0) X(CmdPipelineBarrier2, 0)                                                     \
  X(CmdSetEvent, 0) X(CmdSetEvent2, 0) X(CmdResetEvent, 0) X(CmdResetEvent2, 0) X(CmdWaitEvents, 0)      \
  X(CmdWaitEvents2, 0)                                                                                   \
  X(CmdCopyBuffer, 0) X(CmdCopyBuffer2, 0) X(CmdFillBuffer, 0) X(CmdUpdateBuffer, 0)                     \
  X(CmdCopyImage, 0) X(CmdCopyBufferToImage, 0) X(CmdCopyImageToBuffer, 0) X(CmdClearColorImage, 0)      \
  X(CmdResetQueryPool, 0) X(CmdBeginQuery, 0) X(CmdEndQuery, 0) X(CmdCopyQueryPoolResults, 0)            \
  X(CmdWriteTimestamp, 0) X(CmdWriteTimestamp2, 0)                                                       \
  X(CreateShaderModule, kind_create) X(CreateDescriptorSetLayout, kind_create)                           \
  X(CreatePipelineLayout, kind_create) X(CreatePipelineCache, kind_create)                               \
  X(CreateDescriptorPool, kind_create) X(CreateCommandPool, kind_create) X(CreateQueryPool, kind_create) \
  X(CreateFence, kind_create) X(CreateSemaphore, kind_create) X(CreateEvent, kind_create)                \
  X(CreateImage, kind_create) X(CreateImageView, kind_create)                                            \
  X(MapMemory, kind_map) X(BindBufferMemory, kind_map) X(BindBufferMemory2, kind_map)                    \
  X(FlushMappedMemoryRanges, kind_map) X(InvalidateMappedMemoryRanges, kind_map)                         \
  X(BeginCommandBuffer, kind_record) X(EndCommandBuffer, kind_record) X(ResetCommandBuffer, kind_record) \
  X(ResetCommandPool, kind_record) X(ResetDescriptorPool, kind_record) X(ResetFences, kind_record)       \
  X(QueueSubmit, kind_submit) X(QueueSubmit2, kind_submit)                                               \
  X(WaitForFences, kind_wait) X(GetFenceStatus, kind_wait) X(WaitSemaphores, kind_wait)                  \
  X(GetSemaphoreCounterValue, kind_wait) X(QueueWaitIdle, kind_wait) X(DeviceWaitIdle, kind_wait)        \
  X(GetQueryPoolResults, kind_wait)                                                                      \
  X(AcquireNextImageKHR, kind_present) X(QueuePresentKHR, kind_present)

// Device calls with a hook of their own in device.cpp.
#define SPINDLE_LAYER_SPECIAL(X)                                                                     \
  X(AllocateMemory, kind_allocate) X(FreeMemory, 0) X(CreateBuffer, kind_create) X(DestroyBuffer, 0) \
  X(CreateComputePipelines, kind_pipeline) X(CreateGraphicsPipelines, kind_pipeline)                 \
  X(AllocateCommandBuffers, kind_pool) X(AllocateDescriptorSets, kind_pool)                          \
  X(UpdateDescriptorSets, 0) X(DestroyDevice, 0)
// clang-format on

namespace spindle::test_layer {

enum class Call : uint32_t {
#define SPINDLE_X(name, kind) name,
  SPINDLE_LAYER_PLAIN(SPINDLE_X) SPINDLE_LAYER_SPECIAL(SPINDLE_X) CreateDevice,  // CreateDevice: in layer.cpp
#undef SPINDLE_X
};
constexpr size_t n_calls = size_t(Call::CreateDevice) + 1;

struct CallInfo {
  const char* name;
  uint32_t kind;
};
const CallInfo& info(Call call);
std::optional<Call> find_call(std::string_view name);  // "vkCmdDispatch", "vkCmdDispatchBaseKHR"

// ---- settings and counts (control.cpp)
void count(Call call);
std::optional<VkResult> find_fault(Call call);  // counts a fallible call; a value: fail with it
Settings settings();                            // `hide` is empty: ask is_hidden
bool is_hidden(std::string_view name);
void count_allocation(VkDeviceMemory memory, uint64_t size_bytes, std::optional<bool> poisoned);
void count_free(VkDeviceMemory memory);
void count_buffer(VkBuffer buffer, uint64_t size_bytes);
void count_destroyed(VkBuffer buffer);
void count_range(const VkDescriptorBufferInfo& range);

// Features by field name: where `name` lies in a structure of type `type`.
struct Feature {
  const char* name;
  VkStructureType type;
  size_t offset;
};
std::span<const Feature> features();

// ---- the next layer's functions
struct Device {
  VkDevice handle;
  PFN_vkGetDeviceProcAddr get_proc_addr;
  VkPhysicalDeviceMemoryProperties memory;
  std::array<PFN_vkVoidFunction, n_calls> next;

  template <class F>
  F get(Call call) const {
    return reinterpret_cast<F>(next[size_t(call)]);
  }
};

// A device, its queues and its command buffers share their first word, as do an instance and its adapters.
template <class Handle>
void* key_of(Handle handle) {
  return *reinterpret_cast<void**>(handle);
}
void add_device(std::unique_ptr<Device> device);
Device& get_device(void* key);

PFN_vkVoidFunction device_hook(Call call);

}  // namespace spindle::test_layer
#endif
