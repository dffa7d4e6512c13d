// Rounds rows to f16, a row a workgroup.
#version 450
#include "shaders/matmul/half_rows.h"
#include "shaders/common/f16.glsl"

layout(constant_id = 0) const uint LANES = 64;
layout(constant_id = 1) const bool WIDE = true;  // k is a multiple of 4
layout(local_size_x = 64, local_size_x_id = 0) in;

layout(binding = 0) writeonly buffer H { uint h[]; };
layout(binding = 0) writeonly buffer H4 { uvec4 h4[]; };
layout(binding = 1) readonly buffer X { float x[]; };
layout(binding = 1) readonly buffer X4 { vec4 x4[]; };
layout(push_constant) uniform Push { HalfRows p; };

const uint SMALLEST = (127u - 100u) << 23, INFINITE = 255u << 23;
const uint TOP = 14;  // of the largest, as a power of two

shared uint most;

// Inputs 4 i to 4 i + 3 of a row.
vec4 load(uint row, uint i) {
  if (WIDE) return i * 4 < p.k ? x4[row * (p.k / 4) + i] : vec4(0);
  vec4 v = vec4(0);
  for (uint c = 0; c < 4; c++) if (i * 4 + c < p.k) v[c] = x[row * p.k + i * 4 + c];
  return v;
}

void main() {
  const uint row = gl_WorkGroupID.x, lane = gl_LocalInvocationIndex;
  if (lane == 0) most = 0;
  barrier();
  uvec4 own = uvec4(0);
  for (uint i = lane; i * 4 < p.k; i += LANES) own = max(own, floatBitsToUint(load(row, i)) & 0x7fffffffu);
  atomicMax(most, max(max(own.x, own.y), max(own.z, own.w)));
  barrier();
  const uint largest = most, exponent = largest >> 23;
  const float factor = largest < SMALLEST ? 0 : uintBitsToFloat((127 + 127 + TOP - exponent) << 23);

  const uint row_at = row * HALF_WORDS(p.k);
  for (uint unit = lane; unit < HALF_SCALE_AT(p.k) / 4; unit += LANES) {
    const vec4 a = load(row, unit * 2) * factor, b = load(row, unit * 2 + 1) * factor;
    h4[row_at / 4 + unit] = uvec4(pack_f16(a.x, a.y), pack_f16(a.z, a.w), pack_f16(b.x, b.y), pack_f16(b.z, b.w));
  }
  if (lane == 0) h[row_at + HALF_SCALE_AT(p.k)] = largest >= INFINITE ? largest : largest < SMALLEST ? 0 : (exponent - TOP) << 23;
}
