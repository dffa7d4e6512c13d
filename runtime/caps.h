// What a device has: limits and optional features, read once; every "is it there?" asks this struct.
#ifndef SPINDLE_RUNTIME_CAPS_H
#define SPINDLE_RUNTIME_CAPS_H
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace spindle {

struct Caps {
  // Optional features, after --disable.
  bool storage16 = false;         // 16-bit storage buffers
  bool storage8 = false;          // 8-bit storage buffers
  bool fp16 = false;              // float16 arithmetic
  bool int8 = false;              // int8 arithmetic
  bool int64 = false;             // 64-bit integers
  bool dot = false;               // integer dot products, packed 4 x 8 bit, accelerated or not
  bool dot_accelerated = false;   // dot in fewer instructions than multiplications would take
  bool dot_mixed = false;         // for dot, signed times unsigned bytes is the better form
  bool subgroup = false;          // basic, arithmetic, shuffle and ballot operations in compute shaders
  bool subgroup_control = false;  // a required subgroup size, full subgroups
  bool coopmat = false;           // VK_KHR_cooperative_matrix, f16 times f16 added in f32, by known subgroups
  bool coopmat_pays = false;      // coopmat by circuits made for it, not emulated
  bool coopmat2 = false;          // VK_NV_cooperative_matrix2 beside coopmat: what is used of it
  bool coopmat2_pays = false;     // only where somebody prefers it: no GPU has been measured yet
  bool timestamps = false;
  bool memory_budget = false;          // VK_EXT_memory_budget
  bool executable_properties = false;  // registers and spills of a compiled pipeline

  // Whether kernels are for the lanes of a processor, which load one after the other: 64 bits at once save
  // half of the loads, and shuffles hand round what one lane has loaded.
  bool wide_loads() const { return software && subgroup && int64; }
  // Whether a kernel may number the lanes of its subgroups: full ones, of the size that gl_SubgroupSize says.
  bool known_subgroups() const { return subgroup && (subgroup_control || software); }

  uint32_t subgroup_size = 1, min_subgroup_size = 1, max_subgroup_size = 1;
  uint32_t coopmat_m = 0, coopmat_n = 0, coopmat_k = 0;  // of coopmat: [m, k] times [k, n]
  // Of coopmat2: matrices may have any multiples of these, up to the most; 0: those of coopmat alone.
  uint32_t coopmat2_m = 0, coopmat2_n = 0, coopmat2_k = 0, coopmat2_most = 0;
  uint32_t max_workgroup_invocations = 128;
  uint32_t max_workgroup_count[3] = {65535, 65535, 65535};
  uint32_t shared_memory_bytes = 16384;
  uint32_t push_constant_bytes = 128;
  uint32_t max_bindings = 4;                 // storage buffers of one kernel
  uint64_t max_binding_bytes = 1u << 27;     // maxStorageBufferRange, or --limit-binding
  uint64_t max_allocation_bytes = 1u << 30;  // maxMemoryAllocationSize, or --limit-allocation
  uint32_t buffer_alignment = 256;           // minStorageBufferOffsetAlignment
  double timestamp_period_ns = 1;
  bool has_memory = true;  // false on null devices: pipelines compile, nothing can be allocated
  bool software = false;   // a CPU pretending to be a GPU
  bool gathers = false;    // ... whose lanes load with one instruction, not one after the other
  bool unroll = false;     // programs that ask for it are unrolled before the driver compiles them
  std::map<std::string, std::vector<uint32_t>> tuning;  // see tuning.h
};

// The switches for tests, in every subcommand and as SPINDLE_* environment variables.
struct DeviceOptions {
  std::string device;             // number or part of a name; empty: the best one
  std::set<std::string> disable;  // names of Caps' features, as feature_names() lists them
  std::set<std::string> prefer;   // dot, coopmat, coopmat2, unroll: used also where it may be slower
  uint64_t limit_binding = 0;     // bytes; 0: the device's own limit
  uint64_t limit_allocation = 0;  // bytes
  double limit_cost = 0;          // cost units of one submit; 0: measured
  bool precision_f32 = false;     // no reduced-precision fast path
  bool validation = false;        // the Khronos layer with synchronization validation, messages counted
  bool allow_null = false;        // compile-only devices may be chosen
  // What a window needs beside: extensions of the instance and of the device.
  std::vector<std::string> instance_extensions, device_extensions;
  static DeviceOptions from_environment();
};

const std::vector<std::string>& feature_names();
std::set<std::string> split_names(const std::string& list);  // by commas

// Removes the features named in options.disable and applies the lowered limits.
// Throws ErrorKind::usage for a name that is not in feature_names(), or cannot be preferred.
void apply(Caps& caps, const DeviceOptions& options);

}  // namespace spindle
#endif
