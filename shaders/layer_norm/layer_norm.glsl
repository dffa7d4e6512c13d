// One workgroup a row: mean, then variance about it, then scale.
#include "shaders/layer_norm/layer_norm.h"

layout(constant_id = 0) const uint LANES = 32;
layout(local_size_x = 32, local_size_x_id = 0) in;
layout(constant_id = 1) const bool WEIGHT = true;
layout(constant_id = 2) const bool BIAS = true;
#include "shaders/common/reduce.glsl"

layout(binding = 0) writeonly buffer Y { float y[]; };
layout(binding = 1) readonly buffer X { float x[]; };
layout(binding = 2) readonly buffer Weight { float weight[]; };
layout(binding = 3) readonly buffer Bias { float bias[]; };
layout(push_constant) uniform Push { LayerNormParameters p; };

void main() {
  const uint row = gl_WorkGroupID.x * p.dim, weights = gl_WorkGroupID.x % p.weight_rows * p.dim;
  float sum = 0;
  for (uint i = gl_LocalInvocationIndex; i < p.dim; i += LANES) sum += x[row + i];
  const float mean = workgroup_sum(sum) / float(p.dim);
  float squares = 0;
  for (uint i = gl_LocalInvocationIndex; i < p.dim; i += LANES) {
    const float d = x[row + i] - mean;
    squares = fma(d, d, squares);
  }
  const float scale = 1 / sqrt(workgroup_sum(squares) / float(p.dim) + p.eps);
  for (uint i = gl_LocalInvocationIndex; i < p.dim; i += LANES) {
    float v = (x[row + i] - mean) * scale;
    if (WEIGHT) v *= weight[weights + i];
    if (BIAS) v += bias[weights + i];
    y[row + i] = v;
  }
}
