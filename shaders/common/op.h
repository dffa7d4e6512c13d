// What every operation's header needs on the C++ side.
#ifndef SPINDLE_SHADERS_OP_H
#define SPINDLE_SHADERS_OP_H
#include <cstdint>
#include <vector>

#include "runtime/stream.h"

namespace spindle {

// Prompt tokens always go through the prefill kernels and generated ones through the decode kernels, so that
// a result never depends on how many rows happen to be in a step.
enum class Phase { prefill, decode };

constexpr uint32_t ceil_div(uint32_t a, uint32_t b) { return a / b + (a % b != 0); }
constexpr uint64_t ceil_div(uint64_t a, uint64_t b) { return a / b + (a % b != 0); }
constexpr uint32_t round_up(uint32_t a, uint32_t b) { return ceil_div(a, b) * b; }

// Lanes of a workgroup for work along a row: one subgroup on a CPU, where a barrier costs more than it saves.
inline uint32_t row_lanes(const Caps& caps) { return caps.software ? caps.subgroup_size : 256; }

// About 128 registers a lane: Intel's GPUs, whose subgroups may be of 8 or 16 lanes, and Apple's. AMD's and
// NVIDIA's have twice as many; shared memory tells them from Apple's.
inline bool has_few_registers(const Caps& caps) {
  return !caps.software &&
         (caps.min_subgroup_size < 32 || (caps.max_subgroup_size == 32 && caps.shared_memory_bytes <= 32768));
}

}  // namespace spindle
#endif
