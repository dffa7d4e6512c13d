// Rotates one pair of every head of one row in each invocation: the angle is put together once for all heads.
// Further invocations copy the elements that are not rotated, where somebody needs them elsewhere or scaled.
#version 450
#include "shaders/common/rows.h"
#include "shaders/rope/rope.h"

layout(constant_id = 0) const uint LANES = 32;
layout(local_size_x = 32, local_size_x_id = 0) in;

layout(binding = 0) writeonly buffer Y { float y[]; };
layout(binding = 1) readonly buffer X { float x[]; };
layout(binding = 2) readonly buffer Rows { Row rows[]; };
layout(binding = 3) readonly buffer Table { vec2 table[]; };  // (cos, sin)
layout(push_constant) uniform Push { RopeParameters p; };

vec2 rope_entry(uint at) { return table[at]; }
#include "shaders/rope/rope.glsl"

void main() {
  const uint index = gl_GlobalInvocationID.x, row = index / p.n_lanes, pair = index % p.n_lanes;
  if (row >= p.n_rows || rows[row].in_use == 0) return;
  const uint position = rows[row].position;
  float scale = 1;
  if (p.slope != 0) scale = max(1, p.base + p.slope * log(float((min(position, p.log_cap) + p.log_offset) / p.log_width) + 1));

  vec2 angle = vec2(1, 0);
  uint first = 2 * pair, second = 2 * pair + 1;  // not rotated
  if (pair < p.n_pairs) {
    angle = rope_angle(rope_position(position, p.modulo, p.divide, p.offset, p.cap), pair, p.n_pairs);
    if (p.half_split != 0) {
      first = pair;
      second = pair + p.n_pairs;
    }
  }
  angle *= scale;
  for (uint head = 0; head < p.n_heads; head++) {
    const uint from = (row * p.n_heads + head) * p.head_dim;
    const uint to = ((p.first_row + row) * p.n_heads + head) * p.head_dim;
    const vec2 turned = rope_turn(vec2(x[from + first], x[from + second]), angle);
    y[to + first] = turned.x;
    y[to + second] = turned.y;
  }
}
