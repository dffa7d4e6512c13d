// Each invocation converts 8 elements, or a block of 32 of a quantised type, of one head and row: K (z = 0), V
// (z = 1) or the second form of K (z = 2), and writes whole words. K is rotated on the way.
#version 450
#extension GL_EXT_control_flow_attributes : require
#include "shaders/attention/cache_append.h"
#include "shaders/common/f16.glsl"
#include "shaders/common/rows.h"
#include "shaders/rope/rope.h"

layout(constant_id = 0) const uint LANES = 32;
layout(local_size_x = 32, local_size_x_id = 0) in;
layout(constant_id = 1) const uint K_TYPE = 1;  // DType
layout(constant_id = 2) const uint V_TYPE = 1;
layout(constant_id = 3) const uint ROTATION = ROTATION_HALF_SPLIT;

layout(binding = 0) writeonly buffer KCache4 { uvec4 k_cache4[]; };
layout(binding = 0) writeonly buffer KCache { uint k_cache[]; };
layout(binding = 1) writeonly buffer VCache4 { uvec4 v_cache4[]; };
layout(binding = 1) writeonly buffer VCache { uint v_cache[]; };
layout(binding = 2) writeonly buffer SecondKCache4 { uvec4 second_k_cache4[]; };
layout(binding = 2) writeonly buffer SecondKCache { uint second_k_cache[]; };
layout(binding = 3) readonly buffer K { float k[]; };
layout(binding = 3) readonly buffer K4 { vec4 k4[]; };
layout(binding = 4) readonly buffer V4 { vec4 v4[]; };
layout(binding = 5) readonly buffer Rows { Row rows[]; };
layout(binding = 6) readonly buffer Pages { uint pages[]; };
layout(binding = 7) readonly buffer Table { vec2 table[]; };  // (cos, sin)
layout(binding = 8) readonly buffer SecondTable { vec2 second_table[]; };
layout(push_constant) uniform Push { CacheAppendParameters p; };
#include "shaders/attention/quantize.glsl"

vec2 rope_entry(uint at) { return gl_WorkGroupID.z == 0 ? table[at] : second_table[at]; }
#include "shaders/rope/rope.glsl"

uint angle_at;  // the position that K is rotated by

// Elements 4 i to 4 i + 3 of the head that begins `from` fours into its tensor.
vec4 load(uint from, uint i) {
  if (gl_WorkGroupID.z == 1) return v4[from + i];
  vec4 x = k4[from + i];
  if (ROTATION == ROTATION_INTERLEAVED) {
    if (2 * i < p.n_pairs) x.xy = rope_turn(x.xy, rope_angle(angle_at, 2 * i, p.n_pairs));
    if (2 * i + 1 < p.n_pairs) x.zw = rope_turn(x.zw, rope_angle(angle_at, 2 * i + 1, p.n_pairs));
  }
  if (ROTATION == ROTATION_HALF_SPLIT) {
    [[unroll]] for (uint c = 0; c < 4; c++) {
      const uint own = 4 * i + c;
      if (own < 2 * p.n_pairs) {
        const bool first = own < p.n_pairs;
        const uint pair = first ? own : own - p.n_pairs;
        const float other = k[4 * from + (first ? own + p.n_pairs : pair)];
        const vec2 turned =
          rope_turn(first ? vec2(x[c], other) : vec2(other, x[c]), rope_angle(angle_at, pair, p.n_pairs));
        x[c] = first ? turned.x : turned.y;
      }
    }
  }
  return x;
}

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

void load_block(uint from, uint block, out vec4 values[8]) {
  const uint fours = (gl_WorkGroupID.z == 1 ? p.value_dim : p.head_dim) / 4;
  [[unroll]] for (uint i = 0; i < 8; i++) values[i] = block * 8 + i < fours ? load(from, block * 8 + i) : vec4(0);
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
  const uint form = gl_WorkGroupID.z / 2;
  angle_at = rope_position(position, p.modulo[form], p.divide[form], p.offset[form], p.cap[form]);
  uint index = position / p.page_tokens;
  if (p.ring_pages > 0 && index >= p.ring_first) index = p.ring_first + (index - p.ring_first) % p.ring_pages;
  const uint page = pages[rows[row].slot * p.pages_per_slot + index];
  const uint head = in_row / units, unit = in_row % units;
  const uint token = head * p.page_tokens + position % p.page_tokens, tokens = p.n_kv_heads * p.page_tokens;
  const uint from = 2 * (row * p.n_kv_heads + head) * chunks;
  if (!blocks) {
    const uint to = (page * tokens + token) * chunks + unit;
    if (type == 1) {
      put4(to, to_f16(load(from, 2 * unit), load(from, 2 * unit + 1)));
    } else {
      put4(2 * to, floatBitsToUint(load(from, 2 * unit)));
      put4(2 * to + 1, floatBitsToUint(load(from, 2 * unit + 1)));
    }
    return;
  }
  const uint words = q8 ? 8 : 4, row_scales = (units + 1) / 2;
  const uint page_at = page * tokens * (units * words + row_scales), to = page_at + (token * units + unit) * words;
  vec4 values[8];
  load_block(from, unit, values);
  // The even block of a pair writes the word with both scales, so that no two invocations share a word.
  uint codes[8];
  const uint scale = quantize(q8, values, codes);
  [[unroll]] for (uint i = 0; i < 8; i++)
    if (i < words) put(to + i, codes[i]);
  if (unit % 2 != 0) return;
  uint pair = scale;
  if (unit + 1 < units) {
    load_block(from, unit + 1, values);
    pair |= scale_of(q8, values) << 16;
  }
  put(page_at + tokens * units * words + token * row_scales + unit / 2, pair);
}
