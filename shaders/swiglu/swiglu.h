// SwiGLU: y = silu(gate) * up, silu(x) = x / (1 + exp(-x)). Shazeer, arXiv 2002.05202.
#ifndef SPINDLE_SHADERS_SWIGLU_H
#define SPINDLE_SHADERS_SWIGLU_H
#include "shaders/common/glsl.h"
#ifdef __cplusplus
#include <span>

#include "shaders/common/op.h"
namespace spindle {
#endif

struct SwigluParameters {
  uint n;  // elements in all
};

#ifdef __cplusplus
// y, gate, up: f32 [rows, n]; y may be gate or up.
void swiglu(Stream& stream, Tensor y, Tensor gate, Tensor up);
std::vector<KernelSpec> swiglu_kernels(const Caps& caps);

namespace reference {
void swiglu(std::span<double> y, std::span<const double> gate, std::span<const double> up);
}
}  // namespace spindle
#endif
#endif
