// `spindle fit`: the longest context that fits into a device's memory, for each type of cache.
#include <nlohmann/json.hpp>

#include "app/command.h"
#include "models/memory_plan.h"
#include "models/utf8.h"
#include "runtime/error.h"

namespace spindle {
namespace {

struct Flags {
  DeviceFlags device;
  ModelFlags model;
  uint64_t memory = 0;  // bytes; 0: what the device has free
  bool json = false;
};

struct Fit {
  DType type;
  uint32_t context;  // 0: not even one page
  MemoryNeed need;   // at that context
};

std::vector<Fit> fits_of(const MemoryPlan& plan, SessionOptions o, uint64_t free_bytes) {
  std::vector<Fit> fits;
  for (DType type : kCacheTypes) {
    o.k_type = o.v_type = type;
    o.context = plan.largest_context(o, free_bytes);
    fits.push_back({type, o.context, o.context > 0 ? plan.need(o) : MemoryNeed{}});
  }
  return fits;
}

void run(const Flags& flags) {
  const Gguf file = Gguf::open(flags.model.file());
  const Target target(flags.device);
  const MemoryPlan plan(target.caps, file);
  const uint64_t free_bytes = flags.memory ? flags.memory : target.free_bytes;
  require(free_bytes > 0, ErrorKind::no_device, "what {} has free is not known: give --memory 8GiB",
          target.name);
  const std::vector<Fit> fits = fits_of(plan, flags.model.session(), free_bytes);
  const uint32_t trained = plan.config().context_length;
  if (flags.json) {
    nlohmann::ordered_json j = {{"file", file.file()},
                                {"device", target.name},
                                {"memory_bytes", free_bytes},
                                {"trained_context", trained}};
    for (const Fit& f : fits)
      j["fits"].push_back({{"cache_type", info(f.type).name},
                           {"context", f.context},
                           {"bytes",
                            {{"weights", f.need.weights},
                             {"cache", f.need.cache},
                             {"activations", f.need.activations},
                             {"scratch", f.need.scratch},
                             {"state", f.need.state},
                             {"total", f.need.total()}}}});
    fmt::print("{}\n", j.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
  } else {
    fmt::print("{}: {} {} {}; trained for {} positions\n", printable(file.file(), 4096),
               human_bytes(free_bytes), flags.memory ? "of memory like that of" : "free on", target.name,
               trained);
    fmt::print("{:<6} {:>12} {:>12} {:>12} {:>12} {:>12} {:>12} {:>12}\n", "cache", "context", "weights",
               "cache", "activations", "scratch", "state", "together");
    for (const Fit& f : fits) {
      if (f.context == 0) {
        fmt::print("{:<6} {:>12}\n", info(f.type).name, "none");
        continue;
      }
      fmt::print("{:<6} {:>12} {:>12} {:>12} {:>12} {:>12} {:>12} {:>12}\n", info(f.type).name, f.context,
                 human_bytes(f.need.weights), human_bytes(f.need.cache), human_bytes(f.need.activations),
                 human_bytes(f.need.scratch), human_bytes(f.need.state), human_bytes(f.need.total()));
    }
  }
  if (fits.back().context == 0) {
    SessionOptions o = flags.model.session();
    o.k_type = o.v_type = fits.back().type;
    o.context = o.page_tokens;
    plan.require_fits(o, free_bytes, target.name);
  }
}

}  // namespace

void add_fit(CLI::App& app) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = app.add_subcommand("fit", "find the longest context that fits into memory");
  command->add_option("FILE", flags->model.path, "GGUF file, or any shard of a split one");
  command->add_option("--memory", flags->memory, "bytes, or 7.5GiB; default: what the device has free")
      ->transform(as_bytes());
  command->add_flag("--json", flags->json, "as JSON");
  flags->model.add(*command);
  flags->device.add(*command);
  command->callback([flags] { run(*flags); });
}

}  // namespace spindle
