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
constexpr Program kProgram{"matmul_coopmat", kCode};

constexpr uint32_t kFewRows = 32;

KernelSpec kernel(const Caps& caps, const CoopmatTile& t, DType type, bool bias) {
  const uint32_t m = caps.coopmat_m, n = caps.coopmat_n, down = t.rows / m, across = t.outputs / n;
  // Where sizes vary the smallest is what matrices are made for: 32 of RDNA's 32 and 64, 8 or 16 on Intel's.
  const uint32_t subgroup = caps.min_subgroup_size;
  const uint32_t subgroups = std::clamp(t.lanes / subgroup, 1u, down * across);
  // As square as can be: a subgroup loads the sum of its sides and multiplies their product.
  uint32_t gm = 1;
  const auto loads = [&](uint32_t g) { return down / g + across / (subgroups / g); };
  for (uint32_t g = 1; g <= std::min(subgroups, down); g *= 2)
    if (subgroups / g <= across && (subgroups / gm > across || loads(g) < loads(gm))) gm = g;
  const uint32_t gn = subgroups / gm;
  return {&kProgram,
          {subgroups * subgroup, m, n, caps.coopmat_k, down / gm, across / gn, gm, gn, t.blocks,
           static_cast<uint32_t>(type), bias},
          caps.subgroup_control ? subgroup : 0};
}

}  // namespace

bool coopmat_built() { return kCode[0] != 0; }

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
  dispatch_matmul(stream, kernel(stream.caps(), tile, w.type, static_cast<bool>(bias)), tile.rows,
                  tile.outputs, y, w, x, bias);
}

std::vector<KernelSpec> matmul_coopmat_kernels(const Caps& caps) {
  std::vector<KernelSpec> specs;
  if (!coopmat_built() || !caps.coopmat) return specs;
  for (DType type : kWeightTypes)
    for (bool bias : {false, true})
      for (uint32_t rows : {kFewRows, kFewRows + 1})
        if (type != DType::f32) specs.push_back(kernel(caps, coopmat_tile(caps, rows), type, bias));
  return specs;
}

}  // namespace spindle
