// Reads a buffer, 16 bytes a lane and load, eight loads at a time.
#version 450
#include "shaders/device_limits/device_limits.h"
#extension GL_EXT_control_flow_attributes : require

layout(constant_id = 0) const uint LANES = 64;
layout(local_size_x = 64, local_size_x_id = 0) in;
layout(binding = 0) writeonly buffer Sums { float sums[]; };
layout(binding = 1) readonly buffer X4 { vec4 x4[]; };
layout(push_constant) uniform Push { DeviceLimitsParameters p; };

void main() {
  vec4 sum = vec4(0);
  uint at = gl_WorkGroupID.x * p.iterations * 8 * LANES + gl_LocalInvocationIndex;
  [[dont_unroll]] for (uint i = 0; i < p.iterations; i++) {
    [[unroll]] for (uint s = 0; s < 8; s++) sum += x4[at + s * LANES];
    at += 8 * LANES;
  }
  sums[gl_WorkGroupID.x * LANES + gl_LocalInvocationIndex] = (sum.x + sum.y) + (sum.z + sum.w);
}
