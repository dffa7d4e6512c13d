// Device memory: one allocation a buffer; whoever needs many small tensors places them in one buffer.
#include "runtime/buffer.h"

#include <cassert>
#include <utility>
#include <vector>

#include "runtime/device.h"
#include "runtime/handles.h"

namespace spindle {
namespace {

// The memory type with all `wanted` properties that the buffer may use, or -1.
int find_memory_type(const VkPhysicalDeviceMemoryProperties& memory, uint32_t allowed,
                     VkMemoryPropertyFlags wanted) {
  for (uint32_t i = 0; i < memory.memoryTypeCount; i++)
    if ((allowed >> i & 1) && (memory.memoryTypes[i].propertyFlags & wanted) == wanted)
      return static_cast<int>(i);
  return -1;
}

}  // namespace

Buffer::Buffer(Device& device, uint64_t bytes, Memory memory, const char* purpose)
    : device_(&device), bytes_(align_tensor(bytes ? bytes : 1)) {
  DeviceHandles& h = device.handles();
  require(device.caps().has_memory, ErrorKind::no_device, "{} has no memory: it compiles, but cannot run",
          device.info().name);
  require(bytes_ <= device.caps().max_allocation_bytes, ErrorKind::out_of_memory,
          "{}: one allocation of {} bytes, the device allows {}", purpose, bytes_,
          device.caps().max_allocation_bytes);
  VkBufferCreateInfo create{VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO};
  create.size = bytes_;
  create.usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_SRC_BIT |
                 VK_BUFFER_USAGE_TRANSFER_DST_BIT | VK_BUFFER_USAGE_INDIRECT_BUFFER_BIT;
  vk(vkCreateBuffer(h.device, &create, nullptr, &buffer_), "vkCreateBuffer");
  VkMemoryRequirements need;
  vkGetBufferMemoryRequirements(h.device, buffer_, &need);

  constexpr VkMemoryPropertyFlags local = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT;
  constexpr VkMemoryPropertyFlags host =
      VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
  // On a discrete GPU the memory both sides see is small or behind the bus: large arrays stay out of it.
  const bool unified = device.info().type == DeviceType::cpu || device.info().type == DeviceType::integrated;
  std::vector<VkMemoryPropertyFlags> wishes;
  if (memory == Memory::shared) wishes = {local | host, host};
  else if (unified) wishes = {local | host, local, host};
  else wishes = {local, host};
  // A kind of memory may be full (256 MiB that both sides see, a small carve-out): then the next one serves.
  int type = -1;
  VkResult got = VK_ERROR_OUT_OF_DEVICE_MEMORY;
  for (VkMemoryPropertyFlags wish : wishes) {
    const int candidate = find_memory_type(h.memory, need.memoryTypeBits, wish);
    if (candidate < 0 || candidate == type) continue;
    type = candidate;
    VkMemoryAllocateInfo allocate{VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO};
    allocate.allocationSize = need.size;
    allocate.memoryTypeIndex = static_cast<uint32_t>(type);
    got = vkAllocateMemory(h.device, &allocate, nullptr, &memory_);
    if (got >= 0) break;
  }
  VkResult bound = got;
  if (got >= 0) bound = vkBindBufferMemory(h.device, buffer_, memory_, 0);
  if (bound >= 0 && type >= 0 && (h.memory.memoryTypes[type].propertyFlags & host) == host) {
    void* p = nullptr;
    bound = vkMapMemory(h.device, memory_, 0, VK_WHOLE_SIZE, 0, &p);
    mapped_ = static_cast<std::byte*>(p);
  }
  if (bound < 0) {
    const uint64_t asked = bytes_;
    bytes_ = 0;
    release();
    fail(ErrorKind::out_of_memory,
         "{}: {:.1f} MiB of device memory could not be had ({}; {:.1f} MiB free): try a smaller context (-c) "
         "or cache type (-ctk f16 -ctv f16)",
         purpose, static_cast<double>(asked) / (1 << 20), name_of(bound),
         static_cast<double>(device.free_bytes()) / (1 << 20));
  }
  device.allocated_bytes_ += bytes_;
}

Buffer::~Buffer() { release(); }

void Buffer::release() {
  if (!device_) return;
  const VkDevice vkd = device_->handles().device;
  vkDestroyBuffer(vkd, buffer_, nullptr);
  vkFreeMemory(vkd, memory_, nullptr);  // unmaps
  device_->allocated_bytes_ -= bytes_;
  device_ = nullptr;
  buffer_ = VK_NULL_HANDLE;
  memory_ = VK_NULL_HANDLE;
  mapped_ = nullptr;
  bytes_ = 0;
}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  if (this == &other) return *this;
  release();
  device_ = std::exchange(other.device_, nullptr);
  buffer_ = std::exchange(other.buffer_, VK_NULL_HANDLE);
  memory_ = std::exchange(other.memory_, VK_NULL_HANDLE);
  mapped_ = std::exchange(other.mapped_, nullptr);
  bytes_ = std::exchange(other.bytes_, 0);
  return *this;
}

Tensor Tensor::slice(uint32_t first, uint32_t count) const {
  assert(first + count <= rows);
  Tensor t = *this;
  t.offset_bytes += bytes_of(dtype, static_cast<uint64_t>(first) * cols);
  t.rows = count;
  assert(t.offset_bytes % kTensorAlignment == 0);
  return t;
}

}  // namespace spindle
