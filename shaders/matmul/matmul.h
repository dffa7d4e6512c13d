// Matrix product with a weight: y[row] = W x[row] + bias, for prompts (many rows) and for generated tokens
// (few).
#ifndef SPINDLE_SHADERS_MATMUL_H
#define SPINDLE_SHADERS_MATMUL_H
#include "shaders/common/glsl.h"
#ifdef __cplusplus
#include <span>

#include "shaders/weight/weight.h"
namespace spindle {
#endif

struct MatmulParameters {
  uint n;      // columns of y
  uint k;      // columns of x
  uint rows;   // of y and x
  uint first;  // column of y that the part's first output is
  uint count;  // outputs of the part
};

#ifdef __cplusplus
// y: f32 [rows, n]; w: [n, k]; x: f32 [rows, k]; bias: f32 [1, n] or nothing. The bits of a row depend on the
// phase, w and x's row alone, not on how many rows there are or how w is cut into parts. y and x may be
// larger than a binding.
void matmul(Stream& stream, Phase phase, Tensor y, const Weight& w, Tensor x, Tensor bias = {});

// How the work is cut. Only slices, which a device has one number of for a phase, changes the bits.
struct MatmulTile {
  uint32_t lanes = 0;       // outputs side by side
  uint32_t row_groups = 1;  // tiles of rows in a workgroup
  uint32_t slices = 1;      // of k
  uint32_t tm = 0, tn = 0;  // rows and outputs of a lane
  uint32_t steps = 0;       // of 4 inputs in an iteration: 1, 2, 4 or 8; at least 2 for q4_0
  bool shuffle = false;     // a workgroup is one subgroup, whose lanes hand x round
};
MatmulTile matmul_tile(const Caps& caps, Phase phase, uint32_t rows);
void matmul(Stream& stream, const MatmulTile& tile, Phase phase, Tensor y, const Weight& w, Tensor x,
            Tensor bias = {});
// Every kernel that matmul can use on such a device.
std::vector<KernelSpec> matmul_kernels(const Caps& caps);

namespace reference {
// y: [rows, n], w: [n, k], x: [rows, k], bias: [n] or empty.
void matmul(std::span<double> y, std::span<const double> w, std::span<const double> x,
            std::span<const double> bias, uint32_t rows);
}  // namespace reference
}  // namespace spindle
#endif
#endif
