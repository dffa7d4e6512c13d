// Lifetime of a recording, and its timings.
#include "runtime/recording.h"

#include <map>
#include <utility>

#include "runtime/device.h"
#include "runtime/handles.h"
#include "runtime/stream.h"

namespace spindle {

Recording& Recording::operator=(Recording&& other) noexcept {
  if (this == &other) return *this;
  release();
  device_ = std::exchange(other.device_, nullptr);
  pool_ = std::exchange(other.pool_, VK_NULL_HANDLE);
  parts_ = std::exchange(other.parts_, {});
  descriptor_pools_ = std::exchange(other.descriptor_pools_, {});
  query_pools_ = std::exchange(other.query_pools_, {});
  stamps_ = std::exchange(other.stamps_, {});
  profiled_ = other.profiled_;
  n_dispatches_ = other.n_dispatches_;
  n_barriers_ = other.n_barriers_;
  largest_cost_ = other.largest_cost_;
  return *this;
}

void Recording::release() {
  if (!device_) return;
  const VkDevice vkd = device_->handles().device;
  for (VkDescriptorPool pool : descriptor_pools_) vkDestroyDescriptorPool(vkd, pool, nullptr);
  for (VkQueryPool pool : query_pools_) vkDestroyQueryPool(vkd, pool, nullptr);
  vkDestroyCommandPool(vkd, pool_, nullptr);  // frees the command buffers
  descriptor_pools_.clear();
  query_pools_.clear();
  parts_.clear();
  pool_ = VK_NULL_HANDLE;
  device_ = nullptr;
}

Work Recording::work() const {
  Work sum;
  for (const Stamp& s : stamps_) sum += s.work;
  return sum;
}

std::vector<Timing> Recording::timings(bool by_work) const {
  std::vector<Timing> list;
  if (!profiled_ || !device_) return list;
  std::map<std::pair<std::string, Work>, size_t> index;
  for (size_t i = 0; i < stamps_.size(); i++) {
    uint64_t t[2] = {};
    const auto pool = query_pools_[i / Stream::kQueriesPerPool];
    const auto first = static_cast<uint32_t>(i % Stream::kQueriesPerPool) * 2;
    if (vkGetQueryPoolResults(device_->handles().device, pool, first, 2, sizeof t, t, 8,
                              VK_QUERY_RESULT_64_BIT) != VK_SUCCESS)
      continue;
    const auto [it, fresh] =
        index.try_emplace({stamps_[i].name, by_work ? stamps_[i].work : Work{}}, list.size());
    if (fresh) list.push_back({stamps_[i].name, 0, 0, {}});
    Timing& timing = list[it->second];
    timing.ns +=
        static_cast<uint64_t>(static_cast<double>(t[1] - t[0]) * device_->caps().timestamp_period_ns);
    timing.dispatches++;
    timing.work += stamps_[i].work;
  }
  return list;
}

}  // namespace spindle
