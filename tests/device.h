// The device under test and small conveniences for operation tests.
#ifndef SPINDLE_TESTS_DEVICE_H
#define SPINDLE_TESTS_DEVICE_H
#include <bit>
#include <cstdlib>
#include <deque>
#include <memory>
#include <random>
#include <vector>

#include "runtime/stream.h"

namespace spindle::test {

// One device for the whole program, chosen by SPINDLE_* and the loader's variables. main lets it go: when
// static objects are destroyed, layers and drivers may have ended already.
inline std::unique_ptr<Device>& shared_device() {
  static std::unique_ptr<Device> d;
  return d;
}
inline Device& device() {
  if (!shared_device()) shared_device() = std::make_unique<Device>();
  return *shared_device();
}

// A device like the one under test but for programs that are unrolled before its driver compiles them, or are
// not.
inline std::unique_ptr<Device> unrolled_device(bool unroll) {
  DeviceOptions options = DeviceOptions::from_environment();
  options.prefer.erase("unroll");
  (unroll ? options.prefer : options.disable).insert("unroll");
  return std::make_unique<Device>(options);
}

// Every shape and variant, or one of each: SPINDLE_TEST_SWEEP=quick on the drivers beside the main one.
// `full`, of ./test --full: combinations too that the main one leaves out for time.
inline bool sweep_is(const char* name) {
  const char* sweep = std::getenv("SPINDLE_TEST_SWEEP");
  return sweep && std::string(sweep) == name;
}
inline bool quick() { return sweep_is("quick"); }
inline bool thorough() { return sweep_is("full"); }
// Of a long list, quick sweeps take every n-th entry: others where subgroups have other sizes.
inline bool passes_over(size_t entry, size_t n = 2) {
  return quick() && entry % n != static_cast<size_t>(std::countr_zero(device().caps().subgroup_size)) % n;
}
// SPINDLE_TEST_BENCH=1: operation tests print time, bytes and GB/s as well.
inline bool bench() { return std::getenv("SPINDLE_TEST_BENCH") != nullptr; }

inline std::vector<float> floats(const std::vector<double>& v) { return {v.begin(), v.end()}; }

inline std::vector<double> random_values(size_t n, uint32_t seed, double scale = 1) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal;
  std::vector<double> v(n);
  for (double& x : v) x = static_cast<float>(normal(engine) * scale);  // exact as f32
  return v;
}

// Tensors on the device with the buffers they live in.
class Tensors {
 public:
  explicit Tensors(Stream& stream) : stream_(stream) {}
  Tensor f32(uint32_t rows, uint32_t cols) { return make(DType::f32, rows, cols); }
  Tensor f32(uint32_t rows, uint32_t cols, const std::vector<double>& values) {
    std::vector<float> data(values.begin(), values.end());
    const Tensor t = f32(rows, cols);
    stream_.upload(t, std::as_bytes(std::span(data)));
    return t;
  }
  Tensor u32(uint32_t rows, uint32_t cols, const std::vector<uint32_t>& values = {}) {
    const Tensor t = make(DType::u32, rows, cols);
    if (!values.empty()) stream_.upload(t, std::as_bytes(std::span(values)));
    return t;
  }
  std::vector<float> read(Tensor t) {
    std::vector<float> data(t.elements());
    stream_.download(std::as_writable_bytes(std::span(data)), t);
    return data;
  }
  std::vector<uint32_t> read_u32(Tensor t) {
    std::vector<uint32_t> data(t.elements());
    stream_.download(std::as_writable_bytes(std::span(data)), t);
    return data;
  }

 private:
  Tensor make(DType type, uint32_t rows, uint32_t cols) {
    buffers_.emplace_back(stream_.device(), bytes_of(type, uint64_t{rows} * cols), Memory::device, "test");
    return Tensor(buffers_.back(), type, rows, cols);
  }
  Stream& stream_;
  std::deque<Buffer> buffers_;
};

// Runs `record` a few times and prints the fastest, per kernel.
template <class Record>
void print_bench(Stream& stream, const std::string& what, Record&& record) {
  std::vector<Timing> best;
  for (int i = 0; i < 5; i++) {
    stream.begin(true);
    record();
    std::vector<Timing> t = stream.profile_run();
    for (size_t k = 0; k < t.size(); k++)
      if (best.size() <= k) best.push_back(t[k]);
      else if (t[k].ns < best[k].ns) best[k] = t[k];
  }
  for (const Timing& t : best)
    fmt::print("  bench {:<32} {:<20} {:>9.3f} ms  {:>8.3f} MB  {:>7.2f} GB/s  {:>7.2f} GFLOP/s\n", what,
               t.name, static_cast<double>(t.ns) * 1e-6, t.work.bytes * 1e-6,
               t.work.bytes / static_cast<double>(t.ns), t.work.operations / static_cast<double>(t.ns));
}

}  // namespace spindle::test
#endif
