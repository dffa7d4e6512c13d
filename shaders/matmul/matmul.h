// Matrix product with a weight: y[row] = W x[row] + bias, for prompts (many rows) and for generated tokens
// (few).
#ifndef SPINDLE_SHADERS_MATMUL_H
#define SPINDLE_SHADERS_MATMUL_H
#include <functional>
#include <span>
#include <string>

#include "shaders/matmul/matmul_input.h"
#include "shaders/matmul/matmul_output.h"
#include "shaders/weight/weight.h"

namespace spindle {

// y: f32 [rows, n]; w: [n, k]; x: [rows, k]; bias: f32 [1, n] or nothing. The bits of a row depend on the
// phase, w and x's row alone, not on how many rows there are or how w is cut into parts. y and x may be
// larger than a binding.
void matmul(Stream& stream, Phase phase, const MatmulOutput& y, const Weight& w, const MatmulInput& x,
            Tensor bias = {});

// What products of such weights with the rows of x (f32 [rows, k]) read, for who computes those rows:
// quantised in `scratch` if one of the weights is multiplied by integer dot products, as halves there if one
// is by cooperative matrices, and in x if one reads that, which device, phase, type and k decide. The scratch
// is in use until the last product that reads the input; without any, products are computed in f32. Not all
// products know cooperative matrices.
MatmulInput matmul_input(const Caps& caps, Phase phase, Tensor x, const std::vector<const Weight*>& weights,
                         Tensor scratch, bool coopmat = true);
// The same of an x that was computed, packed.
MatmulInput matmul_input(Stream& stream, Phase phase, Tensor x, const std::vector<const Weight*>& weights,
                         Tensor scratch, bool coopmat = true);
// What the scratch must hold, the same for both phases; 0: the device has no use for it.
uint64_t matmul_scratch_bytes(const Caps& caps, uint32_t rows, uint32_t k);
bool matmul_uses_dot(const Caps& caps, Phase phase, DType type, uint32_t k);

// How the work is cut. Only slices, which a device has one number of for a phase, changes the bits.
struct MatmulTile {
  uint32_t lanes = 0;        // outputs side by side
  uint32_t row_groups = 1;   // tiles of rows in a workgroup
  uint32_t slices = 1;       // of k
  uint32_t tm = 0, tn = 0;   // rows and outputs of a lane
  uint32_t steps = 0;        // of 4 inputs in an iteration: 1 (not for q4_0), 2, 4, 8; dot products 4 or 8
  bool shuffle = false;      // a workgroup is one subgroup, whose lanes hand x round and load 64 bits at once
  bool mixed = false;        // dot products of signed with unsigned bytes
  uint32_t ahead_bytes = 0;  // of weights that a workgroup asks for before it needs them
};
// The built-in choice, or what was tuned for the device.
MatmulTile matmul_tile(const Caps& caps, Phase phase, uint32_t rows, bool dot = false);
// For tuning: the built-in choice and others that give the same bits, and a choice in Caps::tuning.
std::vector<MatmulTile> matmul_tiles(const Caps& caps, Phase phase, uint32_t rows, bool dot);
std::string matmul_tile_name(Phase phase, const MatmulTile& tile, bool dot);
std::vector<uint32_t> matmul_tile_numbers(const MatmulTile& tile);
// By integer dot products where x is quantised.
void matmul(Stream& stream, const MatmulTile& tile, Phase phase, const MatmulOutput& y, const Weight& w,
            const MatmulInput& x, Tensor bias = {});
// Every kernel that matmul can use on such a device.
std::vector<KernelSpec> matmul_kernels(const Caps& caps);
// Those of prompts and of one generated token with such a weight, for who builds them before they are needed.
std::vector<KernelSpec> matmul_kernels(const Caps& caps, DType type, uint32_t k, bool bias);

// The same for other products whose shaders include those of this one.
struct MatmulPrograms {
  const Program *plain, *subgroup, *dot, *dot_subgroup;
};
KernelSpec matmul_kernel(const MatmulPrograms& programs, const MatmulTile& tile, Phase phase, DType type,
                         uint32_t k, bool dot, bool bias);
std::vector<KernelSpec> matmul_kernels(const Caps& caps, const MatmulPrograms& programs,
                                       const std::function<std::vector<MatmulTile>(Phase, bool dot)>& tiles);

namespace reference {
// y: [rows, n], w: [n, k], x: [rows, k], bias: [n] or empty.
void matmul(std::span<double> y, std::span<const double> w, std::span<const double> x,
            std::span<const double> bias, uint32_t rows);
}  // namespace reference
}  // namespace spindle
#endif
