// A cluster of SPAN lanes owns ROWS query rows; a lane holds the chunks of 8 elements lane, lane + SPAN, ... of
// every row of q and of the output. Keys come in blocks of KEYS: lane i gets the scores of keys i, i + SPAN, ...
// Query rows are numbered token * group + head of the group, so that one read of K and V serves the whole group;
// where the heads see different keys (ATTENTION_BY_HEAD), a tile has one head.
// Prefill: all clusters of a workgroup share the keys. Decode: each cluster has a split of the keys of its own.
// A row goes through its passes one after the other, each in blocks at fixed positions.
#extension GL_EXT_control_flow_attributes : require
#include "shaders/attention/attention.h"
#include "shaders/common/rows.h"

layout(constant_id = 0) const uint LANES = 8;
layout(local_size_x = 8, local_size_x_id = 0) in;
layout(constant_id = 1) const uint SPAN = 8;        // lanes of a cluster, a power of two
layout(constant_id = 2) const uint ROWS = 4;        // query rows of a cluster
layout(constant_id = 3) const uint KEYS = 8;        // of a block, a multiple of SPAN that divides 16
layout(constant_id = 4) const uint UNROLL = 4;      // keys in flight, divides SPAN
layout(constant_id = 5) const uint SPLIT_KEYS = 0;  // of one cluster in decode; 0: prefill
layout(constant_id = 6) const uint HEAD_DIM = 64;
layout(constant_id = 7) const uint VALUE_DIM = 64;
layout(constant_id = 8) const uint K_TYPE = 1;  // DType
layout(constant_id = 9) const uint V_TYPE = 1;
layout(constant_id = 10) const uint RING_FIRST = 0;  // pages of a slot before its ring
layout(constant_id = 11) const uint RING_PAGES = 0;
layout(constant_id = 12) const uint FEATURES = 0;  // score.glsl
layout(constant_id = 13) const uint N_PASSES = 1;
layout(constant_id = 14) const uint N_QUERIES = 1;
layout(constant_id = 15) const uint N_KEY_FORMS = 1;
layout(constant_id = 16) const float SOFT_CAP = 0;
layout(constant_id = 17) const uint N_BIAS = 0;
layout(constant_id = 18) const uint BIAS_CENTER = 0;
layout(constant_id = 19) const uint SEED = 0;
layout(constant_id = 20) const uint DECAY_AT = 0;  // words before it in the table
layout(constant_id = 21) const uint LIST_AT = 0;
layout(constant_id = 22) const uint N_LISTED = 0;
// For devices of few registers and large heads:
layout(constant_id = 23) const bool AHEAD = true;       // chunks of a key are loaded together, else one by one
layout(constant_id = 24) const bool KEEP_QUERY = true;  // else q is read again for every key

layout(binding = 0) writeonly buffer Y { vec4 y[]; };
layout(binding = 1) writeonly buffer Lse { float lse[]; };
layout(binding = 2) readonly buffer Q { vec4 q[]; };
layout(binding = 3) readonly buffer Rows { Row rows[]; };
layout(binding = 7) buffer Sums { vec4 sums[]; };      // scratch: unfinished outputs of rows,
layout(binding = 7) buffer States { vec2 states[]; };  // then from p.first_state on their (m, l)
layout(push_constant) uniform Push { AttentionParameters p; };

uint lane;     // in the cluster
uint kv_head, slot;
#define TABLE_BINDING 9
#include "shaders/attention/score.glsl"
#include "shaders/attention/cache.glsl"

const uint kClusters = LANES / SPAN, kChunksK = HEAD_DIM / 8, kChunksV = VALUE_DIM / 8;
const uint kOwnK = (kChunksK + SPAN - 1) / SPAN;  // chunks of a lane; the last may not exist
const uint kOwnV = (kChunksV + SPAN - 1) / SPAN;
const uint kScores = KEYS / SPAN;  // scores of a lane in one block
const bool kGathered = (FEATURES & (ATTENTION_STRIDED | ATTENTION_LISTED)) != 0;

// A lane without a chunk reads another's.
bool all_own(uint c, uint chunks) { return (c + 1) * SPAN <= chunks; }
uint chunk_of(uint c, uint chunks) { return all_own(c, chunks) ? c * SPAN + lane : min(c * SPAN + lane, chunks - 1); }
bool owns(uint c, uint chunks) { return all_own(c, chunks) || c * SPAN + lane < chunks; }

float slope[ROWS];
uint bias_at[ROWS];
#include "shaders/attention/rows.glsl"
#include "shaders/attention/online.glsl"

AttentionRange range_of(uint pass, uint position, uint head) {
  if (!has(ATTENTION_RANGES)) return AttentionRange(0, position + 1, 0);
  return pass_range(p.passes[pass], p.passes[N_PASSES - 1], position, head, p.n_heads, SEED);
}

void load_heads() {
  [[unroll]] for (uint r = 0; r < ROWS; r++) {
    slope[r] = has(ATTENTION_SLOPES) && first + r < end ? slope_of(head_of(r)) : 0;
    bias_at[r] = has(ATTENTION_BIAS) ? bias_row(first + r < end ? head_of(r) : 0, p.n_heads) : 0;
  }
}

// The first key of a strided or listed pass from `key` on; base is where the pass's chunk begins.
uint gather_from(uint pass, uint key, uint base) {
  const uint rule = p.passes[pass].rule;
  if ((rule & RULE_LISTED) != 0) {
    for (uint t = 0; t < N_LISTED; t++)
      if (table_words[LIST_AT + t] >= key) return table_words[LIST_AT + t];
    return 0xffffff00u;
  }
  const uint stride = pass_stride(rule), lattice = base + (stride > 1 ? first_head % stride : 0);
  return key <= lattice ? lattice : lattice + (key - lattice + stride - 1) / stride * stride;
}

// The next block. Strided ones begin anew at multiples of 256, so that borders of segments and splits are theirs.
uint next_block(uint pass, uint block, uint base) {
  if (!kGathered) return block + KEYS;
  const uint rule = p.passes[pass].rule, stride = pass_stride(rule);
  if ((rule & RULE_LISTED) != 0) return gather_from(pass, block + 1, base);
  if (stride == 1) return block + KEYS;
  const uint next = block + KEYS * stride;
  return next / 256 == block / 256 ? next : gather_from(pass, (block / 256 + 1) * 256, base);
}

uint first_block(uint pass, uint key, uint base) {
  if (!kGathered) return key / KEYS * KEYS;
  const bool plain = pass_stride(p.passes[pass].rule) == 1 && (p.passes[pass].rule & RULE_LISTED) == 0;
  return plain ? key / KEYS * KEYS : gather_from(pass, key, base);
}

// The last key of a block.
uint last_of_block(uint pass, uint block, uint to) {
  if (!kGathered) return to - 1;
  const bool listed = (p.passes[pass].rule & RULE_LISTED) != 0;
  return listed ? min(to - 1, block) : pass_stride(p.passes[pass].rule) > 1 ? min(to - 1, block | 255) : to - 1;
}

#include "shaders/attention/phases.glsl"

void main() {
  lane = LANE_INDEX % SPAN;
  group = p.n_heads / p.n_kv_heads;
  pack = has(ATTENTION_BY_HEAD) ? 1 : group;
  if (SPLIT_KEYS == 0) prefill(LANE_INDEX / SPAN);
  else decode(LANE_INDEX / SPAN);
}
