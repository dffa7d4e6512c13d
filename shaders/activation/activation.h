// The activation of a feed-forward, with a gate or without: y = f(gate) * up, or y = f(x).
// SwiGLU and its kin: Shazeer, arXiv 2002.05202. GELU: Hendrycks and Gimpel, arXiv 1606.08415.
#ifndef SPINDLE_SHADERS_ACTIVATION_H
#define SPINDLE_SHADERS_ACTIVATION_H
#include "shaders/activation/activation_kind.h"
#include "shaders/common/glsl.h"
#ifdef __cplusplus
#include <span>

#include "shaders/matmul/matmul_input.h"
namespace spindle {
#endif

struct ActivationParameters {
  uint cols, rows;
};

#ifdef __cplusplus
// y: [rows, n], as products read it; gate, up: f32 [rows, n], may be y's; no up: y = f(gate). Finite for
// every finite gate, NaN where one of them is.
void activation(Stream& stream, const MatmulInput& y, Activation f, Tensor gate, Tensor up = {});
std::vector<KernelSpec> activation_kernels(const Caps& caps);

namespace reference {
void activation(std::span<double> y, Activation f, std::span<const double> gate, std::span<const double> up);
}
}  // namespace spindle
#endif
#endif
