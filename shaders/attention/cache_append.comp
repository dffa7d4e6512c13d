// Each invocation converts 8 elements, or two blocks of 32 of a quantised type, of one head and row: K (z = 0), V
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
layout(binding = 7) readonly buffer Table4 { vec4 table4[]; };
layout(binding = 8) readonly buffer SecondTable4 { vec4 second_table4[]; };
layout(push_constant) uniform Push { CacheAppendParameters p; };
#include "shaders/attention/quantize.glsl"

vec2 rope_entry(uint at) { return gl_WorkGroupID.z == 0 ? table[at] : second_table[at]; }
vec4 rope_entries(uint at) { return gl_WorkGroupID.z == 0 ? table4[at] : second_table4[at]; }
#define ROPE_FOURS
#include "shaders/rope/rope.glsl"

uint angle_at;  // the position that K is rotated by

// x, which is element `own` of the head that begins `from` fours into its tensor.
float rotate(uint from, uint own, float x) {
  if (own >= 2 * p.n_pairs) return x;
  const bool first = p.half_split != 0 ? own < p.n_pairs : own % 2 == 0;
  const uint step_ = p.half_split != 0 ? p.n_pairs : 1, pair = p.half_split != 0 ? own % p.n_pairs : own / 2;
  const float other = k[4 * from + (first ? own + step_ : own - step_)];
  const vec2 turned = rope_turn(first ? vec2(x, other) : vec2(other, x), rope_angle(angle_at, pair, p.n_pairs));
  return first ? turned.x : turned.y;
}

// Elements 4 i to 4 i + 3 of that head.
vec4 load(uint from, uint i) {
  if (gl_WorkGroupID.z == 1) return v4[from + i];
  vec4 x = k4[from + i];
  if (ROTATION == ROTATION_NONE || 2 * i >= p.n_pairs) return x;
  if (ROTATION == ROTATION_ODD) {
    [[dont_unroll]] for (uint c = 0; c < 4; c++) x[c] = rotate(from, 4 * i + c, x[c]);
    return x;
  }
  const bool interleaved = ROTATION == ROTATION_INTERLEAVED;
  const uint fours = p.n_pairs / 4;  // half split
  const bool first = i < fours;
  const uint pair = interleaved ? 2 * i : 4 * (first ? i : i - fours);
  const RopeAngles angles = rope_angles(angle_at, pair, p.n_pairs, interleaved);
  vec4 other;  // of the pair, with its sign
  if (interleaved) other = vec4(-x.y, x.x, -x.w, x.z);
  else if (first) other = -k4[from + i + fours];
  else other = k4[from + i - fours];
  precise const vec4 turned = x * angles.cosine + other * angles.sine;
  return turned;
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

uvec4 to_f16(vec4 a, vec4 b) {
  return uvec4(pack_f16(a.x, a.y), pack_f16(a.z, a.w), pack_f16(b.x, b.y), pack_f16(b.z, b.w));
}

void main() {
  const uint type = gl_WorkGroupID.z == 1 ? V_TYPE : K_TYPE, dim = gl_WorkGroupID.z == 1 ? p.value_dim : p.head_dim;
  const bool blocks = type == 2 || type == 3, q8 = type == 3;
  const uint chunks = dim / 8, n_blocks = (dim + 31) / 32;
  const uint units = blocks ? (n_blocks + 1) / 2 : chunks;  // of a head; two blocks share the word of their scales
  const uint row_units = p.n_kv_heads * units;
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
  const uint words = q8 ? 8 : 4, page_at = page * tokens * (n_blocks * words + units);  // of blocks
  const uint n_own = blocks ? 2 : 1, fours = blocks ? 8 : 2;
  uint scales = 0;
  [[dont_unroll]] for (uint b = 0; b < n_own; b++) {
    const uint block = n_own * unit + b;
    if (blocks && block >= n_blocks) break;
    vec4 values[8];
    [[unroll]] for (uint i = 0; i < 8; i++)
      values[i] = i < fours && block * fours + i < dim / 4 ? load(from, block * fours + i) : vec4(0);
    const uint to = (page * tokens + token) * chunks + unit;
    if (type == 1) {
      put4(to, to_f16(values[0], values[1]));
    } else if (!blocks) {
      put4(2 * to, floatBitsToUint(values[0]));
      put4(2 * to + 1, floatBitsToUint(values[1]));
    } else {
      uint codes[8];
      scales |= quantize(q8, values, codes) << (b * 16);
      [[unroll]] for (uint i = 0; i < 8; i++)
        if (i < words) put(page_at + (token * n_blocks + block) * words + i, codes[i]);
    }
  }
  if (blocks) put(page_at + tokens * n_blocks * words + token * units + unit, scales);
}
