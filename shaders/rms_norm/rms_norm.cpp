// RMS norm: dispatch and reference.
#include "shaders/rms_norm/rms_norm.h"

#include <cassert>
#include <cmath>

namespace spindle {
namespace {

constexpr uint32_t kCode[] =
#include "shaders/rms_norm/rms_norm.comp.inc"
    ;
constexpr uint32_t kSubgroupCode[] =
#include "shaders/rms_norm/rms_norm_subgroup.comp.inc"
    ;
constexpr Program kPlain{"rms_norm", kCode}, kSubgroup{"rms_norm", kSubgroupCode};

KernelSpec kernel(const Caps& caps, const RowOutput& output) {
  return {caps.subgroup ? &kSubgroup : &kPlain, output.constants(row_lanes(caps))};
}

}  // namespace

void rms_norm(Stream& stream, const MatmulInput& y, Tensor x, Tensor weight, float eps) {
  assert(y.rows() == x.rows && weight.cols == x.cols);
  const Work work{4.0 * static_cast<double>(x.elements()),
                  static_cast<double>(x.bytes() + y.bytes() + weight.bytes())};
  stream.dispatch(kernel(stream.caps(), {y, x.cols}), {y.x, y.packed(), x, weight},
                  RmsNormParameters{x.cols, weight.rows, eps}, {x.rows}, work);
}

std::vector<KernelSpec> rms_norm_kernels(const Caps& caps) {
  std::vector<KernelSpec> list;
  for (const RowOutput& output : row_outputs(caps)) list.push_back(kernel(caps, output));
  return list;
}

void reference::rms_norm(std::span<double> y, std::span<const double> x, size_t dim,
                         std::span<const double> weight, double eps) {
  for (size_t row = 0; row < x.size(); row += dim) {
    double squares = 0;
    for (size_t i = 0; i < dim; i++) squares += x[row + i] * x[row + i];
    const double scale = 1 / std::sqrt(squares / static_cast<double>(dim) + eps);
    for (size_t i = 0; i < dim; i++) y[row + i] = x[row + i] * scale * weight[(row + i) % weight.size()];
  }
}

}  // namespace spindle
