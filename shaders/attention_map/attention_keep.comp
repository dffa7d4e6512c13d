// Copies rows to where their positions say: four floats of q an invocation, then a log-sum-exp each.
#version 450
#include "shaders/attention_map/attention_keep.h"
#include "shaders/common/rows.h"

layout(constant_id = 0) const uint LANES = 64;
layout(local_size_x = 64, local_size_x_id = 0) in;

layout(binding = 0) writeonly buffer KeptQ { vec4 kept_q[]; };
layout(binding = 1) writeonly buffer KeptLse { float kept_lse[]; };
layout(binding = 2) readonly buffer Q { vec4 q[]; };
layout(binding = 3) readonly buffer Lse { float lse[]; };
layout(binding = 4) readonly buffer Rows { Row rows[]; };
layout(push_constant) uniform Push { AttentionKeepParameters p; };

void main() {
  const uint index = gl_GlobalInvocationID.x, n_queries = p.n_versions * p.n_rows * p.n_vectors;
  const bool is_query = index < n_queries;
  const uint version = index / (p.n_rows * p.n_vectors);
  const uint row = is_query ? index / p.n_vectors % p.n_rows : (index - n_queries) / p.n_heads;
  if (row >= p.n_rows || rows[row].in_use == 0 || rows[row].slot != p.slot) return;
  const uint at = rows[row].position - p.first_position;  // below it: a large number
  if (at >= p.n_positions) return;
  if (is_query) kept_q[(version * p.n_positions + at) * p.n_vectors + index % p.n_vectors] = q[index];
  else kept_lse[at * p.n_heads + (index - n_queries) % p.n_heads] = lse[index - n_queries];
}
