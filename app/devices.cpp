// `spindle devices`: every Vulkan device, what it has, and which fast paths it gets.
#include <nlohmann/json.hpp>

#include "app/command.h"
#include "runtime/error.h"
#include "shaders/all.h"
#include "shaders/matmul/matmul.h"

namespace spindle {
namespace {

std::vector<std::pair<std::string, bool>> features(const Caps& c) {
  return {{"storage16", c.storage16},
          {"storage8", c.storage8},
          {"fp16", c.fp16},
          {"int8", c.int8},
          {"dot", c.dot},
          {"subgroup", c.subgroup},
          {"subgroup_control", c.subgroup_control},
          {"coopmat", c.coopmat},
          {"coopmat2", c.coopmat2},
          {"timestamps", c.timestamps},
          {"memory_budget", c.memory_budget}};
}

// What the operations make of the features; everything else they do with Vulkan 1.2 alone.
std::vector<std::string> fast_paths(const Caps& c) {
  std::vector<std::string> list;
  if (c.known_subgroups()) list.push_back("attention exchanges scores within subgroups");
  if (c.subgroup) list.push_back("norms and sampling reduce within subgroups");
  if (c.software && c.subgroup) list.push_back("matrix products hand rows round a subgroup");
  if (matmul_uses_dot(c, Phase::prefill, DType::q8_0, 4096))
    list.push_back("prompts by integer dot products, with quantised weights");
  if (matmul_uses_dot(c, Phase::decode, DType::q4_0, 4096))
    list.push_back("tokens by integer dot products, with weights of 2 to 6 bits");
  if (c.timestamps) list.push_back("timings of each operation");
  if (c.memory_budget) list.push_back("free memory from the driver");
  return list;
}

std::string warning(const DeviceInfo& d) {
  if (!d.unusable.empty()) return d.unusable;
  return d.caps.software ? "a software renderer: it computes on the CPU, many times slower than a GPU" : "";
}

double gib(uint64_t bytes) { return static_cast<double>(bytes) / (1 << 30); }

nlohmann::json to_json(const DeviceInfo& d, bool chosen) {
  const Caps& c = d.caps;
  nlohmann::json j = {{"index", d.index},
                      {"name", d.name},
                      {"type", name_of(d.type)},
                      {"driver", d.driver},
                      {"driver_version", d.driver_version},
                      {"api_version", d.api_version},
                      {"chosen", chosen},
                      {"usable", d.unusable.empty()},
                      {"software", c.software},
                      {"warning", warning(d)}};
  j["subgroup_size"] = {
      {"default", c.subgroup_size}, {"min", c.min_subgroup_size}, {"max", c.max_subgroup_size}};
  j["limits"] = {
      {"binding_bytes", c.max_binding_bytes},         {"allocation_bytes", c.max_allocation_bytes},
      {"shared_memory_bytes", c.shared_memory_bytes}, {"workgroup_invocations", c.max_workgroup_invocations},
      {"push_constant_bytes", c.push_constant_bytes}, {"buffer_alignment", c.buffer_alignment}};
  for (const Heap& h : d.heaps)
    j["heaps"].push_back(
        {{"size_bytes", h.size_bytes}, {"free_bytes", h.free_bytes}, {"device_local", h.device_local}});
  j["fast_paths"] = fast_paths(c);
  for (const auto& [name, there] : features(c)) j["features"][name] = there;
  return j;
}

void print(const DeviceInfo& d, bool chosen) {
  const Caps& c = d.caps;
  fmt::print("{}{} {} ({})\n", chosen ? "*" : " ", d.index, d.name, name_of(d.type));
  fmt::print("    driver      {} {}, Vulkan {}\n", d.driver, d.driver_version, d.api_version);
  for (const Heap& h : d.heaps)
    fmt::print("    memory      {:.1f} GiB, {:.1f} free{}\n", gib(h.size_bytes), gib(h.free_bytes),
               h.device_local ? ", device local" : "");
  fmt::print(
      "    limits      binding {:.2f} GiB, allocation {:.2f} GiB, shared memory {} KiB, workgroup {}\n",
      gib(c.max_binding_bytes), gib(c.max_allocation_bytes), c.shared_memory_bytes >> 10,
      c.max_workgroup_invocations);
  fmt::print("    subgroups   {} ({} to {})\n", c.subgroup_size, c.min_subgroup_size, c.max_subgroup_size);
  std::string have, lack;
  for (const auto& [name, there] : features(c)) (there ? have : lack) += " " + name;
  fmt::print("    has        {}\n", have.empty() ? " nothing optional" : have);
  if (!lack.empty()) fmt::print("    without    {}\n", lack);
  for (const std::string& path : fast_paths(c)) fmt::print("    fast path   {}\n", path);
  if (!warning(d).empty()) fmt::print("    warning     {}\n", warning(d));
}

void run(const DeviceFlags& flags, bool json) {
  const Instance instance(flags.options());
  int chosen = -1;
  std::string why;
  try {
    chosen = instance.choose().index;
  } catch (const Error& e) {
    if (!flags.device.empty()) throw;
    why = e.what();
  }
  if (json) {
    nlohmann::json list = nlohmann::json::array();
    for (const DeviceInfo& d : instance.devices()) list.push_back(to_json(d, d.index == chosen));
    fmt::print("{}\n", list.dump(2));
  } else {
    for (const DeviceInfo& d : instance.devices()) print(d, d.index == chosen);
  }
  if (!why.empty()) fail(ErrorKind::no_device, "{}", why);
}

// Every kernel becomes a pipeline on the chosen device, also where nothing can run, with what its compiler
// says.
void compile(const DeviceFlags& flags) {
  DeviceOptions options = flags.options();
  options.allow_null = true;
  Device device(options);
  const std::vector<KernelSpec> kernels = all_kernels(device.caps());
  for (const KernelSpec& spec : kernels) {
    std::string constants;
    for (uint32_t c : spec.constants) constants += fmt::format(" {}", c);
    const Kernel& kernel = device.kernel(spec);
    fmt::print("{}{}\n", spec.program->name, constants);
    const std::string statistics = kernel.statistics();
    for (size_t at = 0; at < statistics.size();) {
      const size_t end = statistics.find('\n', at);
      fmt::print("    {}\n", statistics.substr(at, end - at));
      at = end + 1;
    }
  }
  fmt::print("{} kernels compiled for {}\n", kernels.size(), device.info().name);
}

}  // namespace

void add_devices(CLI::App& app) {
  auto flags = std::make_shared<DeviceFlags>();
  auto json = std::make_shared<bool>(false), all = std::make_shared<bool>(false);
  CLI::App* command = app.add_subcommand("devices", "list Vulkan devices, their limits and fast paths");
  command->add_flag("--json", *json, "as JSON");
  command->add_flag("--compile", *all,
                    "compile every kernel for the device and print its compiler's statistics");
  flags->add(*command);
  command->callback([=] { *all ? compile(*flags) : run(*flags, *json); });
}

}  // namespace spindle
