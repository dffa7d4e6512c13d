// Layer norm: y[row] = (x[row] - mean) / sqrt(variance + eps) * weight + bias. Ba et al., arXiv 1607.06450.
#ifndef SPINDLE_SHADERS_LAYER_NORM_H
#define SPINDLE_SHADERS_LAYER_NORM_H
#include "shaders/common/glsl.h"
#ifdef __cplusplus
#include <span>

#include "shaders/matmul/matmul_input.h"
namespace spindle {
#endif

struct LayerNormParameters {
  uint cols;         // elements of a row
  uint weight_rows;  // row r takes row r % weight_rows of weight and bias
  float eps;
};

#ifdef __cplusplus
// y: [rows, dim], as products read it; x: f32 [rows, dim], may be y's; weight, bias: f32 [weight rows, dim],
// or nothing (1, and 0): one row, or one for each head where rows are heads.
void layer_norm(Stream& stream, const MatmulInput& y, Tensor x, Tensor weight, Tensor bias, float eps);
std::vector<KernelSpec> layer_norm_kernels(const Caps& caps);

namespace reference {
void layer_norm(std::span<double> y, std::span<const double> x, size_t dim, std::span<const double> weight,
                std::span<const double> bias, double eps);
}
}  // namespace spindle
#endif
#endif
