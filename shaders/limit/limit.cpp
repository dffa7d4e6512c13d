// Limit: dispatch and reference.
#include "shaders/limit/limit.h"

#include <algorithm>
#include <cassert>
#include <cmath>

namespace spindle {
namespace {

constexpr uint32_t kCode[] =
#include "shaders/limit/limit.comp.inc"
    ;
constexpr Program kProgram{"limit", kCode};
constexpr uint32_t kLanes = 128;

KernelSpec kernel(Limit kind) { return {&kProgram, {kLanes, static_cast<uint32_t>(kind)}}; }

}  // namespace

void limit(Stream& stream, Tensor y, Tensor x, float factor, Limit kind, float bound) {
  assert(y.elements() == x.elements() && (kind == Limit::none || bound > 0));
  const auto n = static_cast<uint32_t>(y.elements());
  const Work work{kind == Limit::soft_cap ? 16.0 * n : 2.0 * n, static_cast<double>(y.bytes() + x.bytes())};
  stream.dispatch(kernel(kind), {y, x}, LimitParameters{n, factor, bound}, {ceil_div(n / 4 + n % 4, kLanes)},
                  work);
}

std::vector<KernelSpec> limit_kernels(const Caps&) {
  return {kernel(Limit::none), kernel(Limit::clamp), kernel(Limit::soft_cap)};
}

void reference::limit(std::span<double> y, std::span<const double> x, double factor, Limit kind,
                      double bound) {
  for (size_t i = 0; i < y.size(); i++) {
    y[i] = factor * x[i];
    if (kind == Limit::clamp) y[i] = std::clamp(y[i], -bound, bound);
    if (kind == Limit::soft_cap) y[i] = bound * std::tanh(y[i] / bound);
  }
}

}  // namespace spindle
