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

KernelSpec kernel(bool shared, bool gate) { return {&kProgram, {kLanes, shared, gate}}; }

}  // namespace

void expert_sum(Stream& stream, Tensor y, Tensor experts, Tensor weights, const SharedExpert& shared) {
  assert(experts.rows == weights.elements() && experts.cols == y.cols && weights.rows == y.rows);
  assert(!shared.output || shared.output.elements() == y.elements());
  assert(!shared.gate || (shared.output && shared.gate.elements() == y.rows));
  const auto n = static_cast<uint32_t>(y.elements());
  const uint64_t bytes =
      y.bytes() + experts.bytes() + weights.bytes() + (shared.output ? shared.output.bytes() : 0);
  stream.dispatch(kernel(static_cast<bool>(shared.output), static_cast<bool>(shared.gate)),
                  {y, experts, weights, shared.output, shared.gate},
                  ExpertSumParameters{n, y.cols, weights.cols}, {ceil_div(n, kLanes)},
                  Work{2.0 * static_cast<double>(experts.elements()), static_cast<double>(bytes)});
}

std::vector<KernelSpec> expert_sum_kernels(const Caps&) {
  return {kernel(false, false), kernel(true, false), kernel(true, true)};
}

void reference::expert_sum(std::span<double> y, std::span<const double> experts,
                           std::span<const double> weights, std::span<const double> shared,
                           std::span<const double> gate) {
  const size_t dim = experts.size() / weights.size(), used = weights.size() / (y.size() / dim);
  for (size_t i = 0; i < y.size(); i++) {
    double sum = 0;
    for (size_t pair = i / dim * used; pair < (i / dim + 1) * used; pair++)
      sum += weights[pair] * experts[pair * dim + i % dim];
    if (!shared.empty()) sum += shared[i] * (gate.empty() ? 1 : 1 / (1 + std::exp(-gate[i / dim])));
    y[i] = sum;
  }
}

}  // namespace spindle
