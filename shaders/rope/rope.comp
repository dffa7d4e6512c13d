// Rotates one pair of every head of one row in each invocation: the angle is put together once for all heads.
#version 450
#include "shaders/common/rows.h"
#include "shaders/rope/rope.h"

layout(constant_id = 0) const uint LANES = 32;
layout(local_size_x = 32, local_size_x_id = 0) in;

layout(binding = 0) buffer X { float x[]; };
layout(binding = 1) readonly buffer Rows { Row rows[]; };
layout(binding = 2) readonly buffer Table { vec2 table[]; };  // (cos, sin)
layout(push_constant) uniform Push { RopeParameters p; };

void main() {
  const uint index = gl_GlobalInvocationID.x, row = index / p.n_pairs, pair = index % p.n_pairs;
  if (row >= p.n_rows || rows[row].in_use == 0) return;
  const uint position = rows[row].position;
  const vec2 lo = table[(position % ROPE_STEP) * p.n_pairs + pair];
  const vec2 hi = table[(ROPE_STEP + position / ROPE_STEP) * p.n_pairs + pair];
  const float c = lo.x * hi.x - lo.y * hi.y, s = lo.x * hi.y + lo.y * hi.x;
  const uint first = p.half_split != 0 ? pair : 2 * pair, second = p.half_split != 0 ? pair + p.n_pairs : 2 * pair + 1;
  for (uint head = 0; head < p.n_heads; head++) {
    const uint at = (row * p.n_heads + head) * p.head_dim;
    const float a = x[at + first], b = x[at + second];
    x[at + first] = a * c - b * s;
    x[at + second] = a * s + b * c;
  }
}
