// RMS norm: y[row] = x[row] / sqrt(mean(x[row]^2) + eps) * weight. Zhang and Sennrich, arXiv 1910.07467.
#ifndef SPINDLE_SHADERS_RMS_NORM_H
#define SPINDLE_SHADERS_RMS_NORM_H
#include "shaders/common/glsl.h"
#ifdef __cplusplus
#include <span>

#include "shaders/matmul/matmul_input.h"
namespace spindle {
#endif

struct RmsNormParameters {
  uint cols;         // elements of a row
  uint weight_rows;  // row r takes row r % weight_rows of the weight
  float eps;
};

#ifdef __cplusplus
// y: [rows, dim], as products read it; x: f32 [rows, dim], may be y's; weight: f32 [weight rows, dim]: one,
// or one for each head where rows are heads.
void rms_norm(Stream& stream, const MatmulInput& y, Tensor x, Tensor weight, float eps);
std::vector<KernelSpec> rms_norm_kernels(const Caps& caps);

namespace reference {
// weight: [weight rows, dim].
void rms_norm(std::span<double> y, std::span<const double> x, size_t dim, std::span<const double> weight,
              double eps);
}  // namespace reference
}  // namespace spindle
#endif
#endif
