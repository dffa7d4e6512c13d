// One workgroup a row: sum of squares, then scale.
#include "shaders/rms_norm/rms_norm.h"

layout(constant_id = 0) const uint LANES = 32;
layout(local_size_x = 32, local_size_x_id = 0) in;
#include "shaders/common/reduce.glsl"

layout(binding = 2) readonly buffer X { float x[]; };
layout(binding = 2) readonly buffer X4 { vec4 x4[]; };
layout(binding = 3) readonly buffer Weight { float weight[]; };
layout(binding = 3) readonly buffer Weight4 { vec4 weight4[]; };
layout(push_constant) uniform Push { RmsNormParameters p; };
#include "shaders/matmul/matmul_input.glsl"

float scale;  // of the row

vec4 value(uint row, uint i) {
  return FOUR(x4, x, row, i) * scale * FOUR(weight4, weight, row % p.weight_rows, i);
}

void main() {
  const uint row = gl_WorkGroupID.x, at = row * p.cols;
  float squares = 0;
  for (uint i = gl_LocalInvocationIndex; i < p.cols; i += LANES) squares = fma(x[at + i], x[at + i], squares);
  scale = 1 / sqrt(workgroup_sum(squares) / float(p.cols) + p.eps);
  write_row(row);
}
