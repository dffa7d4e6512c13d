// Sum: dispatch and reference.
#include "shaders/add/add.h"

#include <cassert>

namespace spindle {
namespace {

constexpr uint32_t kCode[] =
#include "shaders/add/add.comp.inc"
    ;
constexpr Program kProgram{"add", kCode};
constexpr uint32_t kLanes = 128;

KernelSpec kernel() { return {&kProgram, {kLanes}}; }

}  // namespace

void add(Stream& stream, Tensor y, Tensor a, Tensor b, float factor) {
  assert(y.elements() == a.elements() && y.elements() == b.elements());
  const auto n = static_cast<uint32_t>(y.elements());
  const Work work{2.0 * n, static_cast<double>(y.bytes() + a.bytes() + b.bytes())};
  stream.dispatch(kernel(), {y, a, b}, AddParameters{n, factor}, {ceil_div(n / 4 + n % 4, kLanes)}, work);
}

std::vector<KernelSpec> add_kernels(const Caps&) { return {kernel()}; }

void reference::add(std::span<double> y, std::span<const double> a, std::span<const double> b,
                    double factor) {
  for (size_t i = 0; i < y.size(); i++) y[i] = a[i] + factor * b[i];
}

}  // namespace spindle
