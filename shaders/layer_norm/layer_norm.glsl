// One workgroup a row: mean, then variance about it, then scale.
#include "shaders/layer_norm/layer_norm.h"

layout(constant_id = 0) const uint LANES = 32;
layout(local_size_x = 32, local_size_x_id = 0) in;
layout(constant_id = 4) const bool WEIGHT = true;
layout(constant_id = 5) const bool BIAS = true;
#include "shaders/common/reduce.glsl"

layout(binding = 2) readonly buffer X { float x[]; };
layout(binding = 2) readonly buffer X4 { vec4 x4[]; };
layout(binding = 3) readonly buffer Weight { float weight[]; };
layout(binding = 3) readonly buffer Weight4 { vec4 weight4[]; };
layout(binding = 4) readonly buffer Bias { float bias[]; };
layout(binding = 4) readonly buffer Bias4 { vec4 bias4[]; };
layout(push_constant) uniform Push { LayerNormParameters p; };
#include "shaders/matmul/matmul_input.glsl"

float mean, scale;  // of the row

vec4 value(uint row, uint i) {
  vec4 v = (FOUR(x4, x, row, i) - mean) * scale;
  if (WEIGHT) v *= FOUR(weight4, weight, row % p.weight_rows, i);
  if (BIAS) v += FOUR(bias4, bias, row % p.weight_rows, i);
  return v;
}

void main() {
  const uint row = gl_WorkGroupID.x, at = row * p.cols;
  float sum = 0;
  for (uint i = gl_LocalInvocationIndex; i < p.cols; i += LANES) sum += x[at + i];
  mean = workgroup_sum(sum) / float(p.cols);
  float squares = 0;
  for (uint i = gl_LocalInvocationIndex; i < p.cols; i += LANES) {
    const float d = x[at + i] - mean;
    squares = fma(d, d, squares);
  }
  scale = 1 / sqrt(workgroup_sum(squares) / float(p.cols) + p.eps);
  write_row(row);
}
