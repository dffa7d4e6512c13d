// Adds up what a row's experts gave: y = residual + scale * (sum of weight * expert + sigmoid(gate) *
// shared).
#ifndef SPINDLE_SHADERS_EXPERT_SUM_H
#define SPINDLE_SHADERS_EXPERT_SUM_H
#include "shaders/common/glsl.h"
#ifdef __cplusplus
#include <span>

#include "shaders/common/op.h"
namespace spindle {
#endif

struct ExpertSumParameters {
  uint elements;  // of y
  uint dim;       // columns of y
  uint used;      // experts of a row
};

#ifdef __cplusplus
// What every row goes through beside its experts; nothing, or without a gate.
struct SharedExpert {
  Tensor output;  // f32 [rows, dim]
  Tensor gate;    // f32 [rows, 1], before the sigmoid
};

// In the order of the ranks, then the shared expert. y: f32 [rows, dim]; experts: f32 [rows * used, dim];
// weights: f32 [rows, used].
void expert_sum(Stream& stream, Tensor y, Tensor experts, Tensor weights, const SharedExpert& shared);
std::vector<KernelSpec> expert_sum_kernels(const Caps& caps);

namespace reference {
void expert_sum(std::span<double> y, std::span<const double> experts, std::span<const double> weights,
                std::span<const double> shared, std::span<const double> gate);
}
}  // namespace spindle
#endif
#endif
