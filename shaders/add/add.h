// y = a + factor * b, element by element.
#ifndef SPINDLE_SHADERS_ADD_H
#define SPINDLE_SHADERS_ADD_H
#include "shaders/common/glsl.h"
#ifdef __cplusplus
#include <span>

#include "shaders/common/op.h"
namespace spindle {
#endif

struct AddParameters {
  uint n;  // elements in all
  float factor;
};

#ifdef __cplusplus
// y, a, b: f32 [rows, n]; y may be a or b. A factor of 1 changes no bit of the sum.
void add(Stream& stream, Tensor y, Tensor a, Tensor b, float factor = 1);
std::vector<KernelSpec> add_kernels(const Caps& caps);

namespace reference {
void add(std::span<double> y, std::span<const double> a, std::span<const double> b, double factor = 1);
}
}  // namespace spindle
#endif
#endif
