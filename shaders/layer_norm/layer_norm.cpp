// Layer norm: dispatch and reference.
#include "shaders/layer_norm/layer_norm.h"

#include <cassert>
#include <cmath>

namespace spindle {
namespace {

constexpr uint32_t kCode[] =
#include "shaders/layer_norm/layer_norm.comp.inc"
    ;
constexpr uint32_t kSubgroupCode[] =
#include "shaders/layer_norm/layer_norm_subgroup.comp.inc"
    ;
constexpr Program kPlain{"layer_norm", kCode}, kSubgroup{"layer_norm", kSubgroupCode};

KernelSpec kernel(const Caps& caps, const RowOutput& output, bool weight, bool bias) {
  return {caps.subgroup ? &kSubgroup : &kPlain, output.constants(row_lanes(caps), {weight, bias})};
}

}  // namespace

void layer_norm(Stream& stream, const MatmulInput& y, Tensor x, Tensor weight, Tensor bias, float eps) {
  assert(y.rows() == x.rows && (!weight || weight.cols == x.cols));
  assert(!bias || (bias.cols == x.cols && (!weight || bias.rows == weight.rows)));
  const uint32_t weight_rows = weight ? weight.rows : bias ? bias.rows : 1;
  const uint64_t bytes = x.bytes() + y.bytes() + (weight ? weight.bytes() : 0) + (bias ? bias.bytes() : 0);
  const Work work{7.0 * static_cast<double>(x.elements()), static_cast<double>(bytes)};
  stream.dispatch(kernel(stream.caps(), {y, x.cols}, static_cast<bool>(weight), static_cast<bool>(bias)),
                  {y.x, y.packed(), x, weight, bias}, LayerNormParameters{x.cols, weight_rows, eps}, {x.rows},
                  work);
}

std::vector<KernelSpec> layer_norm_kernels(const Caps& caps) {
  std::vector<KernelSpec> list;
  for (const RowOutput& output : row_outputs(caps))
    for (bool weight : {true, false})
      for (bool bias : {true, false}) list.push_back(kernel(caps, output, weight, bias));
  return list;
}

void reference::layer_norm(std::span<double> y, std::span<const double> x, size_t dim,
                           std::span<const double> weight, std::span<const double> bias, double eps) {
  for (size_t row = 0; row < x.size(); row += dim) {
    double mean = 0, variance = 0;
    for (size_t i = 0; i < dim; i++) mean += x[row + i] / static_cast<double>(dim);
    for (size_t i = 0; i < dim; i++)
      variance += (x[row + i] - mean) * (x[row + i] - mean) / static_cast<double>(dim);
    const double scale = 1 / std::sqrt(variance + eps);
    for (size_t i = 0; i < dim; i++)
      y[row + i] = (x[row + i] - mean) * scale * (weight.empty() ? 1 : weight[(row + i) % weight.size()]) +
                   (bias.empty() ? 0 : bias[(row + i) % bias.size()]);
  }
}

}  // namespace spindle
