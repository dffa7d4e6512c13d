// `spindle attention`: maps of a text, or of a capture, as pictures, arrays and statistics.
#include <algorithm>

#include "app/attention_flags.h"
#include "app/interrupt.h"
#include "runtime/error.h"

namespace spindle {
namespace {

double mib(uint64_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

void describe_maps(const AttentionMaps& maps) {
  const MapMemory m = maps.memory();
  say("maps    {} layers of {} tokens: keys {:.1f} MiB, queries and log-sum-exps {:.1f} MiB, {:.1f} KiB a "
      "token",
      maps.layers().size(), maps.n_tokens(), mib(m.keys), mib(m.kept),
      static_cast<double>(m.keys + m.kept) / 1024 / maps.n_tokens());
}

// Everything that is asked of maps that are there.
void show(const AttentionFlags& flags, Device& device, AttentionMaps& maps) {
  std::optional<AttentionMaps> other;
  if (!flags.compare.empty()) other.emplace(AttentionMaps::open(device, flags.compare));
  if (other)
    require(other->n_tokens() == maps.n_tokens(), ErrorKind::usage,
            "--compare {}: {} tokens, this one has {}", flags.compare, other->n_tokens(), maps.n_tokens());
  if (!flags.capture.empty()) maps.save(flags.capture);
  if (flags.wants_map() || other) write_map(flags, maps, other ? &*other : nullptr);
}

std::vector<uint32_t> wanted_layers(const AttentionFlags& flags, const Model& model) {
  if (flags.layer >= 0) return {static_cast<uint32_t>(flags.layer)};
  if (flags.heads || !flags.capture.empty()) return pin_all(model.config().n_layers).layers;
  return {0};
}

void run_model(const AttentionFlags& flags) {
  const std::string prompt = flags.prompt.read();
  require(!prompt.empty(), ErrorKind::usage, "the prompt is empty: give -p TEXT or -f FILE");
  Device device(flags.device.options());
  Progress loading("loading");
  const Model model(device, Gguf::open(flags.model.file()),
                    [&](uint64_t done, uint64_t all) { loading.update(done, all); });
  loading.finish();
  describe(model);
  const std::vector<int> ids = model.tokenizer().encode(prompt, {.parse_special = true});
  require(flags.layer < static_cast<int>(model.config().n_layers), ErrorKind::usage,
          "--layer {}: the model has layers 0 to {}", flags.layer, model.config().n_layers - 1);
  SessionOptions options = flags.model.session();
  if (options.context == 0) options.context = static_cast<uint32_t>(ids.size()) + flags.n;
  Session session(model, options);
  describe(session);
  const int slot = session.open({.temperature = 0, .ignore_end = true});
  AttentionMaps maps(session, slot);

  // As many layers at a time as memory allows.
  const std::vector<uint32_t> layers = wanted_layers(flags, model);
  const uint32_t n = static_cast<uint32_t>(ids.size()) + flags.n;
  uint64_t most = 1;
  for (uint32_t layer : layers)
    most = std::max(most,
                    AttentionRecord::bytes_per_position(session.plans(), model.config().head_dim, {layer}));
  const uint64_t budget = device.free_bytes() ? device.free_bytes() / 2 : UINT64_MAX;
  const auto at_once = static_cast<uint32_t>(std::clamp<uint64_t>(budget / most / n, 1, layers.size()));
  require(at_once == layers.size() || flags.capture.empty(), ErrorKind::out_of_memory,
          "--capture: {} layers fit into memory at a time, of {}: choose one with --layer", at_once,
          layers.size());
  std::vector<HeadStatistics> statistics;
  for (uint32_t first = 0; first < layers.size(); first += at_once) {
    const auto begin = layers.begin() + first;
    session.truncate(slot, 0);
    session.pin(slot, {{begin, begin + std::min<std::ptrdiff_t>(at_once, layers.end() - begin)}, budget});
    Progress prefilling("prefill", "tokens");
    session.prefill(slot, ids, {.sample = flags.n > 0, .progress = [&](uint32_t done, uint32_t all) {
                                  prefilling.update(done, all);
                                  require(!CatchInterrupts::requested(), ErrorKind::interrupted,
                                          "interrupted");
                                }});
    prefilling.finish();
    if (flags.n > 0)
      session.generate({&slot, 1}, flags.n, [](int, int) { return !CatchInterrupts::requested(); });
    require(maps.end_query() == maps.n_tokens(), ErrorKind::out_of_memory,
            "the queries of {} tokens fit into memory, of {}", maps.end_query(), maps.n_tokens());
    describe_maps(maps);
    for (size_t i = first; flags.heads && i < std::min<size_t>(first + at_once, layers.size()); i++) {
      const auto more = maps.statistics(layers[i], flags.statistics(maps));
      statistics.insert(statistics.end(), more.begin(), more.end());
    }
  }
  if (flags.heads) write_statistics(flags, statistics);
  show(flags, device, maps);
}

void run_capture(const AttentionFlags& flags) {
  Device device(flags.device.options());
  AttentionMaps maps = AttentionMaps::open(device, flags.open);
  say("capture {}: {}, {}", flags.open, maps.model(), maps.positions());
  describe_maps(maps);
  if (flags.heads) {
    std::vector<HeadStatistics> statistics;
    for (const MapLayer& l : maps.layers())
      if (flags.layer < 0 || l.index == static_cast<uint32_t>(flags.layer)) {
        const auto more = maps.statistics(l.index, flags.statistics(maps));
        statistics.insert(statistics.end(), more.begin(), more.end());
      }
    write_statistics(flags, statistics);
  }
  show(flags, device, maps);
}

void run(const AttentionFlags& flags) {
  require(flags.wants_map() || flags.heads || !flags.capture.empty() || !flags.compare.empty(),
          ErrorKind::usage,
          "attention: say what is wanted: --png FILE, --npy FILE, --csv, --json, --heads or --capture FILE");
  const CatchInterrupts catching;
  if (flags.open.empty()) run_model(flags);
  else run_capture(flags);
  require(!CatchInterrupts::requested(), ErrorKind::interrupted, "interrupted");
}

}  // namespace

void add_attention(CLI::App& app) {
  auto flags = std::make_shared<AttentionFlags>();
  CLI::App* command =
      app.add_subcommand("attention", "show what a model attends to: maps and head statistics");
  flags->add(*command);
  command->callback([flags] { run(*flags); });
}

}  // namespace spindle
