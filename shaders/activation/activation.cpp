// Activation: dispatch and reference.
#include "shaders/activation/activation.h"

#include <cassert>
#include <cmath>
#include <numbers>

namespace spindle {
namespace {

constexpr uint32_t kCode[] =
#include "shaders/activation/activation.comp.inc"
    ;
constexpr Program kProgram{"activation", kCode};

KernelSpec kernel(const Caps& caps, const RowOutput& output, Activation f, bool gated) {
  return {&kProgram, output.constants(output.element_lanes(caps), {static_cast<uint32_t>(f), gated})};
}

double apply(Activation f, double x) {
  const double positive = x > 0 ? x : 0;
  switch (f) {
    case Activation::silu:
      return x / (1 + std::exp(-x));
    case Activation::gelu:
      // 1 + tanh(u) = 2 / (1 + exp(-2 u)), which keeps the digits of small results.
      return x / (1 + std::exp(-std::sqrt(8 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
    case Activation::gelu_erf:
      return x / 2 * std::erfc(-x / std::numbers::sqrt2);
    case Activation::gelu_quick:
      return x / (1 + std::exp(-1.702 * x));
    case Activation::relu:
      return positive;
    case Activation::relu_squared:
      return positive * positive;
  }
  return x;
}

}  // namespace

void activation(Stream& stream, const MatmulInput& y, Activation f, Tensor gate, Tensor up) {
  assert(y.rows() == gate.rows && (!up || (up.rows == gate.rows && up.cols == gate.cols)));
  const RowOutput output(y, gate.cols);
  const double n = static_cast<double>(gate.elements());
  const uint64_t bytes = y.bytes() + gate.bytes() + (up ? up.bytes() : 0);
  stream.dispatch(kernel(stream.caps(), output, f, static_cast<bool>(up)), {y.x, y.packed(), gate, up},
                  ActivationParameters{gate.cols, gate.rows},
                  {output.element_groups(stream.caps(), gate.rows, gate.cols)},
                  Work{10.0 * n, static_cast<double>(bytes)});
}

std::vector<KernelSpec> activation_kernels(const Caps& caps) {
  std::vector<KernelSpec> specs;
  for (const RowOutput& output : row_outputs(caps))
    for (Activation f : {Activation::silu, Activation::gelu, Activation::gelu_erf, Activation::gelu_quick,
                         Activation::relu, Activation::relu_squared})
      for (bool gated : {true, false})
        if (!output.f32 || output.packing == PACKING_NONE)  // one product reads it
          specs.push_back(kernel(caps, output, f, gated));
  return specs;
}

void reference::activation(std::span<double> y, Activation f, std::span<const double> gate,
                           std::span<const double> up) {
  for (size_t i = 0; i < y.size(); i++) y[i] = apply(f, gate[i]) * (up.empty() ? 1 : up[i]);
}

}  // namespace spindle
