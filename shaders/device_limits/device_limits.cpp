// Limits of a device: dispatch and measurement.
#include "shaders/device_limits/device_limits.h"

#include <algorithm>
#include <cassert>
#include <chrono>

namespace spindle {
namespace {

constexpr uint32_t kMultiply[] =
#include "shaders/device_limits/multiply_adds.comp.inc"
    ;
constexpr uint32_t kRead[] =
#include "shaders/device_limits/read_all.comp.inc"
    ;
constexpr Program kMultiplyProgram{"multiply_adds", kMultiply}, kReadProgram{"read_all", kRead};
constexpr uint32_t kFlops = 2 * LIMITS_CHAINS * LIMITS_STEPS;  // of a lane and iteration
constexpr uint32_t kReadBytes = 8 * 16;

// Operations (or bytes) a second of the fastest of `runs` runs.
template <class Record>
double fastest(Stream& stream, int runs, double amount, Record&& record) {
  double best = 0;
  for (int i = 0; i < runs; i++) {
    stream.begin(true);
    record();
    const Recording recording = stream.end();
    const auto start = std::chrono::steady_clock::now();
    stream.wait(stream.submit(recording));
    double ns = std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count();
    const std::vector<Timing> timings = recording.timings();
    if (!timings.empty() && timings[0].ns > 0) ns = static_cast<double>(timings[0].ns);
    if (i > 0) best = std::max(best, amount / ns * 1e9);  // the first run compiles
  }
  return best;
}

}  // namespace

uint32_t device_limits_lanes(const Caps& caps) { return caps.software ? caps.subgroup_size : 256; }

void multiply_adds(Stream& stream, Tensor sums, uint32_t workgroups, uint32_t iterations, float factor,
                   float summand) {
  const uint32_t lanes = device_limits_lanes(stream.caps());
  assert(sums.elements() >= uint64_t{workgroups} * lanes);
  const Work work{static_cast<double>(workgroups) * lanes * iterations * kFlops, 4.0 * workgroups * lanes};
  stream.dispatch({&kMultiplyProgram, {lanes}}, {sums}, DeviceLimitsParameters{iterations, factor, summand},
                  {workgroups}, work);
}

void read_all(Stream& stream, Tensor sums, Tensor x, uint32_t iterations) {
  const uint32_t lanes = device_limits_lanes(stream.caps());
  const auto workgroups = static_cast<uint32_t>(x.bytes() / (uint64_t{kReadBytes} * lanes * iterations));
  assert(workgroups > 0 && sums.elements() >= uint64_t{workgroups} * lanes);
  const double bytes = static_cast<double>(workgroups) * lanes * iterations * kReadBytes;
  stream.dispatch({&kReadProgram, {lanes}}, {sums, x}, DeviceLimitsParameters{iterations, 0, 0}, {workgroups},
                  Work{bytes / 4, bytes});
}

std::vector<KernelSpec> device_limits_kernels(const Caps& caps) {
  return {{&kMultiplyProgram, {device_limits_lanes(caps)}}, {&kReadProgram, {device_limits_lanes(caps)}}};
}

DeviceLimits measure_device_limits(Stream& stream) {
  const Caps& caps = stream.caps();
  const uint32_t lanes = device_limits_lanes(caps);
  const uint32_t workgroups = caps.software ? 64 : 4096, iterations = caps.software ? 2000 : 1000;
  // Beyond any cache of a GPU, and of what a CPU keeps near a core.
  const uint64_t bytes = std::min<uint64_t>({uint64_t{caps.software ? 64u : 256u} << 20,
                                             caps.max_binding_bytes, caps.max_allocation_bytes}) /
                         (kReadBytes * lanes * 64) * (kReadBytes * lanes * 64);
  const Buffer memory(stream.device(), 2 * bytes, Memory::device, "limits");
  const Tensor x(memory, DType::f32, 1, static_cast<uint32_t>(bytes / 4)),
      y(memory, DType::f32, 1, x.cols, bytes);
  stream.fill(x, 0x3f800000);
  stream.fill(y, 0);
  stream.run();
  const double flops = static_cast<double>(workgroups) * lanes * iterations * kFlops;
  DeviceLimits l;
  l.multiply =
      fastest(stream, 12, flops, [&] { multiply_adds(stream, y, workgroups, iterations, 0.999f, 0.25f); });
  l.read = fastest(stream, 12, static_cast<double>(bytes), [&] { read_all(stream, y, x, 64); });
  l.copy = fastest(stream, 12, 2.0 * static_cast<double>(bytes), [&] { stream.copy(y, x); });
  return l;
}

}  // namespace spindle
