// `spindle bench --op`: one operation of any shape, and what the device can do at best.
#include <algorithm>
#include <deque>
#include <map>

#include "app/bench.h"
#include "models/kv_cache.h"
#include "runtime/error.h"
#include "shaders/activation/activation.h"
#include "shaders/add/add.h"
#include "shaders/attention/attention.h"
#include "shaders/matmul/matmul.h"
#include "shaders/matmul/quantize_rows.h"
#include "shaders/rms_norm/rms_norm.h"

namespace spindle {
namespace {

// "rows=4,n=4096": numbers by name, over the operation's defaults.
class Shape {
 public:
  Shape(const std::string& op, const std::string& text, std::map<std::string, uint32_t> defaults)
      : values_(std::move(defaults)) {
    for (size_t at = 0; at < text.size();) {
      const size_t comma = std::min(text.find(',', at), text.size());
      const std::string part = text.substr(at, comma - at);
      const size_t equals = std::min(part.find('='), part.size());
      std::string number = equals < part.size() ? part.substr(equals + 1) : "";
      as_count()(number);
      uint32_t value = 0;
      const auto found = values_.find(part.substr(0, equals));
      std::string allowed;
      for (const auto& [name, usual] : values_)
        allowed += fmt::format("{}{}={}", allowed.empty() ? "" : ",", name, usual);
      require(found != values_.end() && CLI::detail::lexical_cast(number, value) && value > 0 &&
                  value <= 1u << 24,
              ErrorKind::usage, "--shape '{}': {} takes numbers from 1 to 2^24, such as {}", part, op,
              allowed);
      found->second = value;
      at = comma + 1;
    }
  }
  uint32_t operator[](const std::string& name) const { return values_.at(name); }
  std::string text() const {
    std::string s;
    for (const auto& [name, value] : values_) s += fmt::format("{}{}={}", s.empty() ? "" : " ", name, value);
    return s;
  }

 private:
  std::map<std::string, uint32_t> values_;
};

class Bench {
 public:
  Bench(Device& device, const BenchFlags& flags)
      : flags_(flags), device_(device), stream_(device), limits_(measure_device_limits(stream_)) {}

  void run() {
    for (const std::string& type : flags_.types) {
      if (flags_.op == "matmul") matmul_of(type);
      else if (flags_.op == "attention") attention_of(type);
      else elementwise();
      if (flags_.op != "matmul" && flags_.op != "attention") break;
    }
    fmt::print("{}", table_.text(flags_.output));
  }

 private:
  // Memory with the same small number in every element of any type.
  Tensor tensor(DType type, uint32_t rows, uint32_t cols) {
    buffers_.emplace_back(device_, align_tensor(bytes_of(type, uint64_t{rows} * cols)), Memory::device,
                          "bench");
    const Tensor t(buffers_.back(), type, rows, cols);
    fill(t);
    return t;
  }
  void fill(Tensor t) {
    stream_.fill(t, t.dtype == DType::f32 ? 0x3dcccccd : 0x2e2e2e2e);
    stream_.run();
  }

  template <class Record>
  void measure(const std::string& what, Record&& record) {
    std::map<std::pair<std::string, Work>, std::vector<double>> times;
    std::vector<Timing> last;
    std::vector<double> cpu;
    for (uint32_t i = 0; i < flags_.repetitions + 1; i++) {
      const double start = cpu_seconds();
      stream_.begin(true);
      record();
      last = stream_.profile_run(true);
      if (i == 0) continue;  // it compiles
      cpu.push_back((cpu_seconds() - start) * 1e6);
      for (const Timing& t : last) times[{t.name, t.work}].push_back(static_cast<double>(t.ns));
    }
    std::ranges::sort(cpu);
    if (device_.caps().software) say("{}: {:.0f} us of CPU time", what, cpu[cpu.size() / 2]);
    require(!last.empty(), "the device has no timestamps: bench a model instead");
    for (const Timing& t : last) {
      std::vector<double>& ns = times[{t.name, t.work}];
      std::ranges::sort(ns);
      table_.add(
          operation_row(t.name, what, t.dispatches, std::max(ns[ns.size() / 2], 1.0), t.work, limits_));
    }
  }
  Phase phase(uint32_t rows) const {
    if (flags_.phase.empty()) return rows > 1 ? Phase::prefill : Phase::decode;
    return flags_.phase == "prefill" ? Phase::prefill : Phase::decode;
  }

  void matmul_of(const std::string& name) {
    const Shape shape(flags_.op, flags_.shape, {{"rows", 1}, {"n", 4096}, {"k", 4096}});
    const DType type = *find_dtype(name);
    const WeightShape weight{type, shape["n"], shape["k"]};
    WeightStore store(device_, {&weight, 1});
    store.load_matrix(stream_, 0,
                      [](uint64_t, std::span<std::byte> to) { std::ranges::fill(to, std::byte{0x2e}); });
    const uint32_t rows = shape["rows"];
    const Tensor x = tensor(DType::f32, rows, shape["k"]), y = tensor(DType::f32, rows, shape["n"]);
    Tensor scratch;
    if (const uint64_t bytes = matmul_scratch_bytes(device_.caps(), rows, shape["k"]))
      scratch = tensor(DType::u32, 1, static_cast<uint32_t>(bytes / 4));
    const Weight& w = store.matrix(0);
    measure(fmt::format("{} {}", name, shape.text()), [&] {
      matmul(stream_, phase(rows), y, w, matmul_input(stream_, phase(rows), x, {&w}, scratch));
    });
  }

  void attention_of(const std::string& name) {
    const Shape shape(flags_.op, flags_.shape,
                      {{"rows", 1}, {"keys", 4096}, {"heads", 32}, {"kv_heads", 8}, {"dim", 128}});
    const DType type = *find_dtype(name);
    const uint32_t rows = shape["rows"], keys = shape["keys"], width = shape["heads"] * shape["dim"];
    require(rows <= keys && shape["heads"] % shape["kv_heads"] == 0 && shape["dim"] % 8 == 0,
            ErrorKind::usage,
            "--shape {}: rows are the last of the keys, heads a multiple of kv_heads, dim a multiple of 8",
            shape.text());
    KvCacheOptions options;
    options.context = keys;
    options.k_type = options.v_type = type;
    KvCache cache(device_, {shape["kv_heads"]}, shape["dim"], options);
    cache.reserve(0, keys);
    const std::vector<CacheSegment> segments = cache.segments(0, cache.n_segments(keys));
    for (const CacheSegment& s : segments) fill(s.k), fill(s.v);
    AttentionShape attention_shape{.n_heads = shape["heads"], .scale = 0.1f};
    attention_shape.passes = parse_attention_pattern(flags_.pattern).passes;
    const std::vector<uint32_t> words = attention_table(attention_shape);
    Tensor table;
    if (!words.empty()) {
      table = tensor(DType::u32, 1, static_cast<uint32_t>(words.size()));
      stream_.upload(table, std::as_bytes(std::span(words)));
    }
    const Tensor y = tensor(DType::f32, rows, width),
                 q = tensor(DType::f32, rows * attention_shape.n_queries(), width),
                 at = tensor(DType::u32, rows, 4);
    std::vector<uint32_t> positions;
    for (uint32_t i = 0; i < rows; i++)
      for (uint32_t word : {0u, 0u, keys - rows + i, 1u}) positions.push_back(word);
    stream_.upload(at, std::as_bytes(std::span(positions)));
    const uint64_t scratch_bytes =
        attention_scratch_bytes(device_.caps(), phase(rows), rows, cache.shape(0), attention_shape, keys);
    const Tensor scratch =
        tensor(DType::u32, 1, static_cast<uint32_t>(std::max<uint64_t>(scratch_bytes / 4, 1)));
    measure(fmt::format("{} {} {}", name, shape.text(), flags_.pattern), [&] {
      attention(stream_, phase(rows), y, {}, q, at, cache.page_table(), segments, cache.shape(0),
                attention_shape, keys, scratch, table);
    });
  }

  void elementwise() {
    const Shape shape(flags_.op, flags_.shape, {{"rows", 1}, {"dim", 4096}});
    const uint32_t rows = shape["rows"], dim = shape["dim"];
    const Tensor y = tensor(DType::f32, rows, dim), a = tensor(DType::f32, rows, dim),
                 b = tensor(DType::f32, rows, dim);
    if (flags_.op == "rms_norm") {
      const Tensor weight = tensor(DType::f32, 1, dim);
      return measure(shape.text(), [&] { rms_norm(stream_, y, a, weight, 1e-5f); });
    }
    if (flags_.op == "activation")
      return measure(shape.text(), [&] { activation(stream_, y, Activation::silu, a, b); });
    if (flags_.op == "add") return measure(shape.text(), [&] { add(stream_, y, a, b); });
    require(flags_.op == "quantize_rows", ErrorKind::usage, "--op {}: allowed are {}", flags_.op,
            kBenchOperations);
    require(dim % QUANTIZED_BLOCK == 0, ErrorKind::usage, "--shape dim={}: a multiple of {}", dim,
            QUANTIZED_BLOCK);
    MatmulInput q;
    q.quantized = tensor(DType::u32, rows, QUANTIZED_WORDS(dim));
    measure(shape.text(), [&] { pack_rows(stream_, q, a); });
  }

  const BenchFlags& flags_;
  Device& device_;
  Stream stream_;
  DeviceLimits limits_;
  std::deque<Buffer> buffers_;  // tensors point at them
  BenchTable table_ = operations_table();
};

}  // namespace

void bench_operation(Device& device, const BenchFlags& flags) {
  say("device  {} ({})", device.info().name, device.info().driver_version);
  Bench(device, flags).run();
}

void bench_limits(Device& device, const BenchFlags& flags) {
  Stream stream(device);
  const DeviceLimits l = measure_device_limits(stream);
  BenchTable table({{"gpu_info", "device", false},
                    {"driver", "driver", false},
                    {"copy", "copy, GB/s"},
                    {"read", "read by a shader, GB/s"},
                    {"multiply", "f32 multiply-add, GFLOP/s"}});
  const auto text = [](double rate) { return fmt::format("{:.1f}", rate * 1e-9); };
  table.add({{"gpu_info", device.info().name},
             {"driver", device.info().driver_version},
             {"copy", l.copy},
             {"copy text", text(l.copy)},
             {"read", l.read},
             {"read text", text(l.read)},
             {"multiply", l.multiply},
             {"multiply text", text(l.multiply)}});
  fmt::print("{}", table.text(flags.output));
}

}  // namespace spindle
