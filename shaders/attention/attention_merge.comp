// Merges the splits of a decode step, in their order: each invocation 4 elements of one row and head.
#version 450
#extension GL_EXT_control_flow_attributes : require
#include "shaders/attention/attention.h"
#include "shaders/common/rows.h"

layout(constant_id = 0) const uint LANES = 32;
layout(local_size_x = 32, local_size_x_id = 0) in;

layout(binding = 0) buffer Y { vec4 y[]; };  // holds the unfinished sum between two dispatches
layout(binding = 1) writeonly buffer Lse { float lse[]; };
layout(binding = 2) readonly buffer Rows { Row rows[]; };
layout(binding = 3) buffer Sums { vec4 sums[]; };
layout(binding = 3) buffer States { vec2 states[]; };  // of the splits, then of what is merged so far
layout(push_constant) uniform Push { AttentionMergeParameters p; };

const uint kAhead = 4;  // splits in flight

void main() {
  const uint width = p.head_dim / 4;  // vectors of a row
  const uint index = gl_GlobalInvocationID.x / width, element = gl_GlobalInvocationID.x % width;
  const uint row = p.first_row + index / p.n_heads;
  if (row >= p.end_row || rows[row].in_use == 0) return;
  const uint n_all = rows[row].position / p.split_keys + 1;
  if (n_all <= p.first_split) return;
  const uint n = min(n_all - p.first_split, p.n_splits), first = index * p.n_splits;
  const uint out_index = (row * p.n_heads + index % p.n_heads) * width + element;

  // Two places by turns: the other elements of the row may be read later than element 0 writes.
  const uint turn = p.first_split / p.n_splits % 2;
  const uint merged = p.first_state + (p.end_row - p.first_row) * p.n_heads * p.n_splits + 2 * index;
  const vec2 so_far = p.first_split > 0 ? states[merged + turn] : vec2(states[p.first_state + first].x, 0);
  float m = so_far.x, l = so_far.y;
  vec4 sum = p.first_split > 0 ? y[out_index] : vec4(0);
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
  const bool finished = n_all <= p.first_split + p.n_splits;
  y[out_index] = finished ? sum / l : sum;
  if (element == 0) {
    if (!finished) states[merged + 1 - turn] = vec2(m, l);
    else if (p.write_lse != 0) lse[row * p.n_heads + index % p.n_heads] = m + log(l);
  }
}
