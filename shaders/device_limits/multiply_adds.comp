// Chains of multiply-adds in registers, nothing else.
#version 450
#include "shaders/device_limits/device_limits.h"
#extension GL_EXT_control_flow_attributes : require

layout(constant_id = 0) const uint LANES = 64;
layout(local_size_x = 64, local_size_x_id = 0) in;
layout(binding = 0) writeonly buffer Sums { float sums[]; };
layout(push_constant) uniform Push { DeviceLimitsParameters p; };

void main() {
  float chain[LIMITS_CHAINS];
  const float factor = p.factor, summand = p.summand;
  [[unroll]] for (uint c = 0; c < LIMITS_CHAINS; c++) chain[c] = float(gl_LocalInvocationIndex + c);
  [[dont_unroll]] for (uint i = 0; i < p.iterations; i++)
    [[unroll]] for (uint s = 0; s < LIMITS_STEPS; s++)
      [[unroll]] for (uint c = 0; c < LIMITS_CHAINS; c++) chain[c] = fma(chain[c], factor, summand);
  float sum = 0;
  [[unroll]] for (uint c = 0; c < LIMITS_CHAINS; c++) sum += chain[c];
  sums[gl_WorkGroupID.x * LANES + gl_LocalInvocationIndex] = sum;
}
