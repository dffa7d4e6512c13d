// The functions there are, for who only names them.
#ifndef SPINDLE_SHADERS_ACTIVATION_KIND_H
#define SPINDLE_SHADERS_ACTIVATION_KIND_H
#define ACTIVATION_SILU 0          // x / (1 + exp(-x))
#define ACTIVATION_GELU 1          // x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))
#define ACTIVATION_GELU_ERF 2      // x / 2 (1 + erf(x / sqrt(2)))
#define ACTIVATION_GELU_QUICK 3    // x / (1 + exp(-1.702 x))
#define ACTIVATION_RELU 4          // max(x, 0)
#define ACTIVATION_RELU_SQUARED 5  // max(x, 0)^2
#ifdef __cplusplus
namespace spindle {
enum class Activation {
  silu = ACTIVATION_SILU,
  gelu = ACTIVATION_GELU,
  gelu_erf = ACTIVATION_GELU_ERF,
  gelu_quick = ACTIVATION_GELU_QUICK,
  relu = ACTIVATION_RELU,
  relu_squared = ACTIVATION_RELU_SQUARED,
};
}
#endif
#endif
