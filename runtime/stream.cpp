// Recording: hazards from reflected access, descriptor sets, cost-bounded parts; submission and waiting.
#include "runtime/stream.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstring>

#include "runtime/handles.h"

namespace spindle {
namespace {

constexpr uint32_t kSetsPerPool = 256, kDescriptorsPerSet = 12;

constexpr VkPipelineStageFlags kDeviceStages = VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT |
                                               VK_PIPELINE_STAGE_TRANSFER_BIT |
                                               VK_PIPELINE_STAGE_DRAW_INDIRECT_BIT;
constexpr VkAccessFlags kWrites = VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT;
constexpr VkAccessFlags kAll =
    kWrites | VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_INDIRECT_COMMAND_READ_BIT;

}  // namespace

Stream::Stream(Device& device) : device_(device) {
  VkSemaphoreTypeCreateInfo type{VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO};
  type.semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE;
  VkSemaphoreCreateInfo create{VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO, &type};
  vk(vkCreateSemaphore(device.handles().device, &create, nullptr, &timeline_), "vkCreateSemaphore");
}

Stream::~Stream() {
  drain();
  recording_ = {};
  vkDestroySemaphore(device_.handles().device, timeline_, nullptr);
}

void Stream::begin(bool profile) {
  recording_ = {};  // what an error left unfinished
  recording_now_ = false;
  recording_.device_ = &device_;
  recording_.profiled_ = profile && device_.caps().timestamps;
  VkCommandPoolCreateInfo pool{VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO};
  pool.queueFamilyIndex = device_.handles().queue_family;
  vk(vkCreateCommandPool(device_.handles().device, &pool, nullptr, &recording_.pool_), "vkCreateCommandPool");
  sets_left_ = 0;
  open_part();
  recording_now_ = explicit_ = true;
}

Recording Stream::end() {
  assert(recording_now_);
  close_part();
  recording_now_ = false;
  return std::move(recording_);
}

void Stream::open_part() {
  VkCommandBufferAllocateInfo allocate{VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO};
  allocate.commandPool = recording_.pool_;
  allocate.commandBufferCount = 1;
  VkCommandBuffer buffer = VK_NULL_HANDLE;
  vk(vkAllocateCommandBuffers(device_.handles().device, &allocate, &buffer), "vkAllocateCommandBuffers");
  recording_.parts_.push_back(buffer);
  VkCommandBufferBeginInfo begin{VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
  begin.flags = VK_COMMAND_BUFFER_USAGE_SIMULTANEOUS_USE_BIT;  // replays may overlap
  vk(vkBeginCommandBuffer(buffer, &begin), "vkBeginCommandBuffer");
  if (planted_ != Planted::between_submits) barrier();  // after the previous replay and other submits
  bound_ = nullptr;
  part_cost_ = 0;
  pending_.clear();
}

void Stream::close_part() {
  // Everything becomes visible to the next submit and to the host.
  if (planted_ != Planted::between_submits) {
    VkMemoryBarrier all{VK_STRUCTURE_TYPE_MEMORY_BARRIER, nullptr, kWrites, kAll | VK_ACCESS_HOST_READ_BIT};
    vkCmdPipelineBarrier(commands(), kDeviceStages, kDeviceStages | VK_PIPELINE_STAGE_HOST_BIT, 0, 1, &all, 0,
                         nullptr, 0, nullptr);
  }
  vk(vkEndCommandBuffer(commands()), "vkEndCommandBuffer");
  recording_.largest_cost_ = std::max(recording_.largest_cost_, part_cost_);
}

void Stream::barrier() {
  VkMemoryBarrier all{VK_STRUCTURE_TYPE_MEMORY_BARRIER, nullptr, kWrites, kAll};
  vkCmdPipelineBarrier(commands(), kDeviceStages, kDeviceStages, 0, 1, &all, 0, nullptr, 0, nullptr);
  recording_.n_barriers_++;
  pending_.clear();
}

// One hazard rule: two accesses to the same bytes, one of them a write, need a barrier between them.
void Stream::access(std::span<const Access> accesses) {
  const auto conflict = [&](const Access& a) {
    return std::any_of(pending_.begin(), pending_.end(), [&](const Access& p) {
      return p.buffer == a.buffer && p.begin < a.end && a.begin < p.end && (p.write || a.write);
    });
  };
  if (planted_ != Planted::inside && std::any_of(accesses.begin(), accesses.end(), conflict)) barrier();
  pending_.insert(pending_.end(), accesses.begin(), accesses.end());
}

void Stream::reserve(double cost) {
  if (!recording_now_) {
    begin();
    explicit_ = false;
  }
  if (part_cost_ > 0 && part_cost_ + cost > device_.cost_bound()) {
    close_part();
    open_part();
  }
  part_cost_ += cost;
}

VkDescriptorSet Stream::descriptor_set(const Kernel& kernel, std::span<const Tensor> tensors) {
  const VkDevice vkd = device_.handles().device;
  if (sets_left_ == 0) {
    const VkDescriptorPoolSize size{VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, kSetsPerPool * kDescriptorsPerSet};
    VkDescriptorPoolCreateInfo create{VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO};
    create.maxSets = kSetsPerPool;
    create.poolSizeCount = 1;
    create.pPoolSizes = &size;
    VkDescriptorPool pool = VK_NULL_HANDLE;
    vk(vkCreateDescriptorPool(vkd, &create, nullptr, &pool), "vkCreateDescriptorPool");
    recording_.descriptor_pools_.push_back(pool);
    sets_left_ = kSetsPerPool;
  }
  sets_left_--;
  VkDescriptorSetAllocateInfo allocate{VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO};
  allocate.descriptorPool = recording_.descriptor_pools_.back();
  allocate.descriptorSetCount = 1;
  const VkDescriptorSetLayout layout = kernel.set_layout();
  allocate.pSetLayouts = &layout;
  VkDescriptorSet set = VK_NULL_HANDLE;
  vk(vkAllocateDescriptorSets(vkd, &allocate, &set), "vkAllocateDescriptorSets");

  VkDescriptorBufferInfo buffers[kDescriptorsPerSet];
  VkWriteDescriptorSet writes[kDescriptorsPerSet];
  uint32_t n = 0;
  // What is left out is never accessed, but validation takes it for accessed: a binding that is written
  // stands on another one that is (its hazards are known), one that is read on memory that nobody writes.
  Tensor written;
  for (const BindingReflection& b : kernel.reflection().bindings)
    if (b.writes && tensors[b.index]) written = tensors[b.index];
  for (const BindingReflection& b : kernel.reflection().bindings) {
    const Tensor& t = tensors[b.index] || !b.writes ? tensors[b.index] : written;
    if (t) {
      assert(t.offset_bytes % kTensorAlignment == 0);
      require(t.bytes() <= device_.caps().max_binding_bytes,
              "{}: binding {} has {} bytes, the device allows {}", kernel.name(), b.index, t.bytes(),
              device_.caps().max_binding_bytes);
      buffers[n] = {t.buffer->handle(), t.offset_bytes, (t.bytes() + 3) / 4 * 4};
    } else {
      buffers[n] = {device_.placeholder().handle(), 0, VK_WHOLE_SIZE};
    }
    writes[n] = {VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET};
    writes[n].dstSet = set;
    writes[n].dstBinding = b.index;
    writes[n].descriptorCount = 1;
    writes[n].descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER;
    writes[n].pBufferInfo = &buffers[n];
    n++;
  }
  vkUpdateDescriptorSets(vkd, n, writes, 0, nullptr);
  return set;
}

void Stream::bind(const Kernel& kernel, std::span<const Tensor> tensors, Bytes parameters) {
  const Reflection& r = kernel.reflection();
  require(r.bindings.size() <= kDescriptorsPerSet &&
              (r.bindings.empty() || r.bindings.back().index < tensors.size()),
          "{}: {} tensors given, but the shader binds {}", kernel.name(), tensors.size(),
          r.bindings.empty() ? 0 : r.bindings.back().index);
  require(
      r.push_constant_bytes == parameters.size() || (r.push_constant_bytes == 0 && parameters.size() <= 1),
      "{}: {} bytes of parameters given, the shader reads {}", kernel.name(), parameters.size(),
      r.push_constant_bytes);
  const VkDescriptorSet set = descriptor_set(kernel, tensors);
  if (bound_ != &kernel) vkCmdBindPipeline(commands(), VK_PIPELINE_BIND_POINT_COMPUTE, kernel.pipeline());
  bound_ = &kernel;
  vkCmdBindDescriptorSets(commands(), VK_PIPELINE_BIND_POINT_COMPUTE, kernel.layout(), 0, 1, &set, 0,
                          nullptr);
  if (r.push_constant_bytes)
    vkCmdPushConstants(commands(), kernel.layout(), VK_SHADER_STAGE_COMPUTE_BIT, 0, r.push_constant_bytes,
                       parameters.data());

  Access accesses[kDescriptorsPerSet];
  uint32_t n = 0;
  for (const BindingReflection& b : r.bindings) {
    const Tensor& t = tensors[b.index];
    if (t) accesses[n++] = {t.buffer->handle(), t.offset_bytes, t.offset_bytes + t.bytes(), b.writes};
  }
  access({accesses, n});
}

void Stream::stamp(const char* name, Work work, auto&& record) {
  if (recording_.profiled_) {
    const auto i = static_cast<uint32_t>(recording_.stamps_.size());
    if (i % kQueriesPerPool == 0) {
      VkQueryPoolCreateInfo create{VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO};
      create.queryType = VK_QUERY_TYPE_TIMESTAMP;
      create.queryCount = kQueriesPerPool * 2;
      VkQueryPool pool = VK_NULL_HANDLE;
      vk(vkCreateQueryPool(device_.handles().device, &create, nullptr, &pool), "vkCreateQueryPool");
      recording_.query_pools_.push_back(pool);
    }
    const uint32_t first = i % kQueriesPerPool * 2;
    const VkQueryPool pool = recording_.query_pools_.back();
    vkCmdResetQueryPool(commands(), pool, first, 2);
    barrier();  // so that each dispatch is timed alone
    vkCmdWriteTimestamp(commands(), VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, pool, first);
    // Where pictures are drawn too, llvmpipe takes the time with the next barrier only, which costs some 60
    // us.
    if (device_.draws) barrier();
    record();
    vkCmdWriteTimestamp(commands(), VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, pool, first + 1);
  } else {
    record();
  }
  recording_.stamps_.push_back({name, work});
  recording_.n_dispatches_++;
}

void Stream::dispatch_bytes(const KernelSpec& spec, std::span<const Tensor> tensors, Bytes parameters,
                            Grid grid, Work work) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  if (noted_) return noted_->push_back(spec);
  const Kernel& kernel = device_.kernel(spec);
  // Cut the grid in half along its longest side until each piece is within the bound and the limits.
  const double total = static_cast<double>(grid.x) * grid.y * grid.z;
  const double bound = device_.cost_bound();
  const uint32_t* most = device_.caps().max_workgroup_count;
  struct Piece {
    uint32_t at[3], n[3];
  };
  std::vector<Piece> todo = {{{0, 0, 0}, {grid.x, grid.y, grid.z}}};
  bool first = true;
  while (!todo.empty()) {
    Piece p = todo.back();
    todo.pop_back();
    const double share = static_cast<double>(p.n[0]) * p.n[1] * p.n[2] / total;
    const int longest = static_cast<int>(std::max_element(p.n, p.n + 3) - p.n);
    const bool too_large = p.n[0] > most[0] || p.n[1] > most[1] || p.n[2] > most[2];
    if ((too_large || work.cost() * share > bound) && p.n[longest] > 1) {
      Piece q = p;
      p.n[longest] /= 2;
      q.at[longest] += p.n[longest];
      q.n[longest] -= p.n[longest];
      todo.push_back(q);
      todo.push_back(p);
      continue;
    }
    const Work piece{work.operations * share, work.bytes * share};
    const size_t n_parts = recording_.parts_.size();
    reserve(piece.cost());
    if (first || recording_.parts_.size() != n_parts) bind(kernel, tensors, parameters);
    first = false;
    stamp(kernel.name(), piece, [&] {
      if (p.at[0] || p.at[1] || p.at[2])
        vkCmdDispatchBase(commands(), p.at[0], p.at[1], p.at[2], p.n[0], p.n[1], p.n[2]);
      else vkCmdDispatch(commands(), p.n[0], p.n[1], p.n[2]);
    });
  }
}

void Stream::indirect_bytes(const KernelSpec& spec, std::span<const Tensor> tensors, Bytes parameters,
                            Tensor arguments, Work work) {
  if (noted_) return noted_->push_back(spec);
  const Kernel& kernel = device_.kernel(spec);
  assert(arguments.bytes() >= 12);
  reserve(work.cost());
  if (planted_ != Planted::indirect) {
    const Access read{arguments.buffer->handle(), arguments.offset_bytes, arguments.offset_bytes + 12, false};
    access({&read, 1});
  }
  bind(kernel, tensors, parameters);
  stamp(kernel.name(), work,
        [&] { vkCmdDispatchIndirect(commands(), arguments.buffer->handle(), arguments.offset_bytes); });
}

void Stream::copy(Tensor to, Tensor from) {
  assert(to.bytes() == from.bytes());
  if (noted_) return;
  const Work work{0, 2.0 * static_cast<double>(to.bytes())};
  reserve(work.cost());
  const Access accesses[] = {
      {from.buffer->handle(), from.offset_bytes, from.offset_bytes + from.bytes(), false},
      {to.buffer->handle(), to.offset_bytes, to.offset_bytes + to.bytes(), true}};
  access(accesses);
  stamp("copy", work, [&] {
    const VkBufferCopy region{from.offset_bytes, to.offset_bytes, to.bytes()};
    vkCmdCopyBuffer(commands(), from.buffer->handle(), to.buffer->handle(), 1, &region);
  });
}

void Stream::fill(Tensor to, uint32_t word) {
  if (noted_ || to.bytes() == 0) return;  // Vulkan allows no empty fill
  const Work work{0, static_cast<double>(to.bytes())};
  reserve(work.cost());
  const Access write{to.buffer->handle(), to.offset_bytes, to.offset_bytes + to.bytes(), true};
  access({&write, 1});
  stamp("fill", work, [&] {
    vkCmdFillBuffer(commands(), to.buffer->handle(), to.offset_bytes, (to.bytes() + 3) / 4 * 4, word);
  });
}

void Stream::compile(const std::function<void()>& record) {
  std::vector<KernelSpec> specs;
  noted_ = &specs;
  try {
    record();
  } catch (...) {
    noted_ = nullptr;
    throw;
  }
  noted_ = nullptr;
  device_.compile(std::move(specs));
}

uint64_t Stream::submit(const Recording& recording) {
  DeviceHandles& h = device_.handles();
  largest_cost_ = std::max(largest_cost_, recording.largest_cost());
  std::lock_guard lock(h.queue_mutex);
  for (const VkCommandBuffer& part : recording.parts_) {
    const uint64_t value = ++ticket_;
    VkTimelineSemaphoreSubmitInfo timeline{VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO};
    timeline.signalSemaphoreValueCount = 1;
    timeline.pSignalSemaphoreValues = &value;
    VkSubmitInfo info{VK_STRUCTURE_TYPE_SUBMIT_INFO, &timeline};
    info.commandBufferCount = 1;
    info.pCommandBuffers = &part;
    info.signalSemaphoreCount = 1;
    info.pSignalSemaphores = &timeline_;
    const VkResult result = vkQueueSubmit(h.queue, 1, &info, VK_NULL_HANDLE);
    if (result < 0) ticket_--;  // never signalled
    vk(result, "vkQueueSubmit");
    n_submits_++;
  }
  return ticket_;
}

void Stream::wait(uint64_t ticket) {
  if (ticket == 0) return;
  VkSemaphoreWaitInfo info{VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO};
  info.semaphoreCount = 1;
  info.pSemaphores = &timeline_;
  info.pValues = &ticket;
  vk(vkWaitSemaphores(device_.handles().device, &info, UINT64_MAX), "vkWaitSemaphores");
}

void Stream::drain() noexcept {
  VkSemaphoreWaitInfo info{VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO};
  info.semaphoreCount = 1;
  info.pSemaphores = &timeline_;
  info.pValues = &ticket_;
  if (ticket_) vkWaitSemaphores(device_.handles().device, &info, UINT64_MAX);
}

bool Stream::done(uint64_t ticket) const {
  uint64_t value = 0;
  vk(vkGetSemaphoreCounterValue(device_.handles().device, timeline_, &value), "vkGetSemaphoreCounterValue");
  return value >= ticket;
}

void Stream::run() {
  if (!recording_now_) return;
  assert(!explicit_);
  const Recording recording = end();
  wait(submit(recording));
}

std::vector<Timing> Stream::profile_run(bool by_work) {
  assert(recording_now_);
  const Recording recording = end();
  wait(submit(recording));
  return recording.timings(by_work);
}

void Stream::upload(Tensor to, std::span<const std::byte> from) {
  assert(from.size() <= to.bytes());
  if (to.buffer->mapped()) {
    wait();  // nothing may still be reading it
    std::memcpy(to.buffer->mapped() + to.offset_bytes, from.data(), from.size());
    return;
  }
  Stream own(device_);
  constexpr uint64_t chunk = 16 << 20;
  const Buffer staging(device_, std::min<uint64_t>(chunk, from.size()), Memory::shared, "staging");
  for (uint64_t at = 0; at < from.size(); at += chunk) {
    const uint64_t n = std::min<uint64_t>(chunk, from.size() - at);
    std::memcpy(staging.mapped(), from.data() + at, n);
    const auto words = static_cast<uint32_t>((n + 3) / 4);
    own.copy(Tensor(*to.buffer, DType::u32, 1, words, to.offset_bytes + at),
             Tensor(staging, DType::u32, 1, words));
    own.run();
  }
}

void Stream::download(std::span<std::byte> to, Tensor from) {
  assert(to.size() <= from.bytes());
  wait();
  if (from.buffer->mapped()) {
    std::memcpy(to.data(), from.buffer->mapped() + from.offset_bytes, to.size());
    return;
  }
  const Buffer staging(device_, to.size(), Memory::shared, "staging");
  const auto words = static_cast<uint32_t>((to.size() + 3) / 4);
  Stream own(device_);
  own.copy(Tensor(staging, DType::u32, 1, words),
           Tensor(*from.buffer, DType::u32, 1, words, from.offset_bytes));
  own.run();
  std::memcpy(to.data(), staging.mapped(), to.size());
}

}  // namespace spindle
