// A cluster of SPAN lanes owns ROWS query rows; a lane holds the chunks of 8 elements lane, lane + SPAN, ... of
// every row of q and of the output. Keys come in blocks of KEYS: lane i gets the scores of keys i, i + SPAN, ...
// Query rows are numbered token * group + head of the group, so that one read of K and V serves the whole group;
// where the heads see different keys (ATTENTION_BY_HEAD), a tile has one head.
// Prefill: all clusters of a workgroup share the keys. Decode: each cluster has a split of the keys of its own.
// A row goes through its passes one after the other, each in blocks at fixed positions.
#include "shaders/attention/kernel.glsl"

// For devices of few registers and large heads:
layout(constant_id = 23) const bool AHEAD = true;       // chunks of a key are loaded together, else one by one
layout(constant_id = 24) const bool KEEP_QUERY = true;  // else q is read again for every key

#include "shaders/attention/rows.glsl"
#include "shaders/attention/held_rows.glsl"
#include "shaders/attention/blocks.glsl"
#include "shaders/attention/online.glsl"
#include "shaders/attention/phases.glsl"

void main() {
  lane = LANE_INDEX % SPAN;
  group = p.n_heads / p.n_kv_heads;
  pack = has(ATTENTION_BY_HEAD) ? 1 : group;
  if (SPLIT_KEYS == 0) prefill(LANE_INDEX / SPAN);
  else decode(LANE_INDEX / SPAN);
}
