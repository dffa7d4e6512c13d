// SwiGLU: dispatch and reference.
#include "shaders/swiglu/swiglu.h"

#include <cassert>
#include <cmath>

namespace spindle {
namespace {

constexpr uint32_t kCode[] =
#include "shaders/swiglu/swiglu.comp.inc"
    ;
constexpr Program kProgram{"swiglu", kCode};
constexpr uint32_t kLanes = 128;

KernelSpec kernel() { return {&kProgram, {kLanes}}; }

}  // namespace

void swiglu(Stream& stream, Tensor y, Tensor gate, Tensor up) {
  assert(y.elements() == gate.elements() && y.elements() == up.elements());
  const auto n = static_cast<uint32_t>(y.elements());
  const Work work{10.0 * n, static_cast<double>(y.bytes() + gate.bytes() + up.bytes())};
  stream.dispatch(kernel(), {y, gate, up}, SwigluParameters{n}, {ceil_div(n / 4 + n % 4, kLanes)}, work);
}

std::vector<KernelSpec> swiglu_kernels(const Caps&) { return {kernel()}; }

void reference::swiglu(std::span<double> y, std::span<const double> gate, std::span<const double> up) {
  for (size_t i = 0; i < y.size(); i++) y[i] = gate[i] / (1 + std::exp(-gate[i])) * up[i];
}

}  // namespace spindle
