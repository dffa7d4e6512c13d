// The sums, and what to try when they are too large.
#include "models/memory_plan.h"

#include <algorithm>

#include "models/utf8.h"
#include "runtime/error.h"

namespace spindle {

MemoryPlan::MemoryPlan(const Caps& caps, const Gguf& file)
    : caps_(caps),
      file_(printable(file.file(), 4096)),
      config_(load_config(file)),
      layers_(layers_of(get_architecture(config_.architecture), config_)),
      weight_bytes_(Weights::bytes_needed(caps, file, config_, get_architecture(config_.architecture))) {
  if (!get_architecture(config_.architecture).ends(config_).position_embedding.empty())
    max_context_ = config_.context_length;
}

MemoryNeed MemoryPlan::need(const SessionOptions& options) const {
  SessionOptions o = options;
  if (o.context == 0) o.context = config_.context_length;
  MemoryNeed need = Session::memory_needed(caps_, config_, layers_, o);
  need.weights = weight_bytes_;
  return need;
}

uint32_t MemoryPlan::largest_context(const SessionOptions& options, uint64_t free_bytes) const {
  return std::min(Session::largest_context(caps_, config_, layers_, options, weight_bytes_, free_bytes),
                  max_context_);
}

void MemoryPlan::require_fits(const SessionOptions& options, uint64_t free_bytes,
                              const std::string& where) const {
  if (free_bytes == 0) return;
  SessionOptions o = options;
  if (o.context == 0) o.context = std::min(256u, config_.context_length);  // the least that a session takes
  const MemoryNeed n = need(o);
  if (n.total() <= free_bytes) return;
  std::string advice;
  const auto or_try = [&](const std::string& what) { advice += (advice.empty() ? "" : " or ") + what; };
  if (const uint32_t fits = largest_context(o, free_bytes)) or_try("-c " + human_context(fits));
  for (DType type : kCacheTypes) {
    SessionOptions smaller = o;
    smaller.k_type = smaller.v_type = type;
    const MemoryNeed less = need(smaller);
    if (less.cache >= n.cache || less.total() > free_bytes) continue;
    or_try(fmt::format("-ctk {0} -ctv {0}", info(type).name));
    break;
  }
  if (advice.empty()) advice = "a smaller model or a smaller quantisation";
  fail(ErrorKind::out_of_memory,
       "{}: needs {} (weights {}, cache of {} positions {}, activations and scratch {}), {} free on {}: try "
       "{}",
       file_, human_bytes(n.total()), human_bytes(n.weights), o.context, human_bytes(n.cache),
       human_bytes(n.activations + n.scratch + n.state), human_bytes(free_bytes), where, advice);
}

std::string human_bytes(uint64_t bytes) {
  if (bytes < 1024) return fmt::format("{} B", bytes);
  double value = static_cast<double>(bytes) / 1024;
  const char* const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  size_t unit = 0;
  for (; value >= 1024 && unit < 5; unit++) value /= 1024;
  return fmt::format("{:.1f} {}", value, units[unit]);
}

std::string human_context(uint32_t positions) {
  return positions < 1024 ? std::to_string(positions) : fmt::format("{}k", positions / 1024);
}

}  // namespace spindle
