// The layer's settings and counts, reached by function, by environment, and by a report at exit.
#include <dlfcn.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <set>
#include <unordered_map>

#include "tests/layer/state.h"

#define SPINDLE_EXPORT __attribute__((visibility("default")))

namespace spindle::test_layer {

namespace {

constexpr std::array<CallInfo, n_calls> calls{{
#define SPINDLE_X(name, kind) {"vk" #name, kind},
    SPINDLE_LAYER_PLAIN(SPINDLE_X) SPINDLE_LAYER_SPECIAL(SPINDLE_X){"vkCreateDevice", kind_create},
#undef SPINDLE_X
}};

// A setting that silently does nothing would make a test pass for the wrong reason.
[[noreturn]] void refuse(const char* what, const std::string& value) {
  std::fprintf(stderr, "VK_LAYER_SPINDLE_test: %s: '%s'\n", what, value.c_str());
  std::abort();
}

uint64_t number(const char* variable) {
  const char* text = std::getenv(variable);
  if (!text) return 0;
  char* end = nullptr;
  errno = 0;
  const uint64_t value = std::strtoull(text, &end, 10);
  if (errno || end == text || *end) refuse(variable, text);
  return value;
}

std::string environment(const char* variable) {
  const char* text = std::getenv(variable);
  return text ? text : "";
}

// The lists joined by a colon; one that is empty, or an element of the other, adds nothing.
std::string join(const std::string& a, const std::string& b) {
  if (a.empty() || (":" + b + ":").find(":" + a + ":") != std::string::npos) return b;
  if (b.empty() || (":" + a + ":").find(":" + b + ":") != std::string::npos) return a;
  return a + ":" + b;
}

// Each is among the results that the specification allows for the call.
VkResult usual_failure(Call call) {
  if (call == Call::MapMemory) return VK_ERROR_MEMORY_MAP_FAILED;
  switch (info(call).kind) {
    case kind_submit:
    case kind_wait:
      return VK_ERROR_DEVICE_LOST;
    case kind_present:
      return VK_ERROR_SURFACE_LOST_KHR;
    case kind_allocate:
      return VK_ERROR_OUT_OF_DEVICE_MEMORY;
    default:
      return VK_ERROR_OUT_OF_HOST_MEMORY;
  }
}

struct Buffer {
  uint64_t size_bytes = 0, largest_range_bytes = 0;
  std::set<uint64_t> offsets;
};

class State {
 public:
  State();
  ~State();  // when the process ends, or the loader lets go of a library that nobody else holds

  void set(const Settings& settings);
  Counts counts();

  std::mutex mutex;
  std::array<std::atomic<uint64_t>, n_calls> n{};
  Settings settings;
  std::set<std::string, std::less<>> hidden;
  Counts base{};                // what is not derived from n or buffers
  uint64_t retired_ranges = 0;  // distinct ranges of destroyed buffers, whose handles may return
  std::unordered_map<VkDeviceMemory, uint64_t> live;
  std::unordered_map<VkBuffer, Buffer> buffers;
};

State state;

State::State() {
  base.last_failed = "";
  Settings s;
  if (const char* text = std::getenv("SPINDLE_LAYER_FAIL")) {
    unsigned long long at = 0;
    int result = 0;
    char forever[16] = "";
    if (std::sscanf(text, "%llu:%d:%15s", &at, &result, forever) < 1 ||
        (*forever && std::strcmp(forever, "forever") != 0))
      refuse("SPINDLE_LAYER_FAIL", text);
    s.fail_at = at;
    s.fail_result = VkResult(result);
    s.fail_forever = *forever != 0;
  }
  if (std::getenv("SPINDLE_LAYER_KINDS")) s.fail_kinds = uint32_t(number("SPINDLE_LAYER_KINDS"));
  s.poison = number("SPINDLE_LAYER_POISON") != 0;
  s.max_storage_range_bytes = uint32_t(number("SPINDLE_LAYER_MAX_RANGE"));
  s.max_allocation_bytes = number("SPINDLE_LAYER_MAX_ALLOCATION");
  s.max_shared_memory_bytes = uint32_t(number("SPINDLE_LAYER_MAX_SHARED"));
  s.storage_alignment_bytes = uint32_t(number("SPINDLE_LAYER_ALIGNMENT"));
  if (const char* text = std::getenv("SPINDLE_LAYER_HIDE")) s.hide = text;
  set(s);
}

State::~State() {
  const char* path = std::getenv("SPINDLE_LAYER_REPORT");
  std::FILE* file = path ? std::fopen(path, "w") : nullptr;
  if (path && !file) std::perror("SPINDLE_LAYER_REPORT");
  if (!file) return;
  const Counts c = counts();
  const auto line = [file](const char* name, uint64_t value) {
    std::fprintf(file, "  \"%s\": %llu,\n", name, (unsigned long long)value);
  };
  std::fprintf(file, "{\n");
  line("commands", c.commands);
  line("dispatches", c.dispatches);
  line("begun", c.begun);
  line("submits", c.submits);
  line("fallible", c.fallible);
  line("failed", c.failed);
  line("allocations", c.allocations);
  line("live_allocations", c.live_allocations);
  line("live_bytes", c.live_bytes);
  line("peak_bytes", c.peak_bytes);
  line("largest_allocation_bytes", c.largest_allocation_bytes);
  line("poisoned", c.poisoned);
  line("not_poisoned", c.not_poisoned);
  line("distinct_ranges", c.distinct_ranges);
  line("largest_range_bytes", c.largest_range_bytes);
  line("ranges_over_limit", c.ranges_over_limit);
  for (size_t i = 0; i < n_calls; ++i)
    if (n[i]) line(calls[i].name, n[i]);
  std::fprintf(file, "  \"last_failed\": \"%s\"\n}\n", c.last_failed);
  std::fclose(file);
}

void State::set(const Settings& s) {
  std::set<std::string, std::less<>> names;
  for (const char* text = s.hide; *text;) {
    const size_t length = std::strcspn(text, ",");
    std::string name(text, length);
    const bool known = name.starts_with("VK_") ||
                       std::ranges::any_of(features(), [&](const Feature& f) { return f.name == name; });
    if (!known) refuse("cannot hide", name);
    names.insert(std::move(name));
    text += length + (text[length] == ',');
  }
  std::lock_guard lock(mutex);
  settings = s;
  settings.hide = "";  // the caller's text may go away
  hidden = std::move(names);
  base.fallible = 0;
}

Counts State::counts() {
  Counts c;
  std::lock_guard lock(mutex);
  c = base;
  for (size_t i = 0; i < n_calls; ++i) {
    if (std::strncmp(calls[i].name, "vkCmd", 5) == 0) c.commands += n[i];
    if (std::strncmp(calls[i].name, "vkCmdDispatch", 13) == 0) c.dispatches += n[i];
  }
  c.begun = n[size_t(Call::BeginCommandBuffer)];
  c.submits = n[size_t(Call::QueueSubmit)] + n[size_t(Call::QueueSubmit2)];
  c.live_allocations = live.size();
  c.distinct_ranges = retired_ranges;
  for (const auto& [handle, buffer] : buffers) c.distinct_ranges += buffer.offsets.size();
  return c;
}

}  // namespace

const CallInfo& info(Call call) { return calls[size_t(call)]; }

std::optional<Call> find_call(std::string_view name) {
  const auto find = [](std::string_view wanted) {
    return std::ranges::find_if(calls, [&](const CallInfo& c) { return c.name == wanted; });
  };
  auto call = find(name);
  if (call == calls.end() && name.ends_with("KHR")) call = find(name.substr(0, name.size() - 3));
  if (call == calls.end()) return std::nullopt;
  return Call(call - calls.begin());
}

void count(Call call) { ++state.n[size_t(call)]; }

std::optional<VkResult> find_fault(Call call) {
  const CallInfo& c = info(call);
  std::lock_guard lock(state.mutex);
  const Settings& s = state.settings;
  if (!(s.fail_kinds & c.kind)) return std::nullopt;
  const uint64_t number = ++state.base.fallible;
  const bool fails = s.fail_at && (s.fail_forever ? number >= s.fail_at : number == s.fail_at);
  if (!fails) return std::nullopt;
  ++state.base.failed;
  state.base.last_failed = c.name;
  return s.fail_result != VK_SUCCESS ? s.fail_result : usual_failure(call);
}

Settings settings() {
  std::lock_guard lock(state.mutex);
  return state.settings;
}

bool is_hidden(std::string_view name) {
  std::lock_guard lock(state.mutex);
  return state.hidden.find(name) != state.hidden.end();
}

void count_allocation(VkDeviceMemory memory, uint64_t size_bytes, std::optional<bool> poisoned) {
  std::lock_guard lock(state.mutex);
  Counts& c = state.base;
  ++c.allocations;
  c.live_bytes += size_bytes;
  c.peak_bytes = std::max(c.peak_bytes, c.live_bytes);
  c.largest_allocation_bytes = std::max(c.largest_allocation_bytes, size_bytes);
  if (poisoned) ++(*poisoned ? c.poisoned : c.not_poisoned);
  state.live[memory] = size_bytes;
}

void count_free(VkDeviceMemory memory) {
  std::lock_guard lock(state.mutex);
  const auto found = state.live.find(memory);
  if (found == state.live.end()) return;  // null
  state.base.live_bytes -= found->second;
  state.live.erase(found);
}

void count_buffer(VkBuffer buffer, uint64_t size_bytes) {
  std::lock_guard lock(state.mutex);
  state.buffers[buffer].size_bytes = size_bytes;
}

void count_destroyed(VkBuffer buffer) {
  std::lock_guard lock(state.mutex);
  const auto found = state.buffers.find(buffer);
  if (found == state.buffers.end()) return;
  state.retired_ranges += found->second.offsets.size();
  state.buffers.erase(found);
}

void count_range(const VkDescriptorBufferInfo& range) {
  std::lock_guard lock(state.mutex);
  const auto found = state.buffers.find(range.buffer);
  if (found == state.buffers.end()) return;  // a null descriptor
  Buffer& buffer = found->second;
  const uint64_t bytes = range.range == VK_WHOLE_SIZE ? buffer.size_bytes - range.offset : range.range;
  buffer.offsets.insert(range.offset);
  buffer.largest_range_bytes = std::max(buffer.largest_range_bytes, bytes);
  state.base.largest_range_bytes = std::max(state.base.largest_range_bytes, bytes);
  const uint64_t limit = state.settings.max_storage_range_bytes;
  if (limit && bytes > limit) ++state.base.ranges_over_limit;
}

extern "C" {

SPINDLE_EXPORT void spindle_layer_enable(bool below_validation) {
  Dl_info self{};
  dladdr(reinterpret_cast<void*>(&spindle_layer_enable), &self);
  const std::string file = self.dli_fname;
  const std::string folder = file.substr(0, file.rfind('/')), name = "VK_LAYER_SPINDLE_test";
  const auto set = [](const char* variable, const std::string& value) { setenv(variable, value.c_str(), 1); };
  // Loaders differ in whether the order of the folders or that of the names decides: give both the same.
  // Where VK_LAYER_PATH is set the loader looks nowhere else.
  std::string folders = environment("VK_LAYER_PATH");
  std::string names = environment("VK_INSTANCE_LAYERS");
  if (below_validation) {
    if (folders.empty()) {
      folders = environment("VK_ADD_LAYER_PATH");
      for (const char* root : {"/etc", "/usr/local/share", "/usr/share"})
        folders = join(folders, std::string(root) + "/vulkan/explicit_layer.d");
    }
    set("VK_LAYER_PATH", join(folders, folder));
    set("VK_INSTANCE_LAYERS", join(names, name));
  } else {
    const char* variable = folders.empty() ? "VK_ADD_LAYER_PATH" : "VK_LAYER_PATH";
    set(variable, join(folder, environment(variable)));
    set("VK_INSTANCE_LAYERS", join(name, names));
  }
}

SPINDLE_EXPORT void spindle_layer_set(const Settings& settings) { state.set(settings); }

SPINDLE_EXPORT void spindle_layer_reset() {
  std::lock_guard lock(state.mutex);
  for (auto& n : state.n) n = 0;
  const uint64_t live_bytes = state.base.live_bytes;
  state.base = {};
  state.base.live_bytes = state.base.peak_bytes = live_bytes;
  state.base.last_failed = "";
  state.retired_ranges = 0;
  for (auto& [handle, buffer] : state.buffers) buffer = {.size_bytes = buffer.size_bytes};
}

SPINDLE_EXPORT Counts spindle_layer_counts() { return state.counts(); }

SPINDLE_EXPORT BufferCounts spindle_layer_buffer(VkBuffer buffer) {
  std::lock_guard lock(state.mutex);
  const auto found = state.buffers.find(buffer);
  if (found == state.buffers.end()) return {};
  return {found->second.size_bytes, found->second.offsets.size(), found->second.largest_range_bytes};
}

SPINDLE_EXPORT uint64_t spindle_layer_calls(const char* name) {
  const std::optional<Call> call = find_call(name);
  if (!call) refuse("not a counted call", name);
  return state.n[size_t(*call)];
}

}  // extern "C"

}  // namespace spindle::test_layer
