// Scaled sum, four elements an invocation; the last n % 4 one each.
#version 450
#include "shaders/add/add.h"

layout(constant_id = 0) const uint LANES = 64;
layout(local_size_x = 64, local_size_x_id = 0) in;

layout(binding = 0) writeonly buffer Y { float y[]; };
layout(binding = 0) writeonly buffer Y4 { vec4 y4[]; };
layout(binding = 1) readonly buffer A { float a[]; };
layout(binding = 1) readonly buffer A4 { vec4 a4[]; };
layout(binding = 2) readonly buffer B { float b[]; };
layout(binding = 2) readonly buffer B4 { vec4 b4[]; };
layout(push_constant) uniform Push { AddParameters p; };

void main() {
  const uint i = gl_WorkGroupID.x * LANES + gl_LocalInvocationIndex, fours = p.n / 4;
  if (i < fours) {
    y4[i] = a4[i] + p.factor * b4[i];
  } else if (i < fours + p.n % 4) {
    const uint at = fours * 3 + i;
    y[at] = a[at] + p.factor * b[at];
  }
}
