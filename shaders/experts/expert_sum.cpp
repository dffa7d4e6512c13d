// Weighted sum of experts: dispatch and reference.
#include "shaders/experts/expert_sum.h"

#include <cassert>
#include <cmath>

namespace spindle {
namespace {

constexpr uint32_t kCode[] =
#include "shaders/experts/expert_sum.comp.inc"
    ;
constexpr Program kProgram{"expert_sum", kCode};
constexpr uint32_t kLanes = 128;

KernelSpec kernel(bool shared, bool gate, bool residual) {
  return {&kProgram, {kLanes, shared, gate, residual}};
}

}  // namespace

void expert_sum(Stream& stream, Tensor y, Tensor experts, Tensor weights, const SharedExpert& shared,
                Tensor residual, float scale) {
  assert(experts.rows == weights.elements() && experts.cols == y.cols && weights.rows == y.rows);
  assert(!shared.output || shared.output.elements() == y.elements());
  assert(!shared.gate || (shared.output && shared.gate.elements() == y.rows));
  assert(!residual || residual.elements() == y.elements());
  const auto n = static_cast<uint32_t>(y.elements());
  const uint64_t bytes = y.bytes() + experts.bytes() + weights.bytes() +
                         (shared.output ? shared.output.bytes() : 0) + (residual ? residual.bytes() : 0);
  stream.dispatch(
      kernel(static_cast<bool>(shared.output), static_cast<bool>(shared.gate), static_cast<bool>(residual)),
      {y, experts, weights, shared.output, shared.gate, residual},
      ExpertSumParameters{n, y.cols, weights.cols, scale}, {ceil_div(n, kLanes)},
      Work{2.0 * static_cast<double>(experts.elements()), static_cast<double>(bytes)});
}

std::vector<KernelSpec> expert_sum_kernels(const Caps&) {
  std::vector<KernelSpec> specs;
  for (bool residual : {false, true})
    for (const auto& [shared, gate] : {std::pair{false, false}, {true, false}, {true, true}})
      specs.push_back(kernel(shared, gate, residual));
  return specs;
}

void reference::expert_sum(std::span<double> y, std::span<const double> experts,
                           std::span<const double> weights, std::span<const double> shared,
                           std::span<const double> gate, std::span<const double> residual, double scale) {
  const size_t dim = experts.size() / weights.size(), used = weights.size() / (y.size() / dim);
  for (size_t i = 0; i < y.size(); i++) {
    double sum = 0;
    for (size_t pair = i / dim * used; pair < (i / dim + 1) * used; pair++)
      sum += weights[pair] * experts[pair * dim + i % dim];
    if (!shared.empty()) sum += shared[i] * (gate.empty() ? 1 : 1 / (1 + std::exp(-gate[i / dim])));
    y[i] = (residual.empty() ? 0 : residual[i]) + scale * sum;
  }
}

}  // namespace spindle
