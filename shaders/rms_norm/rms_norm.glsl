// One workgroup a row: sum of squares, then scale.
#include "shaders/rms_norm/rms_norm.h"

layout(constant_id = 0) const uint LANES = 32;
layout(local_size_x = 32, local_size_x_id = 0) in;
#include "shaders/common/reduce.glsl"

layout(binding = 0) writeonly buffer Y { float y[]; };
layout(binding = 1) readonly buffer X { float x[]; };
layout(binding = 2) readonly buffer Weight { float weight[]; };
layout(push_constant) uniform Push { RmsNormParameters p; };

void main() {
  const uint row = gl_WorkGroupID.x * p.dim, weights = gl_WorkGroupID.x % p.weight_rows * p.dim;
  float squares = 0;
  for (uint i = gl_LocalInvocationIndex; i < p.dim; i += LANES) squares = fma(x[row + i], x[row + i], squares);
  const float scale = 1 / sqrt(workgroup_sum(squares) / float(p.dim) + p.eps);
  for (uint i = gl_LocalInvocationIndex; i < p.dim; i += LANES) y[row + i] = x[row + i] * scale * weight[weights + i];
}
