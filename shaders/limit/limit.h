// Scaling and limits, element by element: y = limit(factor * x).
//   none      x
//   clamp     x, but within -bound .. bound
//   soft_cap  bound * tanh(x / bound)
#ifndef SPINDLE_SHADERS_LIMIT_H
#define SPINDLE_SHADERS_LIMIT_H
#include "shaders/common/glsl.h"
#define LIMIT_NONE 0
#define LIMIT_CLAMP 1
#define LIMIT_SOFT_CAP 2
#ifdef __cplusplus
#include <span>

#include "shaders/common/op.h"
namespace spindle {
#endif

struct LimitParameters {
  uint n;  // elements in all
  float factor;
  float bound;
};

#ifdef __cplusplus
enum class Limit { none = LIMIT_NONE, clamp = LIMIT_CLAMP, soft_cap = LIMIT_SOFT_CAP };

// y, x: f32 [rows, n], may be the same tensor; bound > 0 but for none. NaN stays NaN.
void limit(Stream& stream, Tensor y, Tensor x, float factor, Limit kind = Limit::none, float bound = 1);
std::vector<KernelSpec> limit_kernels(const Caps& caps);

namespace reference {
void limit(std::span<double> y, std::span<const double> x, double factor, Limit kind = Limit::none,
           double bound = 1);
}
}  // namespace spindle
#endif
#endif
