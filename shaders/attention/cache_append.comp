// Each invocation converts 8 elements of one head and row, K (z = 0) or V (z = 1), and writes whole words.
#version 450
#include "shaders/attention/cache_append.h"
#include "shaders/common/f16.glsl"
#include "shaders/common/rows.h"

layout(constant_id = 0) const uint LANES = 32;
layout(local_size_x = 32, local_size_x_id = 0) in;
layout(constant_id = 1) const uint K_TYPE = 1;  // DType
layout(constant_id = 2) const uint V_TYPE = 1;

layout(binding = 0) writeonly buffer KCache { uvec4 k_cache[]; };
layout(binding = 1) writeonly buffer VCache { uvec4 v_cache[]; };
layout(binding = 2) readonly buffer K { vec4 k[]; };
layout(binding = 3) readonly buffer V { vec4 v[]; };
layout(binding = 4) readonly buffer Rows { Row rows[]; };
layout(binding = 5) readonly buffer Pages { uint pages[]; };
layout(push_constant) uniform Push { CacheAppendParameters p; };

uvec4 to_f16(vec4 a, vec4 b) {
  return uvec4(pack_f16(a.x, a.y), pack_f16(a.z, a.w), pack_f16(b.x, b.y), pack_f16(b.z, b.w));
}

void main() {
  const uint chunks = p.head_dim / 8, row_chunks = p.n_kv_heads * chunks;
  const uint row = gl_GlobalInvocationID.x / row_chunks, in_row = gl_GlobalInvocationID.x % row_chunks;
  if (row >= p.n_rows || rows[row].in_use == 0) return;
  const uint position = rows[row].position;
  if (position < p.first_position || position >= p.end_position) return;
  const uint page = pages[rows[row].slot * p.pages_per_slot + position / p.page_tokens];
  const uint head = in_row / chunks, chunk = in_row % chunks;
  const uint from = 2 * gl_GlobalInvocationID.x;
  const uint to = ((page * p.n_kv_heads + head) * p.page_tokens + position % p.page_tokens) * chunks + chunk;
  if (gl_WorkGroupID.z == 0) {
    if (K_TYPE == 1) {
      k_cache[to] = to_f16(k[from], k[from + 1]);
    } else {
      k_cache[2 * to] = floatBitsToUint(k[from]);
      k_cache[2 * to + 1] = floatBitsToUint(k[from + 1]);
    }
  } else {
    if (V_TYPE == 1) {
      v_cache[to] = to_f16(v[from], v[from + 1]);
    } else {
      v_cache[2 * to] = floatBitsToUint(v[from]);
      v_cache[2 * to + 1] = floatBitsToUint(v[from + 1]);
    }
  }
}
