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

}  // namespace spindle
#endif
