// Weighted sum of experts, an element an invocation.
#version 450
#include "shaders/experts/expert_sum.h"

layout(constant_id = 0) const uint LANES = 64;
layout(local_size_x = 64, local_size_x_id = 0) in;
layout(constant_id = 1) const bool SHARED = false;
layout(constant_id = 2) const bool GATE = false;

layout(binding = 0) writeonly buffer Y { float y[]; };
layout(binding = 1) readonly buffer Experts { float experts[]; };
layout(binding = 2) readonly buffer Weights { float weights[]; };
layout(binding = 3) readonly buffer Shared { float shared_output[]; };
layout(binding = 4) readonly buffer Gate { float gate[]; };
layout(push_constant) uniform Push { ExpertSumParameters p; };

// exp(80) is finite; beyond it the result is less than 1e-34 either way. min may lose a NaN.
float sigmoid(float x) {
  return (floatBitsToUint(x) & 0x7fffffffu) > 0x7f800000u ? x : 1 / (1 + exp(min(-x, 80)));
}

void main() {
  const uint i = gl_WorkGroupID.x * LANES + gl_LocalInvocationIndex;
  if (i >= p.elements) return;
  const uint row = i / p.dim, column = i % p.dim;
  float sum = 0;
  for (uint s = 0; s < p.used; s++) {
    const uint pair = row * p.used + s;
    sum = fma(weights[pair], experts[pair * p.dim + column], sum);
  }
  if (SHARED) {
    const float share = GATE ? sigmoid(gate[row]) : 1;
    sum = fma(share, shared_output[i], sum);
  }
  y[i] = sum;
}
