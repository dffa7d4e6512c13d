// Shared options, progress lines and the search for the default model.
#include "app/command.h"

#include <unistd.h>

#include <cctype>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <random>

#include "models/memory_plan.h"
#include "runtime/error.h"

namespace spindle {
namespace {

std::vector<std::string> cache_type_names() {
  std::vector<std::string> names;
  for (DType type : kCacheTypes) names.emplace_back(info(type).name);
  return names;
}

// "1.5" and the unit behind it, lower case and without what says bytes anyway: 7.5 and "g" of "7.5 GiB".
// Nothing when it does not begin with a number.
std::optional<std::pair<double, std::string>> split_unit(const std::string& text) {
  const size_t digits = std::min(text.find_first_not_of("0123456789."), text.size());
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + digits, value);
  if (error != std::errc() || end != text.data() + digits) return std::nullopt;
  std::string unit;
  for (char c : text.substr(digits))
    if (c != ' ') unit += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return std::pair(value, unit);
}

// Replaces a number and its unit by the number; "k" is 1024.
CLI::Validator as_number(const std::string& what, std::vector<std::string> endings) {
  return CLI::Validator(
      [what, endings = std::move(endings)](std::string& text) -> std::string {
        const auto parts = split_unit(text);
        if (!parts) return {};  // the option says what is wrong with it
        std::string unit = parts->second;
        if (unit.empty() && text.find('.') == std::string::npos) return {};
        for (const std::string& ending : endings)
          if (unit.ends_with(ending)) {
            unit.resize(unit.size() - ending.size());
            break;
          }
        constexpr std::string_view kPowers = "kmgt";
        const size_t power = unit.empty() ? 0 : unit.size() > 1 ? std::string::npos : kPowers.find(unit[0]);
        if (power == std::string::npos) return fmt::format("'{}': expected {}", text, what);
        double value = parts->first;
        for (size_t i = 0; i < (unit.empty() ? 0 : power + 1); i++) value *= 1024;
        if (value >= 1e18) return fmt::format("'{}': too large", text);
        text = fmt::format("{:.0f}", value);
        return {};
      },
      "", "");
}

}  // namespace

CLI::Validator as_count() { return as_number("a number, or one with k or m", {}); }
CLI::Validator as_bytes() { return as_number("bytes, or a number with KiB, MiB, GiB or TiB", {"ib", "b"}); }

CLI::Validator in_range(double least, double most) {
  const std::string allowed = std::isinf(most) ? fmt::format("{:.10g} or more", least)
                                               : fmt::format("{:.10g} to {:.10g}", least, most);
  const auto check = [=](std::string& text) -> std::string {
    double value = 0;
    if (CLI::detail::lexical_cast(text, value) && value >= least && value <= most) return "";
    return fmt::format("{}, allowed is {}", text, allowed);
  };
  return CLI::Validator(check, "");
}

double now_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void DeviceFlags::add(CLI::App& command) {
  auto* group = command.add_option_group("Device");
  group
      ->add_option("--device", device,
                   "number or part of the name of the Vulkan device; see `spindle devices`")
      ->envname("SPINDLE_DEVICE");
  group->add_option("--precision", precision, "f32: no reduced-precision fast path")
      ->check(CLI::IsMember({"auto", "f32"}))
      ->envname("SPINDLE_PRECISION");
  group->add_option("--disable", disable, "do without features: storage16, fp16, dot, subgroup, ..., all")
      ->envname("SPINDLE_DISABLE");
  group->add_option("--prefer", prefer, "use also where it may be slower: dot, coopmat, coopmat2, unroll")
      ->envname("SPINDLE_PREFER");
  group->add_option("--limit-binding", limit_binding, "lower the size of a binding, bytes")
      ->envname("SPINDLE_LIMIT_BINDING");
  group->add_option("--limit-allocation", limit_allocation, "lower the size of an allocation, bytes")
      ->envname("SPINDLE_LIMIT_ALLOCATION");
  group->add_option("--limit-cost", limit_cost, "lower the work of one submit, units of 1 operation")
      ->envname("SPINDLE_LIMIT_COST");
}

DeviceOptions DeviceFlags::options() const {
  DeviceOptions o;
  o.device = device;
  o.disable = split_names(disable);
  o.prefer = split_names(prefer);
  o.precision_f32 = precision == "f32";
  o.limit_binding = limit_binding;
  o.limit_allocation = limit_allocation;
  o.limit_cost = limit_cost;
  return o;
}

void ModelFlags::add(CLI::App& command) {
  auto* group = command.add_option_group("Model");
  group->add_option("-m,--model", path, "GGUF file; default: the model that ships with Spindle")
      ->envname("SPINDLE_MODEL");
  group
      ->add_option("-c,--ctx-size", context,
                   "positions of the context, 48k for 49152; 0: what the model was trained for")
      ->capture_default_str()
      ->transform(as_count());
  group->add_option("-b,--batch-size", batch, "most prompt tokens at once")
      ->capture_default_str()
      ->transform(as_count())
      ->check(in_range(1, 1 << 30));
  group->add_option("--ubatch-size", ubatch, "prompt tokens of one step, the prefill chunk")
      ->capture_default_str()
      ->transform(as_count())
      ->check(in_range(1, 1 << 30));
  group->add_option("--cache-type-k", k_type, "keys in the cache")
      ->capture_default_str()
      ->check(CLI::IsMember(cache_type_names()));
  group->add_option("--cache-type-v", v_type, "values in the cache")
      ->capture_default_str()
      ->check(CLI::IsMember(cache_type_names()));
  group->add_option(
      "--attention-pattern", pattern,
      fmt::format("which keys are seen, instead of the model's own choice: {}", kAttentionPatterns));
  group
      ->add_option(
          "--context-shift", shift,
          "go on past the context at constant memory: keep the first tokens and the last ones, or the last "
          "ones alone")
      ->capture_default_str()
      ->check(CLI::IsMember({"none", "sinks", "window"}));
  group->add_option("--sinks", n_sinks, "--context-shift sinks: how many first tokens are kept (default 4)")
      ->check(in_range(1, 1 << 20));
  positions.add(command);
}

std::string ModelFlags::file() const {
  if (!path.empty()) return path;
  std::error_code ignored;
  const std::filesystem::path here = std::filesystem::read_symlink("/proc/self/exe", ignored).parent_path();
  for (const char* folder : {"../models/pretrained", "../share/spindle/models"}) {
    const auto file = here / folder / SPINDLE_DEFAULT_MODEL;
    if (std::filesystem::exists(file, ignored)) return file.lexically_normal().string();
  }
  fail(ErrorKind::usage, "no model: give one with -m FILE.gguf (the one that ships, {}, is not beside {})",
       SPINDLE_DEFAULT_MODEL, here.string());
}

SessionOptions ModelFlags::session() const {
  SessionOptions o;
  o.context = context;
  o.prefill_chunk = std::min(batch, ubatch);
  o.k_type = *find_dtype(k_type);
  o.v_type = *find_dtype(v_type);
  o.rope = positions.rope();
  o.pattern = parse_attention_pattern(pattern);
  if (shift == "sinks") o.context_shift = ContextShift::sinks;
  if (shift == "window") o.context_shift = ContextShift::window;
  require(!n_sinks || shift == "sinks", ErrorKind::usage, "--sinks: for --context-shift sinks, not {}",
          shift);
  o.n_sinks = n_sinks.value_or(o.n_sinks);
  return o;
}

Target::Target(const DeviceFlags& flags) {
  try {
    device = std::make_unique<Device>(flags.options());
    caps = device->caps();
    name = device->info().name;
    free_bytes = device->free_bytes();
  } catch (const Error& e) {
    if (e.kind() != ErrorKind::no_device || !flags.device.empty()) throw;
    name = fmt::format("a device without limits of its own ({})", e.what());
    caps.max_binding_bytes = caps.max_allocation_bytes = uint64_t{1} << 32;
  }
}

void ModelFlags::require_fits(const Gguf& opened, const Device& device) const {
  const MemoryPlan plan(device.caps(), opened);
  plan.require_fits(session(), device.free_bytes(), device.info().name);
}

Gguf ModelFlags::open(const Device& device) const {
  Gguf opened = Gguf::open(file());
  require_fits(opened, device);
  return opened;
}

void SamplingFlags::add(CLI::App& command) {
  auto* group = command.add_option_group("Sampling");
  group->add_option("-s,--seed", seed, "seed; negative: another one each time")->capture_default_str();
  group->add_option("--temp", sampling.temperature, "temperature; 0: always the most probable token")
      ->capture_default_str()
      ->check(in_range(0));
  group->add_option("--top-k", top_k, "keep the k most probable tokens; 0 or less: all")
      ->capture_default_str();
  group->add_option("--top-p", sampling.top_p, "keep the most probable tokens up to this sum")
      ->capture_default_str()
      ->check(in_range(0, 1));
  group->add_option("--min-p", sampling.min_p, "keep tokens at least this probable, relative to the best")
      ->capture_default_str()
      ->check(in_range(0, 1));
  group
      ->add_option("--repeat-penalty", sampling.repeat_penalty, "divide the logits of recent tokens; 1: none")
      ->capture_default_str()
      ->check(in_range(1e-6));
  group->add_option("--repeat-last-n", repeat_last_n, "how many tokens are recent, up to 512; -1: 512")
      ->capture_default_str()
      ->check(in_range(-1, SAMPLE_MAX_RECENT));
  group->add_flag("--ignore-eos", sampling.ignore_end, "go on after an end token");
}

Sampling SamplingFlags::resolve() const {
  Sampling s = sampling;
  s.top_k = top_k > 0 ? static_cast<uint32_t>(top_k) : 0;
  s.repeat_last_n = repeat_last_n < 0 ? SAMPLE_MAX_RECENT : static_cast<uint32_t>(repeat_last_n);
  s.seed = seed >= 0 ? static_cast<uint64_t>(seed) : std::random_device{}();
  return s;
}

Progress::Progress(std::string label, std::string unit)
    : label_(std::move(label)),
      unit_(std::move(unit)),
      start_(now_seconds()),
      terminal_(isatty(STDERR_FILENO)) {}

void Progress::update(uint64_t done, uint64_t all) {
  const double now = now_seconds(), elapsed = now - start_;
  if (elapsed < 0.5 || all == 0) return;
  const int percent = static_cast<int>(100 * done / all);
  if (terminal_ ? now - last_ < 0.1 && done < all : percent / 5 == percent_ / 5 && percent_ >= 0) return;
  last_ = now;
  percent_ = percent;
  std::string line = fmt::format("{} {:3}%", label_, percent);
  if (!unit_.empty())
    line += fmt::format("  {} of {} {}, {:.1f} {}/s", done, all, unit_, static_cast<double>(done) / elapsed,
                        unit_);
  if (done > 0 && done < all)
    line +=
        fmt::format(", {:.0f} s left", elapsed * static_cast<double>(all - done) / static_cast<double>(done));
  if (terminal_) fmt::print(stderr, "\r{:<78}", line);
  else fmt::print(stderr, "{}\n", line);
  std::fflush(stderr);
  shown_ = true;
}

void Progress::finish() {
  if (shown_ && terminal_) fmt::print(stderr, "\r{:<78}\r", "");
  shown_ = false;
}

void describe(const Session& session) {
  say("positions  {}", session.rope().description);
  const Model& model = session.model();
  if (const auto& pattern = session.pattern(); !pattern.passes.empty())
    say("attention  {}", describe(pattern, layers_of(model.architecture(), model.config())));
  warn_beyond_reach(session.rope(), model.config(), session.context());
}

void warn_beyond_reach(const RopePlan& plan, const Config& c, uint32_t n_positions) {
  if (n_positions <= plan.reach) return;
  if (plan.reach <= c.context_length)
    say("warning: {} positions; the model was trained for {}: see --rope-scaling", n_positions,
        c.context_length);
  else say("warning: {} positions; these extend the model to {:.0f}", n_positions, plan.reach);
}

void describe(const Model& model) {
  const DeviceInfo& d = model.device().info();
  const Config& c = model.config();
  say("device  {} ({}, {})", d.name, d.driver_version.empty() ? d.driver : d.driver_version, name_of(d.type));
  say("model   {}: {}, {} layers, {} heads ({} KV) of {}, vocabulary {}, trained for {} positions; {:.1f} "
      "MiB of weights",
      c.name, c.architecture, c.n_layers, c.max_heads(), c.max_kv_heads(), c.head_dim, c.vocab_size,
      c.context_length, static_cast<double>(model.weights().bytes()) / (1 << 20));
  for (const std::string& warning : model.warnings()) say("warning: {}", warning);
}

}  // namespace spindle
