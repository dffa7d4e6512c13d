// What a device can do at best: multiply-adds, copying, and reading by a shader. Every figure of `spindle
// bench` is compared with these.
#ifndef SPINDLE_SHADERS_DEVICE_LIMITS_H
#define SPINDLE_SHADERS_DEVICE_LIMITS_H
#include "shaders/common/glsl.h"
#define LIMITS_CHAINS 12  // of dependent multiply-adds in a lane: latency times units, within 16 registers
#define LIMITS_STEPS 16   // of each chain in an iteration
#ifdef __cplusplus
#include "shaders/common/op.h"
namespace spindle {
#endif

struct DeviceLimitsParameters {
  uint iterations;
  float factor, summand;
};

#ifdef __cplusplus
struct DeviceLimits {
  double copy = 0;      // bytes a second, read and written each counted
  double read = 0;      // bytes a second, in words of 16
  double multiply = 0;  // f32 operations a second, two a multiply-add
};
// The fastest of several runs, each of some milliseconds.
DeviceLimits measure_device_limits(Stream& stream);

// One dispatch each. sums: f32 [1, lanes()] a workgroup; x: f32, a multiple of 4 elements.
void multiply_adds(Stream& stream, Tensor sums, uint32_t workgroups, uint32_t iterations, float factor,
                   float summand);
void read_all(Stream& stream, Tensor sums, Tensor x, uint32_t iterations);
uint32_t device_limits_lanes(const Caps& caps);
std::vector<KernelSpec> device_limits_kernels(const Caps& caps);
}  // namespace spindle
#endif
#endif
