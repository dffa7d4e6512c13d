// Each invocation converts 8 elements, or a block of 32 of a quantised type, of one head and row: K (z = 0), V
// (z = 1) or the second form of K (z = 2), and writes whole words.
#version 450
#extension GL_EXT_control_flow_attributes : require
#include "shaders/attention/cache_append.h"
#include "shaders/common/f16.glsl"
#include "shaders/common/rows.h"

layout(constant_id = 0) const uint LANES = 32;
layout(local_size_x = 32, local_size_x_id = 0) in;
layout(constant_id = 1) const uint K_TYPE = 1;  // DType
layout(constant_id = 2) const uint V_TYPE = 1;

layout(binding = 0) writeonly buffer KCache4 { uvec4 k_cache4[]; };
layout(binding = 0) writeonly buffer KCache { uint k_cache[]; };
layout(binding = 1) writeonly buffer VCache4 { uvec4 v_cache4[]; };
layout(binding = 1) writeonly buffer VCache { uint v_cache[]; };
layout(binding = 2) writeonly buffer SecondKCache4 { uvec4 second_k_cache4[]; };
layout(binding = 2) writeonly buffer SecondKCache { uint second_k_cache[]; };
layout(binding = 3) readonly buffer K { vec4 k[]; };
layout(binding = 4) readonly buffer V { vec4 v[]; };
layout(binding = 5) readonly buffer SecondK { vec4 second_k[]; };
layout(binding = 6) readonly buffer Rows { Row rows[]; };
layout(binding = 7) readonly buffer Pages { uint pages[]; };
layout(push_constant) uniform Push { CacheAppendParameters p; };
#include "shaders/attention/quantize.glsl"

vec4 load(uint at) { return gl_WorkGroupID.z == 0 ? k[at] : gl_WorkGroupID.z == 1 ? v[at] : second_k[at]; }

void put(uint to, uint word) {
  if (gl_WorkGroupID.z == 0) k_cache[to] = word;
  else if (gl_WorkGroupID.z == 1) v_cache[to] = word;
  else second_k_cache[to] = word;
}

void put4(uint to, uvec4 words) {
  if (gl_WorkGroupID.z == 0) k_cache4[to] = words;
  else if (gl_WorkGroupID.z == 1) v_cache4[to] = words;
  else second_k_cache4[to] = words;
}

uvec4 to_f16(vec4 a, vec4 b) {
  return uvec4(pack_f16(a.x, a.y), pack_f16(a.z, a.w), pack_f16(b.x, b.y), pack_f16(b.z, b.w));
}

void main() {
  const uint type = gl_WorkGroupID.z == 1 ? V_TYPE : K_TYPE, dim = gl_WorkGroupID.z == 1 ? p.value_dim : p.head_dim;
  const bool blocks = type == 2 || type == 3, q8 = type == 3;
  const uint chunks = dim / 8, units = blocks ? (dim + 31) / 32 : chunks, row_units = p.n_kv_heads * units;
  const uint row = gl_GlobalInvocationID.x / row_units, in_row = gl_GlobalInvocationID.x % row_units;
  if (row >= p.n_rows || rows[row].in_use == 0) return;
  const uint position = rows[row].position;
  if (position < p.first_position || position >= p.end_position) return;
  uint index = position / p.page_tokens;
  if (p.ring_pages > 0 && index >= p.ring_first) index = p.ring_first + (index - p.ring_first) % p.ring_pages;
  const uint page = pages[rows[row].slot * p.pages_per_slot + index];
  const uint head = in_row / units, unit = in_row % units;
  const uint token = head * p.page_tokens + position % p.page_tokens, tokens = p.n_kv_heads * p.page_tokens;
  const uint from = 2 * ((row * p.n_kv_heads + head) * chunks + (blocks ? unit * 4 : unit));
  if (!blocks) {
    const uint to = (page * tokens + token) * chunks + unit;
    if (type == 1) {
      put4(to, to_f16(load(from), load(from + 1)));
    } else {
      put4(2 * to, floatBitsToUint(load(from)));
      put4(2 * to + 1, floatBitsToUint(load(from + 1)));
    }
    return;
  }
  const uint words = q8 ? 8 : 4, row_scales = (units + 1) / 2;
  const uint page_at = page * tokens * (units * words + row_scales), to = page_at + (token * units + unit) * words;
  vec4 values[8];
  [[unroll]] for (uint i = 0; i < 8; i++) values[i] = unit * 8 + i < 2 * chunks ? load(from + i) : vec4(0);
  // The even block of a pair writes the word with both scales, so that no two invocations share a word.
  uint codes[8];
  const uint scale = quantize(q8, values, codes);
  [[unroll]] for (uint i = 0; i < 8; i++)
    if (i < words) put(to + i, codes[i]);
  if (unit % 2 != 0) return;
  uint pair = scale;
  if (unit + 1 < units) {
    [[unroll]] for (uint i = 0; i < 8; i++) values[i] = (unit + 1) * 8 + i < 2 * chunks ? load(from + 8 + i) : vec4(0);
    pair |= scale_of(q8, values) << 16;
  }
  put(page_at + tokens * units * words + token * row_scales + unit / 2, pair);
}
