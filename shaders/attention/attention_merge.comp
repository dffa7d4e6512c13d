// Merges the splits of a decode step, pass after pass in their order: each invocation 4 elements of one row and head.
#version 450
#extension GL_EXT_control_flow_attributes : require
#include "shaders/attention/attention.h"
#include "shaders/common/rows.h"

layout(constant_id = 0) const uint LANES = 32;
layout(local_size_x = 32, local_size_x_id = 0) in;
layout(constant_id = 1) const uint FEATURES = 0;

layout(binding = 0) buffer Y { vec4 y[]; };  // holds the unfinished sum between two dispatches
layout(binding = 1) writeonly buffer Lse { float lse[]; };
layout(binding = 2) readonly buffer Rows { Row rows[]; };
layout(binding = 3) buffer Sums { vec4 sums[]; };
layout(binding = 3) buffer States { vec2 states[]; };  // of the splits, then of what is merged so far
layout(push_constant) uniform Push { AttentionMergeParameters p; };
const float SOFT_CAP = 0;
const uint N_BIAS = 0, BIAS_CENTER = 0;
#define TABLE_BINDING 4
#include "shaders/attention/score.glsl"

const uint kAhead = 4;  // splits in flight

float m, l;
vec4 sum;

void merge(uint first, uint n, uint width, uint element) {
  for (uint s = 0; s < n; s += kAhead) {
    vec2 state[kAhead];
    vec4 part[kAhead];
    [[unroll]] for (uint i = 0; i < kAhead; i++) {
      state[i] = states[p.first_state + first + min(s + i, n - 1)];
      part[i] = sums[(first + min(s + i, n - 1)) * width + element];
    }
    [[unroll]] for (uint i = 0; i < kAhead; i++)
      if (s + i < n) {
        const float largest = max(m, state[i].x);
        const float keep = largest == m ? 1 : exp(m - largest);
        const float weight = largest == state[i].x ? 1 : exp(state[i].x - largest);
        m = largest;
        l = l * keep + state[i].y * weight;
        sum = sum * keep + part[i] * weight;
      }
  }
}

// How many splits of a pass a row has.
uint row_splits(uint pass, uint position, uint head) {
  if (!has(ATTENTION_RANGES)) return position / p.split_keys + 1;
  const AttentionRange range = pass_range(p.passes[pass], p.passes[p.n_passes - 1], position, head, p.n_heads, p.seed);
  if (range.from >= range.to || !pass_keeps(p.passes[pass], position, head)) return 0;
  if ((p.passes[pass].rule & RULE_LISTED) != 0) return 1;
  return (range.to - 1) / p.split_keys - range.from / p.split_keys + 1;
}

void main() {
  const uint width = p.value_dim / 4;  // vectors of a row
  const uint index = gl_GlobalInvocationID.x / width, element = gl_GlobalInvocationID.x % width;
  const uint row = p.first_row + index / p.n_heads, head = index % p.n_heads;
  if (row >= p.end_row || rows[row].in_use == 0) return;
  const uint first = index * p.n_splits, out_index = (row * p.n_heads + head) * width + element;
  const bool carried = (p.flags & ATTENTION_CARRIED) != 0, finished = (p.flags & ATTENTION_FINISHED) != 0;

  // Two places by turns: the other elements of the row may be read later than element 0 writes.
  const uint merged = p.first_state + (p.end_row - p.first_row) * p.n_heads * p.n_splits + 2 * index;
  const vec2 so_far = carried ? states[merged + p.turn] : vec2(kNone, 0);
  m = so_far.x;
  l = so_far.y;
  sum = carried ? y[out_index] : vec4(0);
  if (!has(ATTENTION_RANGES)) {
    const uint n = row_splits(0, rows[row].position, head);
    merge(first, n > p.first_split ? min(n - p.first_split, p.n_splits) : 0, width, element);
  } else {
    uint place = 0;
    for (uint pass = p.flags >> 8 & 0xff; pass < p.flags >> 16; pass++) {
      const uint n = row_splits(pass, rows[row].position, head);
      merge(first + place, n > p.first_split ? min(n - p.first_split, p.n_splits - place) : 0, width, element);
      place += pass_splits(p.passes[pass], p.depth, p.split_keys);
    }
  }
  const vec3 ending = finish_row(m, l, head);
  y[out_index] = finished ? sum * ending.x / ending.y : sum;
  if (element == 0) {
    if (!finished) states[merged + 1 - p.turn] = vec2(m, l);
    else if ((p.flags & ATTENTION_WRITE_LSE) != 0) lse[row * p.n_heads + head] = ending.z;
  }
}
