// Limit, four elements an invocation; the last n % 4 one each.
#version 450
#include "shaders/limit/limit.h"

layout(constant_id = 0) const uint LANES = 64;
layout(local_size_x = 64, local_size_x_id = 0) in;
layout(constant_id = 1) const uint KIND = LIMIT_NONE;

layout(binding = 0) writeonly buffer Y { float y[]; };
layout(binding = 0) writeonly buffer Y4 { vec4 y4[]; };
layout(binding = 1) readonly buffer X { float x[]; };
layout(binding = 1) readonly buffer X4 { vec4 x4[]; };
layout(push_constant) uniform Push { LimitParameters p; };

// Drivers' own tanh may overflow. Polynomial: S. L. Moshier, Cephes Mathematical Library, tanhf.c, within
// 5e-9 of itself. Comparisons are such that NaN takes the polynomial and stays.
float safe_tanh(float u) {
  const float a = abs(u), z = u * u;
  if (a > 10) return u < 0 ? -1 : 1;
  if (a > 0.625) {
    const float t = 1 - 2 / (exp(2 * a) + 1);
    return u < 0 ? -t : t;
  }
  return u + u * z * ((((-5.70498872745e-3 * z + 2.06390887954e-2) * z - 5.37397155531e-2) * z +
                       1.33314422036e-1) * z - 3.33332819422e-1);
}

float limited(float v) {
  if (KIND == LIMIT_CLAMP) return v > p.bound ? p.bound : v < -p.bound ? -p.bound : v;
  if (KIND == LIMIT_SOFT_CAP) return p.bound * safe_tanh(v / p.bound);
  return v;
}

void main() {
  const uint i = gl_WorkGroupID.x * LANES + gl_LocalInvocationIndex, fours = p.n / 4;
  if (i < fours) {
    const vec4 v = p.factor * x4[i];
    y4[i] = vec4(limited(v.x), limited(v.y), limited(v.z), limited(v.w));
  } else if (i < fours + p.n % 4) {
    const uint at = fours * 3 + i;
    y[at] = limited(p.factor * x[at]);
  }
}
