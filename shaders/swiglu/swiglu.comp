// SwiGLU, four elements an invocation; the last n % 4 one each.
#version 450
#include "shaders/swiglu/swiglu.h"

layout(constant_id = 0) const uint LANES = 64;
layout(local_size_x = 64, local_size_x_id = 0) in;

layout(binding = 0) writeonly buffer Y { float y[]; };
layout(binding = 0) writeonly buffer Y4 { vec4 y4[]; };
layout(binding = 1) readonly buffer Gate { float gate[]; };
layout(binding = 1) readonly buffer Gate4 { vec4 gate4[]; };
layout(binding = 2) readonly buffer Up { float up[]; };
layout(binding = 2) readonly buffer Up4 { vec4 up4[]; };
layout(push_constant) uniform Push { SwigluParameters p; };

// exp(80) is finite; beyond it the result is less than 1e-32 either way.
vec4 silu(vec4 x) { return x / (1 + exp(min(-x, 80))); }

void main() {
  const uint i = gl_WorkGroupID.x * LANES + gl_LocalInvocationIndex, fours = p.n / 4;
  if (i < fours) {
    y4[i] = silu(gate4[i]) * up4[i];
  } else if (i < fours + p.n % 4) {
    const uint at = fours * 3 + i;
    y[at] = silu(vec4(gate[at])).x * up[at];
  }
}
