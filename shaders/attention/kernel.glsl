// What every kernel of attention is specialized for, and what it reads and writes. Needs LANE_INDEX.
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
