// One workgroup a row: the next largest logit of those after the last one, as often as experts are used.
#version 450
#include "shaders/experts/expert_route.h"

layout(constant_id = 0) const uint LANES = 32;
layout(local_size_x = 32, local_size_x_id = 0) in;

layout(binding = 0) writeonly buffer Ids { uint ids[]; };
layout(binding = 1) writeonly buffer Weights { uint weights[]; };  // bits: a NaN is stored as it is
layout(binding = 2) readonly buffer Logits { float logits[]; };
layout(push_constant) uniform Push { ExpertRouteParameters p; };

const uint NONE = 0xffffffffu;
const uint NAN_BITS = 0x7fc00000u;

shared uint keys[EXPERTS_MOST];
shared uvec2 best[2 * LANES];  // key and expert of each lane, of even and odd turns
shared float shares[EXPERTS_USED_MOST];
shared float sums[LANES];
shared uint finite[LANES];

// Unsigned numbers in the order of the floats, both zeros the same.
uint key_of(float value) {
  const uint bits = floatBitsToUint(value);
  if ((bits & 0x7fffffffu) == 0) return 0x80000000u;
  return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}
float value_of(uint key) { return uintBitsToFloat((key & 0x80000000u) != 0 ? key & 0x7fffffffu : ~key); }

bool before(uvec2 a, uvec2 b) { return a.x > b.x || (a.x == b.x && a.y < b.y); }

void main() {
  const uint lane = gl_LocalInvocationID.x, first = gl_WorkGroupID.x * p.experts;
  uint all_finite = 1;
  for (uint e = lane; e < p.experts; e += LANES) {
    const float value = logits[first + e];
    if ((floatBitsToUint(value) & 0x7f800000u) == 0x7f800000u) all_finite = 0;
    keys[e] = key_of(value);  // read by this lane only
  }
  finite[lane] = all_finite;

  float largest = 0, selected = 0;
  uvec2 last = uvec2(0);
  for (uint s = 0; s < p.used; s++) {
    uvec2 own = uvec2(0, NONE);
    for (uint e = lane; e < p.experts; e += LANES) {
      const uvec2 candidate = uvec2(keys[e], e);
      if ((s == 0 || before(last, candidate)) && (own.y == NONE || before(candidate, own))) own = candidate;
    }
    best[s % 2 * LANES + lane] = own;
    barrier();
    last = uvec2(0, NONE);
    for (uint i = 0; i < LANES; i++) {
      const uvec2 candidate = best[s % 2 * LANES + i];
      if (candidate.y != NONE && (last.y == NONE || before(candidate, last))) last = candidate;
    }
    if (s == 0) largest = value_of(last.x);
    const float share = exp(value_of(last.x) - largest);
    selected += share;
    if (lane == 0) {
      ids[gl_WorkGroupID.x * p.used + s] = last.y;
      shares[s] = share;
    }
  }

  float sum = 0;
  for (uint e = lane; e < p.experts; e += LANES) sum += exp(value_of(keys[e]) - largest);
  sums[lane] = sum;
  barrier();
  sum = 0;
  for (uint i = 0; i < LANES; i++) {
    sum += sums[i];
    all_finite &= finite[i];
  }
  if (p.renormalise != 0) sum = selected;
  for (uint s = lane; s < p.used; s += LANES)
    weights[gl_WorkGroupID.x * p.used + s] = all_finite != 0 ? floatBitsToUint(shares[s] / sum * p.scale) : NAN_BITS;
}
