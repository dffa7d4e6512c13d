// Matrix product of prompts by cooperative matrices, where the device has them and the build's compiler knew
// them.
#ifndef SPINDLE_SHADERS_MATMUL_COOPMAT_H
#define SPINDLE_SHADERS_MATMUL_COOPMAT_H
#include "shaders/matmul/matmul_output.h"

namespace spindle {

// Whether the kernels are in this program: glslc knew GL_KHR_cooperative_matrix, and
// GL_NV_cooperative_matrix2.
bool coopmat_built();
bool coopmat2_built();
// Whether what is computed by cooperative matrices takes the kernels of the second extension.
bool uses_coopmat2(const Caps& caps);
// Types that are multiplied so where it pays: all but f32.
bool matmul_uses_coopmat(const Caps& caps, Phase phase, DType type);
// ... and whether this weight is, whose values must not exceed f16's.
bool matmul_uses_coopmat(const Caps& caps, Phase phase, const Weight& w);

// How the work is cut; the bits do not depend on it.
struct CoopmatTile {
  uint32_t rows = 64, outputs = 128;  // of a workgroup: powers of two from 32
  uint32_t lanes = 128;               // of a workgroup, or one subgroup where those are larger
  uint32_t blocks = 1;                // of 32 inputs in an iteration
};
CoopmatTile coopmat_tile(const Caps& caps, uint32_t rows);

// y: f32 [rows, n]; w: [n, k], not f32; x: [rows, HALF_WORDS(k)] of half_rows(); bias: f32 [1, n] or nothing.
// A row's products are added as the device adds them, in one order: its bits depend on w and x's row alone.
void matmul_coopmat(Stream& stream, const CoopmatTile& tile, const MatmulOutput& y, const Weight& w, Tensor x,
                    Tensor bias);
KernelSpec matmul_coopmat_kernel(const Caps& caps, const CoopmatTile& tile, DType type, bool bias);
std::vector<KernelSpec> matmul_coopmat_kernels(const Caps& caps);

}  // namespace spindle
#endif
