// `spindle bench --tune`: times the tiles that the matrix products may have here, and keeps the best.
#include <algorithm>
#include <cmath>
#include <random>

#include "app/bench.h"
#include "runtime/error.h"
#include "runtime/pipeline_cache.h"
#include "runtime/tuning.h"
#include "shaders/matmul/matmul.h"

namespace spindle {
namespace {

constexpr double kWorthwhile = 0.97;  // of the built-in choice's time; less than that is noise
constexpr uint32_t kTuneN = 1024, kTuneK = 1024, kPromptRows = 128;

// A product of one type, with values that are not all the same.
class Product {
 public:
  Product(Device& device, Phase phase, DType type, bool dot, uint32_t rows)
      : device_(device), stream_(device), phase_(phase) {
    const WeightShape shape{type, kTuneN, kTuneK};
    store_ = WeightStore(device, {&shape, 1});
    std::mt19937 engine(1);
    // Bytes that make small positive numbers of any type and scale.
    store_.load_matrix(stream_, 0, [&](uint64_t, std::span<std::byte> to) {
      for (std::byte& b : to) b = static_cast<std::byte>(0x20 + engine() % 16);
    });
    const uint64_t x_bytes = align_tensor(uint64_t{4} * rows * kTuneK),
                   y_bytes = align_tensor(uint64_t{4} * rows * kTuneN),
                   q_bytes = dot ? align_tensor(matmul_scratch_bytes(device.caps(), rows, kTuneK)) : 0;
    memory_ = Buffer(device, x_bytes + y_bytes + q_bytes, Memory::device, "tuning");
    const Tensor x(memory_, DType::f32, rows, kTuneK);
    y_ = Tensor(memory_, DType::f32, rows, kTuneN, x_bytes);
    std::vector<float> values(x.elements());
    for (float& v : values) v = static_cast<float>(engine() % 2001) / 1000 - 1;
    stream_.upload(x, std::as_bytes(std::span(values)));
    Tensor scratch;
    if (dot) scratch = Tensor(memory_, DType::u32, 1, static_cast<uint32_t>(q_bytes / 4), x_bytes + y_bytes);
    input_ = matmul_input(stream_, phase, x, {&store_.matrix(0)}, scratch);
    stream_.run();
  }

  // Seconds of one product, of CPU time where the device is the CPU.
  double run(const MatmulTile& tile) {
    const bool software = device_.caps().software;
    const auto seconds = [&] { return software ? cpu_seconds() : now_seconds(); };
    const uint32_t n = software ? 4 : 32;
    const double start = seconds();
    for (uint32_t i = 0; i < n; i++) matmul(stream_, tile, phase_, y_, store_.matrix(0), input_);
    stream_.run();
    return (seconds() - start) / n;
  }
  std::vector<float> result() {
    std::vector<float> y(y_.elements());
    stream_.download(std::as_writable_bytes(std::span(y)), y_);
    return y;
  }

 private:
  Device& device_;
  Stream stream_;
  Phase phase_;
  WeightStore store_;
  Buffer memory_;
  Tensor y_;
  MatmulInput input_;
};

std::string text_of(const std::vector<uint32_t>& n) {
  return fmt::format("{:>2} x {} lanes of {:>2} x {} outputs, {} steps", n[0], n[1], n[2], n[3], n[4]);
}

// The tiles of one kind of product, by the times of all types together.
void tune(Device& device, const BenchFlags& flags, Phase phase, bool dot, uint32_t rows, Tuning& tuning) {
  const Caps& caps = device.caps();
  const std::vector<MatmulTile> tiles = matmul_tiles(caps, phase, rows, dot);
  std::vector<double> ratios(tiles.size(), 0);  // logarithms, to the built-in choice
  const std::string name = matmul_tile_name(phase, tiles.front(), dot);
  double n_types = 0;
  for (const std::string& type : flags.types) {
    const DType t = *find_dtype(type);
    if (matmul_uses_dot(caps, phase, t, kTuneK) != dot) continue;
    n_types++;
    Product product(device, phase, t, dot, rows);
    std::vector<float> usual;
    std::vector<double> seconds(tiles.size(), HUGE_VAL);
    for (size_t i = 0; i < tiles.size(); i++) {
      product.run(tiles[i]);  // compiles
      const std::vector<float> y = product.result();
      if (i == 0) usual = y;
      require(y == usual, "{}: {} gives other bits than the built-in choice", name,
              text_of(matmul_tile_numbers(tiles[i])));
    }
    // All in turn, so that what else the machine does hits them alike.
    for (uint32_t round = 0; round < flags.repetitions; round++)
      for (size_t i = 0; i < tiles.size(); i++) seconds[i] = std::min(seconds[i], product.run(tiles[i]));
    for (size_t i = 0; i < tiles.size(); i++) {
      ratios[i] += std::log(seconds[i] / seconds[0]);
      fmt::print("{:<20} {:<5} {}  {:9.3f} ms  {:5.2f}\n", name, type, text_of(matmul_tile_numbers(tiles[i])),
                 seconds[i] * 1e3, seconds[i] / seconds[0]);
    }
    std::fflush(stdout);
  }
  if (n_types == 0) return;
  const size_t best = static_cast<size_t>(std::ranges::min_element(ratios) - ratios.begin());
  const bool better = std::exp(ratios[best] / n_types) < kWorthwhile;
  const std::vector<uint32_t> chosen = matmul_tile_numbers(tiles[better ? best : 0]);
  fmt::print("{:<20} chosen: {}{}\n", name, text_of(chosen), better ? "" : " (built in)");
  if (better) tuning[name] = chosen;
}

}  // namespace

void bench_tune(Device& device, const BenchFlags& flags) {
  say("device  {} ({}), products of {} x {}, 1 and {} rows; times are {}", device.info().name,
      device.info().driver_version, kTuneN, kTuneK, kPromptRows,
      device.caps().software ? "CPU time" : "wall-clock time");
  Tuning tuning;
  for (bool dot : {false, true}) {
    tune(device, flags, Phase::prefill, dot, kPromptRows, tuning);
    tune(device, flags, Phase::decode, dot, 1, tuning);
  }
  save_tuning(cache_directory(), device.info(), tuning);
  fmt::print("kept in {}\n", tuning_file(cache_directory(), device.info()).string());
}

}  // namespace spindle
