// Activation, written as products read it.
#version 450
#include "shaders/activation/activation.h"

layout(constant_id = 0) const uint LANES = 64;
layout(local_size_x = 64, local_size_x_id = 0) in;
layout(constant_id = 4) const uint KIND = ACTIVATION_SILU;
layout(constant_id = 5) const bool GATED = true;

layout(binding = 2) readonly buffer Gate { float gate[]; };
layout(binding = 2) readonly buffer Gate4 { vec4 gate4[]; };
layout(binding = 3) readonly buffer Up { float up[]; };
layout(binding = 3) readonly buffer Up4 { vec4 up4[]; };
layout(push_constant) uniform Push { ActivationParameters p; };
#include "shaders/matmul/matmul_input.glsl"

// exp(80) is finite; beyond it the result is less than 1e-32 either way.
vec4 silu(vec4 x) { return x / (1 + exp(min(-x, 80))); }
vec4 gelu_quick(vec4 x) { return x / (1 + exp(min(-1.702 * x, 80))); }

// 1 + tanh(u) = 2 / (1 + exp(-2 u)). Beyond 9.5 the result is x, or less than 1e-32 of it.
vec4 gelu(vec4 x) {
  const vec4 c = clamp(x, -9.5, 9.5);
  return x / (1 + exp(-1.5957691216 * (c + 0.044715 * c * c * c)));
}

// 1 - erf(t) for t >= 0 within 3e-8 of itself: S. L. Moshier, Cephes Mathematical Library, ndtrf.c.
float erfc(float t) {
  if (t < 1) {
    const float z = t * t;
    return 1 - t * ((((((7.853861353153693e-5 * z - 8.010193625184903e-4) * z + 5.188327685732524e-3) * z -
                       2.685381193529856e-2) * z + 1.128358514861418e-1) * z - 3.761262582423300e-1) * z +
                    1.128379165726710);
  }
  const float c = min(t, 9), q = 1 / c, z = q * q;  // at 9 it is below 1e-36
  const float low = (((((((2.326819970068386e-2 * z - 1.387039388740657e-1) * z + 3.687424674597105e-1) * z -
                         5.824733027278666e-1) * z + 6.210004621745983e-1) * z - 4.944515323274145e-1) * z +
                      3.404879937665872e-1) * z - 2.741127028184656e-1) * z + 5.638259427386472e-1;
  const float high = ((((((-1.047766399936249e1 * z + 1.297719955372516e1) * z - 7.495518717768503) * z +
                         2.921019019210786) * z - 1.015265279202700) * z + 4.218463358204948e-1) * z -
                      2.820767439740514e-1) * z + 5.641895067754075e-1;
  return exp(-c * c) * q * (c < 2 ? low : high);
}

vec4 gelu_erf(vec4 x) {
  vec4 y;
  [[unroll]] for (uint i = 0; i < 4; i++) {
    const float half_tail = 0.5 * erfc(abs(x[i]) * 0.70710678118);
    y[i] = x[i] * (x[i] < 0 ? half_tail : 1 - half_tail);
  }
  return y;
}

vec4 relu(vec4 x) { return mix(x, vec4(0), lessThan(x, vec4(0))); }  // NaN stays

vec4 activate(vec4 x) {
  if (KIND == ACTIVATION_GELU) return gelu(x);
  if (KIND == ACTIVATION_GELU_ERF) return gelu_erf(x);
  if (KIND == ACTIVATION_GELU_QUICK) return gelu_quick(x);
  if (KIND == ACTIVATION_RELU) return relu(x);
  if (KIND == ACTIVATION_RELU_SQUARED) return relu(x) * relu(x);
  return silu(x);
}

vec4 value(uint row, uint i) {
  const vec4 a = activate(FOUR(gate4, gate, row, i));
  return GATED ? a * FOUR(up4, up, row, i) : a;
}

void main() { write_rows(p.rows); }
