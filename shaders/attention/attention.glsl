// A cluster of SPAN lanes owns ROWS query rows; a lane holds the chunks of 8 elements lane, lane + SPAN, ... of
// every row of q and of the output. Keys come in blocks of KEYS: lane i gets the scores of keys i, i + SPAN, ...
// Query rows are numbered token * group + head of the group, so that one read of K and V serves the whole group.
// Prefill: all clusters of a workgroup share the keys. Decode: each cluster has a split of the keys of its own.
#extension GL_EXT_control_flow_attributes : require
#include "shaders/attention/attention.h"
#include "shaders/common/rows.h"

layout(constant_id = 0) const uint LANES = 8;
layout(local_size_x = 8, local_size_x_id = 0) in;
layout(constant_id = 1) const uint SPAN = 8;        // lanes of a cluster, a power of two
layout(constant_id = 2) const uint ROWS = 4;        // query rows of a cluster
layout(constant_id = 3) const uint KEYS = 8;        // of a block, a multiple of SPAN that divides 16
layout(constant_id = 4) const uint UNROLL = 4;      // keys in flight, divides SPAN
layout(constant_id = 5) const uint HEAD_DIM = 64;
layout(constant_id = 6) const uint K_TYPE = 1;      // DType
layout(constant_id = 7) const uint V_TYPE = 1;
layout(constant_id = 8) const uint SPLIT_KEYS = 0;  // of one cluster in decode; 0: prefill

layout(binding = 0) writeonly buffer Y { vec4 y[]; };
layout(binding = 1) writeonly buffer Lse { float lse[]; };
layout(binding = 2) readonly buffer Q { vec4 q[]; };
layout(binding = 3) readonly buffer Rows { Row rows[]; };
layout(binding = 7) buffer Sums { vec4 sums[]; };      // scratch: unfinished outputs of rows,
layout(binding = 7) buffer States { vec2 states[]; };  // then from p.first_state on their (m, l)
layout(push_constant) uniform Push { AttentionParameters p; };
#include "shaders/attention/cache.glsl"

const uint kClusters = LANES / SPAN, kChunks = HEAD_DIM / 8;
const uint kOwn = (kChunks + SPAN - 1) / SPAN;  // chunks of a lane; the last may not exist
const uint kScores = KEYS / SPAN;               // scores of a lane in one block

uint lane;     // in the cluster
uint kv_head;

uint chunk_of(uint c) { return min(c * SPAN + lane, kChunks - 1); }  // a lane without a chunk reads another's
bool owns(uint c) { return c * SPAN + lane < kChunks; }
#include "shaders/attention/online.glsl"

uint group, first, end;  // first: this cluster's first query row; those from end on do not exist
uint split;

// Index of query row r in y [rows, n_heads] and in scratch.
uint head_row(uint r) { return (first + r) / group * p.n_heads + kv_head * group + (first + r) % group; }
uint state_row(uint r) {
  const uint row = head_row(r) - p.first_row * p.n_heads;
  return SPLIT_KEYS == 0 ? row : row * p.n_splits + split - p.first_split;
}

void load_rows(bool carried) {
  [[unroll]] for (uint r = 0; r < ROWS; r++) {
    const bool exists = first + r < end;
    const vec2 state = exists && carried ? states[p.first_state + state_row(r)] : vec2(kNone, 0);
    m[r] = state.x;
    l[r] = state.y;
    [[unroll]] for (uint c = 0; c < kOwn; c++)
      [[unroll]] for (uint half_chunk = 0; half_chunk < 2; half_chunk++) {
        const uint at = chunk_of(c) * 2 + half_chunk, own = (r * kOwn + c) * 2 + half_chunk;
        query[own] = exists && owns(c) ? q[head_row(r) * kChunks * 2 + at] : vec4(0);
        sum[own] = exists && carried ? sums[state_row(r) * kChunks * 2 + at] : vec4(0);
      }
  }
}

void store_rows(bool finished) {
  [[unroll]] for (uint r = 0; r < ROWS; r++) {
    if (first + r < end && seen[r] > 0) {
      if (lane == 0) {
        if (!finished) states[p.first_state + state_row(r)] = vec2(m[r], l[r]);
        else if (p.write_lse != 0) lse[head_row(r)] = m[r] + log(l[r]);
      }
      [[unroll]] for (uint c = 0; c < kOwn; c++)
        [[unroll]] for (uint half_chunk = 0; half_chunk < 2; half_chunk++) {
          const uint at = chunk_of(c) * 2 + half_chunk, own = (r * kOwn + c) * 2 + half_chunk;
          if (owns(c)) {
            if (finished) y[head_row(r) * kChunks * 2 + at] = sum[own] / l[r];
            else sums[state_row(r) * kChunks * 2 + at] = sum[own];
          }
        }
    }
  }
}

void main() {
  const uint index = LANE_INDEX, cluster = index / SPAN;
  lane = index % SPAN;
  group = p.n_heads / p.n_kv_heads;
  uint begin, n_blocks, slot, safe;  // safe: the last key that may be read
  bool carried, finished;
  if (SPLIT_KEYS == 0) {
    kv_head = gl_WorkGroupID.y;
    end = p.end_row * group;
    const uint tile = p.first_row * group + gl_WorkGroupID.x * kClusters * ROWS;
    first = tile + cluster * ROWS;
    uint last = (min(tile + kClusters * ROWS, end) - 1) / group;
    while (last > tile / group && rows[last].in_use == 0) last--;
    const uint position = rows[last].position;
    if (rows[last].in_use == 0 || position < p.begin) return;
    slot = rows[last].slot;
    begin = p.begin;
    safe = min(position, p.end - 1);
    n_blocks = (safe - begin) / KEYS + 1;
    carried = begin > 0;
    finished = position < p.end;
    [[unroll]] for (uint r = 0; r < ROWS; r++) {
      const uint row = min(first + r, end - 1) / group;
      seen[r] = first + r < end && rows[row].in_use != 0 ? rows[row].position + 1 : 0;
    }
  } else {
    const uint row = p.first_row + gl_WorkGroupID.z, position = rows[row].position;
    if (rows[row].in_use == 0) return;
    kv_head = gl_WorkGroupID.y % p.n_kv_heads;
    first = row * group + gl_WorkGroupID.y / p.n_kv_heads * ROWS;
    end = (row + 1) * group;
    slot = rows[row].slot;
    const uint first_split = p.begin / SPLIT_KEYS + gl_WorkGroupID.x * kClusters;
    split = first_split + cluster;
    begin = max(split * SPLIT_KEYS, p.begin);
    safe = min(position, p.end - 1);
    if (max(first_split * SPLIT_KEYS, p.begin) > safe) return;
    const uint end_key = min((split + 1) * SPLIT_KEYS, safe + 1);
    n_blocks = 0;
    for (uint c = 0; c < kClusters; c++) {
      const uint from = max((first_split + c) * SPLIT_KEYS, p.begin);
      const uint to = min((first_split + c + 1) * SPLIT_KEYS, safe + 1);
      n_blocks = max(n_blocks, from < to ? (to - from - 1) / KEYS + 1 : 0);
    }
    carried = begin < end_key && begin > split * SPLIT_KEYS;
    finished = p.n_splits == 0;
    [[unroll]] for (uint r = 0; r < ROWS; r++) seen[r] = first + r < end && begin < end_key ? end_key : 0;
  }

  load_rows(carried);
  for (uint i = 0; i < n_blocks; i++) block_step(begin + i * KEYS, safe, slot);
  store_rows(finished);
}
