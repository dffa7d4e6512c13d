// Matrix product by cooperative matrices: choice of tile, and dispatch.
#include "shaders/matmul/matmul_coopmat.h"

#include <algorithm>
#include <cassert>

#include "shaders/matmul/half_rows.h"

namespace spindle {
namespace {

constexpr uint32_t kCode[] =
#include "shaders/matmul/matmul_coopmat.comp.inc"
    ;
constexpr uint32_t kSecondCode[] =
#include "shaders/matmul/matmul_coopmat2.comp.inc"
    ;
constexpr Program kProgram{"matmul_coopmat", kCode}, kSecondProgram{"matmul_coopmat2", kSecondCode};

constexpr uint32_t kFewRows = 32;

KernelSpec kernel(const Caps& caps, const CoopmatTile& t, DType type, bool bias, bool second) {
  const uint32_t m = caps.coopmat_m, n = caps.coopmat_n, down = t.rows / m, across = t.outputs / n;
  // Where sizes vary the smallest is what matrices are made for: 32 of RDNA's 32 and 64, 8 or 16 on Intel's.
  const uint32_t subgroup = caps.min_subgroup_size;
  const uint32_t subgroups = std::clamp(t.lanes / subgroup, 1u, down * across);
  // As square as can be: a subgroup loads the sum of its sides and multiplies their product.
  uint32_t gm = 1;
  const auto loads = [&](uint32_t g) { return down / g + across / (subgroups / g); };
  for (uint32_t g = 1; g <= std::min(subgroups, down); g *= 2)
    if (subgroups / g <= across && (subgroups / gm > across || loads(g) < loads(gm))) gm = g;
  const uint32_t gn = subgroups / gm, wide_m = t.rows / gm, wide_n = t.outputs / gn;
  // One matrix instead of several. K decides the order of the sums and is the same for every tile.
  const bool whole = second && caps.coopmat2_m && wide_m % caps.coopmat2_m == 0 &&
                     wide_n % caps.coopmat2_n == 0 && caps.coopmat_k % caps.coopmat2_k == 0 &&
                     std::max(wide_m, wide_n) <= caps.coopmat2_most;
  return {
      second ? &kSecondProgram : &kProgram,
      {subgroups * subgroup, whole ? wide_m : m, whole ? wide_n : n, caps.coopmat_k, whole ? 1 : wide_m / m,
       whole ? 1 : wide_n / n, gm, gn, t.blocks, static_cast<uint32_t>(type), bias},
      caps.subgroup_control ? subgroup : 0};
}

}  // namespace

bool coopmat_built() { return kCode[0] != 0; }
bool coopmat2_built() { return kSecondCode[0] != 0; }
bool uses_coopmat2(const Caps& caps) { return coopmat2_built() && caps.coopmat2_pays; }

bool matmul_uses_coopmat(const Caps& caps, Phase phase, DType type) {
  return coopmat_built() && caps.coopmat_pays && phase == Phase::prefill && type != DType::f32;
}

bool matmul_uses_coopmat(const Caps& caps, Phase phase, const Weight& w) {
  return w.fits_f16 && matmul_uses_coopmat(caps, phase, w.type);
}

CoopmatTile coopmat_tile(const Caps&, uint32_t rows) {
  return rows <= kFewRows ? CoopmatTile{kFewRows, 64} : CoopmatTile{};
}

void matmul_coopmat(Stream& stream, const CoopmatTile& tile, const MatmulOutput& y, const Weight& w, Tensor x,
                    Tensor bias) {
  assert(x.cols == HALF_WORDS(w.k) && w.type != DType::f32);
  const KernelSpec spec = matmul_coopmat_kernel(stream.caps(), tile, w.type, static_cast<bool>(bias));
  dispatch_matmul(stream, spec, tile.rows, tile.outputs, y, w, x, bias);
}

KernelSpec matmul_coopmat_kernel(const Caps& caps, const CoopmatTile& tile, DType type, bool bias) {
  return kernel(caps, tile, type, bias, uses_coopmat2(caps));
}

std::vector<KernelSpec> matmul_coopmat_kernels(const Caps& caps) {
  std::vector<KernelSpec> specs;
  if (!coopmat_built() || !caps.coopmat) return specs;
  for (bool second : {false, true})
    for (DType type : kWeightTypes)
      for (bool bias : {false, true})
        for (uint32_t rows : {kFewRows, kFewRows + 1})
          if (type != DType::f32 && (!second || (coopmat2_built() && caps.coopmat2)))
            specs.push_back(kernel(caps, coopmat_tile(caps, rows), type, bias, second));
  return specs;
}

}  // namespace spindle
