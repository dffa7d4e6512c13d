// `spindle devices`: every Vulkan device, what it has, and which fast paths it gets.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "app/command.h"
#include "runtime/error.h"
#include "runtime/kernel_statistics.h"
#include "shaders/all.h"
#include "shaders/attention/attention_coopmat.h"
#include "shaders/matmul/matmul.h"
#include "shaders/matmul/matmul_coopmat.h"

namespace spindle {
namespace {

std::vector<std::pair<std::string, bool>> features(const Caps& c) {
  return {{"storage16", c.storage16},
          {"storage8", c.storage8},
          {"fp16", c.fp16},
          {"int8", c.int8},
          {"int64", c.int64},
          {"dot", c.dot},
          {"subgroup", c.subgroup},
          {"subgroup_control", c.subgroup_control},
          {"coopmat", c.coopmat},
          {"coopmat2", c.coopmat2},
          {"unroll", c.unroll},
          {"timestamps", c.timestamps},
          {"memory_budget", c.memory_budget}};
}

// What the operations make of the features; everything else they do with Vulkan 1.2 alone.
std::vector<std::string> fast_paths(const Caps& c) {
  std::vector<std::string> list;
  if (c.known_subgroups()) list.push_back("attention exchanges scores within subgroups");
  if (c.subgroup) list.push_back("norms and sampling reduce within subgroups");
  if (c.software && c.subgroup) list.push_back("matrix products hand rows round a subgroup");
  const bool coopmat = matmul_uses_coopmat(c, Phase::prefill, DType::f16);
  if (coopmat)
    list.push_back(fmt::format(
        "prompts by cooperative matrices of {} x {} x {}, with weights other than f32{}", c.coopmat_m,
        c.coopmat_n, c.coopmat_k, uses_coopmat2(c) ? ", by the second extension" : ""));
  if (attention_uses_coopmat(c, Phase::prefill, {8, 128, 64, DType::f16, DType::f16}, {32, 1}))
    list.push_back(fmt::format("attention of prompts by cooperative matrices, with caches other than f32{}",
                               uses_coopmat2(c) ? ", by the second extension" : ""));
  if (!coopmat && matmul_uses_dot(c, Phase::prefill, DType::q8_0, 4096))
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

// Why cooperative matrices are not used although they are there.
std::string unused_coopmat(const Caps& c) {
  if (!c.coopmat) return "";
  if (!coopmat_built()) return "cooperative matrices: the glslc of this build did not know them";
  if (!c.coopmat_pays) return "cooperative matrices: emulated here; --prefer coopmat or coopmat2 uses them";
  if (!c.coopmat2 || uses_coopmat2(c)) return "";
  return coopmat2_built() ? "coopmat2: not measured on any GPU yet; --prefer coopmat2 uses it"
                          : "coopmat2: the glslc of this build did not know it";
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
  if (c.coopmat)
    j["coopmat"] = {{"m", c.coopmat_m}, {"n", c.coopmat_n}, {"k", c.coopmat_k}, {"built", coopmat_built()}};
  if (c.coopmat2)
    j["coopmat2"] = {
        {"m", c.coopmat2_m}, {"n", c.coopmat2_n}, {"k", c.coopmat2_k}, {"built", coopmat2_built()}};
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
  if (!unused_coopmat(c).empty()) fmt::print("    not used    {}\n", unused_coopmat(c));
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

std::string column(const std::optional<double>& value) {
  return value ? fmt::format("{:>9}", *value) : fmt::format("{:>9}", "-");
}

struct CompileFlags {
  bool compile = false, everything = false;
  std::vector<std::string> only;
};

// Every kernel becomes a pipeline on the chosen device, also where nothing can run, with what its compiler
// says.
void compile(const DeviceFlags& flags, const CompileFlags& how) {
  DeviceOptions options = flags.options();
  options.allow_null = true;
  Device device(options);
  fmt::print("{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}  {}\n", "registers", "occupied", "spills", "scratch", "code",
             "lanes", "kernel and constants");
  std::vector<KernelSpec> specs = all_kernels(device.caps());
  std::erase_if(specs, [&](const KernelSpec& spec) {
    const auto starts = [&](const std::string& name) {
      return std::string_view(spec.program->name).starts_with(name);
    };
    return !how.only.empty() && std::ranges::none_of(how.only, starts);
  });
  constexpr size_t kAtATime = 32;
  size_t n = 0, n_spilled = 0;
  for (const KernelSpec& spec : specs) {
    if (n % kAtATime == 0)
      device.compile({specs.begin() + static_cast<ptrdiff_t>(n),
                      specs.begin() + static_cast<ptrdiff_t>(std::min(n + kAtATime, specs.size()))});
    const std::string text = device.kernel(spec).statistics();
    const KernelStatistics s = summarize_statistics(text);
    std::string constants;
    for (uint32_t c : spec.constants) constants += fmt::format(" {}", c);
    fmt::print("{}{}{}{}{}{}  {}{}\n", column(s.registers), column(s.occupancy), column(s.spills),
               column(s.scratch_bytes), column(s.instructions), column(s.subgroup_size), spec.program->name,
               constants);
    for (size_t at = 0; how.everything && at < text.size();) {
      const size_t end = text.find('\n', at);
      fmt::print("    {}\n", text.substr(at, end - at));
      at = end + 1;
    }
    n++;
    n_spilled += s.spilled();
  }
  require(n > 0, ErrorKind::usage, "--only: no kernel's name begins so");
  fmt::print("{} kernels compiled for {}, {} of them with spills or scratch\n", n, device.info().name,
             n_spilled);
}

}  // namespace

void add_devices(CLI::App& app) {
  auto flags = std::make_shared<DeviceFlags>();
  auto json = std::make_shared<bool>(false);
  auto how = std::make_shared<CompileFlags>();
  CLI::App* command = app.add_subcommand("devices", "list Vulkan devices, their limits and fast paths");
  command->add_flag("--json", *json, "as JSON");
  CLI::Option* compiles =
      command->add_flag("--compile", how->compile,
                        "compile every kernel for the device: registers of a lane, subgroups "
                        "in flight, spills, bytes of scratch, instructions, lanes");
  command->add_option("--only", how->only, "--compile: kernels whose names begin so: matmul,attention")
      ->delimiter(',')
      ->needs(compiles);
  command->add_flag("--statistics", how->everything, "--compile: everything that the compiler says")
      ->needs(compiles);
  flags->add(*command);
  command->callback([=] { how->compile ? compile(*flags, *how) : run(*flags, *json); });
}

}  // namespace spindle
