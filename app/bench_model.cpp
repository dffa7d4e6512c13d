// `spindle bench` of a model: prompts, generation, both at a depth, as llama-bench counts them.
#include <algorithm>
#include <cmath>
#include <ctime>
#include <map>
#include <numeric>
#include <random>
#include <thread>

#include "app/bench.h"
#include "runtime/error.h"

namespace spindle {
namespace {

struct File {
  std::string type;
  double bytes = 0, parameters = 0;
  explicit File(const Gguf& gguf) {
    std::map<std::string, double> by_type;
    for (const GgufTensor& t : gguf.tensors()) {
      bytes += static_cast<double>(t.bytes);
      parameters += static_cast<double>(t.elements());
      by_type[std::string(find_gguf_tensor_type(t.type)->name)] += static_cast<double>(t.bytes);
    }
    for (const auto& [name, size] : by_type)
      if (type.empty() || size > by_type[type]) type = name;
  }
};

std::string count_text(double n) {
  return n >= 1e9 ? fmt::format("{:.2f} B", n * 1e-9) : fmt::format("{:.2f} M", n * 1e-6);
}
std::string size_text(double bytes) {
  return bytes >= 0x1p30 ? fmt::format("{:.2f} GiB", bytes * 0x1p-30)
                         : fmt::format("{:.2f} MiB", bytes * 0x1p-20);
}

struct Test {
  uint32_t prompt, generate, depth;
  std::string name() const {
    const std::string at = depth ? fmt::format(" @ d{}", depth) : "";
    return generate ? fmt::format("tg{}{}", generate, at) : fmt::format("pp{}{}", prompt, at);
  }
};

// Runs one test in a session; seconds of wall and CPU time of each run.
class Runner {
 public:
  Runner(Session& session, uint32_t sequences, uint32_t vocabulary) : session_(session) {
    std::mt19937 engine(1);
    std::uniform_int_distribution<int> any(0, static_cast<int>(vocabulary) - 1);
    for (uint32_t i = 0; i < session.context(); i++) ids_.push_back(any(engine));
    for (uint32_t i = 0; i < sequences; i++) {
      Sampling greedy;
      greedy.temperature = 0;
      greedy.ignore_end = true;
      slots_.push_back(session.open(greedy));
    }
  }
  void go_to(uint32_t depth) {
    for (int slot : slots_) {
      session_.truncate(slot, depth);
      if (session_.n_tokens(slot) < depth) prefill(slot, depth - session_.n_tokens(slot));
    }
  }
  struct Sample {
    double seconds, cpu;
  };
  Sample prompt(const Test& t) {
    go_to(t.depth);
    return timed([&] {
      for (int slot : slots_) prefill(slot, t.prompt);
    });
  }
  // Steps of one token each; the first token comes from a prompt that is not counted.
  Sample generate(const Test& t) {
    go_to(t.depth ? t.depth - 1 : 0);
    for (int slot : slots_) prefill(slot, 1);
    return timed([&] { session_.generate(slots_, t.generate + 1, [](int, int) { return true; }); });
  }

 private:
  template <class F>
  static Sample timed(F&& f) {
    const double start = now_seconds(), cpu = cpu_seconds();
    f();
    return {now_seconds() - start, cpu_seconds() - cpu};
  }
  void prefill(int slot, uint32_t n) {
    session_.prefill(slot, std::span<const int>(ids_).subspan(session_.n_tokens(slot), n));
  }
  Session& session_;
  std::vector<int> ids_, slots_;
};

double median(std::vector<double> v) {
  std::ranges::sort(v);
  return v.empty() ? 0 : (v[(v.size() - 1) / 2] + v[v.size() / 2]) / 2;
}

}  // namespace

void bench_model(Device& device, const BenchFlags& flags) {
  ModelFlags model_flags;
  model_flags.path = flags.model;
  Gguf gguf = Gguf::open(model_flags.file());
  const File file(gguf);
  Progress loading("loading");
  const std::string path = gguf.file();
  const Model model(device, std::move(gguf), [&](uint64_t done, uint64_t all) { loading.update(done, all); });
  loading.finish();
  describe(model);

  std::vector<Test> tests;
  for (uint32_t depth : flags.depth) {
    for (uint32_t n : flags.prompt)
      if (n) tests.push_back({n, 0, depth});
    for (uint32_t n : flags.generate)
      if (n) tests.push_back({0, n, depth});
  }
  require(!tests.empty(), ErrorKind::usage, "nothing to measure: -p and -n are 0");
  uint32_t context = 0;
  for (const Test& t : tests) context = std::max(context, t.depth + std::max(t.prompt, t.generate + 2));

  const bool software = device.caps().software;
  const auto several = [](const auto& list, const auto& usual) {
    return list.size() > 1 || list[0] != usual;
  };
  BenchTable table({{"model", "model", false},
                    {"model_size", "size"},
                    {"model_n_params", "params"},
                    {"backend", "backend", false},
                    {"gpu_info", "", false, true},
                    {"build", "", false, true},
                    {"n_batch", "n_batch", true, !several(flags.batch, 2048u)},
                    {"n_ubatch", "n_ubatch", true, !several(flags.ubatch, 512u)},
                    {"type_k", "type_k", true, !several(flags.k_type, std::string("f16"))},
                    {"type_v", "type_v", true, !several(flags.v_type, std::string("f16"))},
                    {"n_seq", "n_seq", true, flags.sequences == 1},
                    {"n_prompt", "", true, true},
                    {"n_gen", "", true, true},
                    {"n_depth", "", true, true},
                    {"test_time", "", true, true},
                    {"avg_ns", "", true, true},
                    {"stddev_ns", "", true, true},
                    {"test", "test"},
                    {"avg_ts", "t/s"},
                    {"stddev_ts", "", true, true},
                    {"median_ts", "median", true, flags.repetitions < 3},
                    {"cpu_ts", "by CPU time", true, !software}});
  DeviceLimits limits;
  BenchTable operations = operations_table();
  if (flags.operations) {
    Stream stream(device);
    limits = measure_device_limits(stream);
  }
  const auto processors = static_cast<double>(std::max(1u, std::thread::hardware_concurrency()));
  for (uint32_t batch : flags.batch)
    for (uint32_t ubatch : flags.ubatch)
      for (const std::string& k_type : flags.k_type)
        for (const std::string& v_type : flags.v_type) {
          SessionOptions o;
          o.context = context;
          o.n_slots = flags.sequences;
          o.prefill_chunk = std::min(batch, ubatch);
          o.k_type = *find_dtype(k_type);
          o.v_type = *find_dtype(v_type);
          o.share_prefixes = false;
          o.profile = flags.operations;
          Session session(model, o);
          Runner runner(session, flags.sequences, model.config().vocab_size);
          for (const Test& t : tests) {
            const auto once = [&] { return t.prompt ? runner.prompt(t) : runner.generate(t); };
            once();  // compiles, and brings everything to where it is read from
            std::vector<double> ns, ts, cpu;
            for (uint32_t r = 0; r < flags.repetitions; r++) {
              runner.go_to(t.depth);
              session.take_timings();
              const Runner::Sample s = once();
              ns.push_back(s.seconds * 1e9);
              ts.push_back((t.prompt + t.generate) * flags.sequences / s.seconds);
              cpu.push_back((t.prompt + t.generate) * flags.sequences / s.cpu * processors);
            }
            const auto mean = [](const std::vector<double>& v) {
              return std::accumulate(v.begin(), v.end(), 0.0) / static_cast<double>(v.size());
            };
            const auto deviation = [&](const std::vector<double>& v) {
              double sum = 0;
              for (double x : v) sum += (x - mean(v)) * (x - mean(v));
              return v.size() < 2 ? 0.0 : std::sqrt(sum / static_cast<double>(v.size() - 1));
            };
            const std::time_t now = std::time(nullptr);
            char when[32];
            std::strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", std::gmtime(&now));
            BenchTable::Row row{{"build", SPINDLE_VERSION},
                                {"gpu_info", device.info().name},
                                {"backend", "Vulkan"},
                                {"model_filename", path},
                                {"model", fmt::format("{} {}", model.config().architecture, file.type)},
                                {"model_size", file.bytes},
                                {"model_size text", size_text(file.bytes)},
                                {"model_n_params", file.parameters},
                                {"model_n_params text", count_text(file.parameters)},
                                {"n_batch", batch},
                                {"n_ubatch", ubatch},
                                {"type_k", k_type},
                                {"type_v", v_type},
                                {"n_seq", flags.sequences},
                                {"n_prompt", t.prompt},
                                {"n_gen", t.generate},
                                {"n_depth", t.depth},
                                {"test_time", when},
                                {"avg_ns", mean(ns)},
                                {"stddev_ns", deviation(ns)},
                                {"test", t.name()},
                                {"avg_ts", mean(ts)},
                                {"avg_ts text", fmt::format("{:.2f} ± {:.2f}", mean(ts), deviation(ts))},
                                {"stddev_ts", deviation(ts)},
                                {"median_ts", median(ts)},
                                {"median_ts text", fmt::format("{:.2f}", median(ts))},
                                {"cpu_ts", median(cpu)},
                                {"cpu_ts text", fmt::format("{:.2f}", median(cpu))},
                                {"samples_ns", ns},
                                {"samples_ts", ts}};
            table.add(std::move(row));
            if (!flags.operations) continue;
            std::vector<Timing> timings = session.take_timings();
            std::ranges::sort(timings, std::greater(), &Timing::ns);
            for (const Timing& o : timings) {
              const double n = o.dispatches;
              operations.add(operation_row(o.name, t.name(), o.dispatches, static_cast<double>(o.ns) / n,
                                           {o.work.operations / n, o.work.bytes / n}, limits));
            }
          }
        }
  fmt::print("{}", table.text(flags.output));
  if (flags.operations) fmt::print("\n{}", operations.text(flags.output));
}

}  // namespace spindle
