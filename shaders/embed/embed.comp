// One workgroup a row; lanes take units, which lie WEIGHT_GROUP apart.
#version 450
#include "shaders/embed/embed.h"
#extension GL_EXT_control_flow_attributes : require

layout(constant_id = 0) const uint LANES = 32;
layout(local_size_x = 32, local_size_x_id = 0) in;
layout(constant_id = 1) const uint WEIGHT_TYPE = 0;
layout(constant_id = 2) const bool FOURS = true;  // dim is a multiple of 4

#define WEIGHT_BINDING 1
#define SCALES_BINDING 2
#include "shaders/weight/weight.glsl"
layout(binding = 0) writeonly buffer X { float x[]; };
layout(binding = 0) writeonly buffer X4 { vec4 x4[]; };
layout(binding = 3) readonly buffer Rows { Row rows[]; };
layout(push_constant) uniform Push { EmbedParameters p; };

void main() {
  const Row row = rows[gl_WorkGroupID.x];
  const uint entry = p.by_position != 0 ? row.position : row.token;
  if (row.in_use == 0 || entry < p.first || entry - p.first >= p.count) return;
  const uint n_blocks = (p.dim + WEIGHT_BLOCK - 1) / WEIGHT_BLOCK, output_ = entry - p.first;
  const uint first_unit = weight_at(output_, n_blocks), first_scale = scale_at(output_, n_blocks);
  for (uint unit = gl_LocalInvocationIndex; unit * UNIT_INPUTS < p.dim; unit += LANES) {
    const uvec4 values = weight_unit(first_unit + unit * WEIGHT_GROUP);
    const WeightFactors f = weight_scales(first_scale, unit / BLOCK_UNITS);
    [[unroll]] for (uint step = 0; step < UNIT_INPUTS / 4; step++) {
      const uint part = WEIGHT_HALVES ? step / 4 : 0;
      vec4 v = weight_decode(values, step, f.high, step) * f.scale[part];
      if (WEIGHT_MINIMUM) v += f.minimum[part];
      const uint i = unit * UNIT_INPUTS + step * 4, at = gl_WorkGroupID.x * p.dim + i;
      if (FOURS && i < p.dim) x4[at / 4] = p.factor * v;
      if (!FOURS) [[unroll]] for (uint c = 0; c < 4; c++) if (i + c < p.dim) x[at + c] = p.factor * v[c];
    }
  }
}
