// Probabilities exp(score - log-sum-exp) of query rows and keys, pooled over runs of keys ("units"), or one by one.
// A cluster of SPAN lanes owns ROWS rows of one head and holds them in chunks of 8 elements, as in attention.glsl;
// keys come in blocks of KEYS, lane i gets the scores of keys i, i + SPAN, ... A workgroup has a tile of rows and one
// unit. Whatever passes show a key, its shares are added before anything is pooled.
#extension GL_EXT_control_flow_attributes : require
#include "shaders/attention_map/attention_map.h"
#include "shaders/attention/ranges.h"

layout(constant_id = 0) const uint LANES = 8;
layout(local_size_x = 8, local_size_x_id = 0) in;
layout(constant_id = 1) const uint SPAN = 8;    // lanes of a cluster, a power of two
layout(constant_id = 2) const uint ROWS = 4;    // rows of a cluster
layout(constant_id = 3) const uint KEYS = 8;    // of a block, a multiple of SPAN that divides 16
layout(constant_id = 4) const uint UNROLL = 4;  // keys in flight, divides SPAN
layout(constant_id = 5) const uint VALUE = 0;   // MAP_*
layout(constant_id = 6) const uint PER_KEY = 0;
layout(constant_id = 7) const uint BLOCKS = 0;  // of a unit that are looked at; 0: all
layout(constant_id = 8) const uint LISTED_ROWS = 0;
layout(constant_id = 9) const uint HEAD_DIM = 64;
layout(constant_id = 10) const uint K_TYPE = 1;      // DType
layout(constant_id = 11) const uint RING_FIRST = 0;  // pages of a slot before its ring
layout(constant_id = 12) const uint RING_PAGES = 0;
layout(constant_id = 13) const uint FEATURES = 0;
layout(constant_id = 14) const uint N_PASSES = 1;
layout(constant_id = 15) const uint N_KEY_FORMS = 1;
layout(constant_id = 16) const float SCALE = 1;
layout(constant_id = 17) const float SOFT_CAP = 0;
layout(constant_id = 18) const uint N_BIAS = 0;
layout(constant_id = 19) const uint BIAS_CENTER = 0;
layout(constant_id = 20) const uint SEED = 0;
layout(constant_id = 21) const uint DECAY_AT = 0;  // words before it in the table
layout(constant_id = 22) const uint LIST_AT = 0;
layout(constant_id = 23) const uint N_LISTED = 0;
const uint VALUE_DIM = 8, V_TYPE = 1;  // cache.glsl's; no value is read

layout(binding = 0) writeonly buffer Units { float units[]; };
layout(binding = 1) readonly buffer Lse { float lse[]; };
layout(binding = 2) readonly buffer Q { vec4 q[]; };
layout(binding = 3) readonly buffer RowList { uint row_list[]; };
layout(push_constant) uniform Push { AttentionMapParameters p; };

uint lane;  // in the cluster
uint kv_head, slot;
#define TABLE_BINDING 7
#include "shaders/attention/score.glsl"
#include "shaders/attention/cache.glsl"
#include "shaders/attention/cluster.glsl"

const uint kClusters = LANES / SPAN, kTile = kClusters * ROWS, kChunks = HEAD_DIM / 8;
const uint kOwn = (kChunks + SPAN - 1) / SPAN;  // chunks of a lane; the last may not exist
const uint kScores = KEYS / SPAN;
const uint kSums = VALUE == MAP_STATISTICS ? MAP_STATISTICS_VALUES : 1;

// What each row of the tile sees in each pass, and the tile as a whole.
shared uint range_from[N_PASSES * kTile], range_to[N_PASSES * kTile], range_gap[N_PASSES * kTile];
shared uint tile_from[N_PASSES], tile_to[N_PASSES];

uint head, first, in_tile;   // the cluster's first row, in the dispatch and in the tile
uint index[ROWS], place_q[ROWS];  // position, row of q
float row_lse[ROWS];
vec4 query[ROWS * kOwn * 2];
uint lowest, highest;  // keys of this workgroup: lowest <= j < highest
float slope;
uint bias_at;

uint row_of(uint n) {
  const uint at = min(p.first_row + n, p.end_row - 1);
  return LISTED_ROWS != 0 ? row_list[at] - p.first_position : at;
}

void set_ranges(uint tile) {
  for (uint n = gl_LocalInvocationIndex; n < N_PASSES * kTile; n += LANES) {
    const uint position = p.first_position + row_of(tile + n % kTile);
    AttentionRange range = AttentionRange(0, position + 1, 0);
    if (has(ATTENTION_RANGES)) {
      const AttentionPass pass = p.passes[n / kTile];
      range = pass_range(pass, p.passes[N_PASSES - 1], position, head, p.n_heads, SEED);
      if (!pass_keeps(pass, position, head)) range.to = range.from;
    }
    range_from[n] = range.from;
    range_to[n] = range.to;
    range_gap[n] = range.gap;
  }
  barrier();
  if (gl_LocalInvocationIndex < N_PASSES) {
    uint from = 0xffffffffu, to = 0;
    for (uint n = 0; n < kTile; n++) {
      const uint at = gl_LocalInvocationIndex * kTile + n;
      if (range_from[at] < range_to[at]) {
        from = min(from, range_from[at]);
        to = max(to, range_to[at]);
      }
    }
    tile_from[gl_LocalInvocationIndex] = from;
    tile_to[gl_LocalInvocationIndex] = to;
  }
  barrier();
}

// With decay, for the keys of one block of 256.
void load_queries(uint version, uint block) {
  [[unroll]] for (uint r = 0; r < ROWS; r++)
    [[unroll]] for (uint c = 0; c < kOwn; c++)
      [[unroll]] for (uint half_chunk = 0; half_chunk < 2; half_chunk++) {
        const uint chunk = c * SPAN + lane, at = min(chunk, kChunks - 1) * 2 + half_chunk, own = (r * kOwn + c) * 2 + half_chunk;
        const vec4 value = q[((version * p.part_rows + place_q[r]) * p.n_heads + head) * kChunks * 2 + at];
        query[own] = chunk < kChunks ? value : vec4(0);
        if (has(ATTENTION_DECAY) && index[r] >= block * 256)
          query[own] *= table4[DECAY_AT / 4 + (index[r] / 256 - block) * kChunks * 2 + at];
      }
}

bool listed(uint key) {
  for (uint t = 0; t < N_LISTED; t++)
    if (table_words[LIST_AT + t] == key) return true;
  return false;
}

bool visible(uint pass, uint key, uint r) {
  const uint at = pass * kTile + in_tile + r;
  bool seen = key >= max(lowest, range_from[at]) && key < min(highest, range_to[at]);
  if (has(ATTENTION_STRIDED)) {
    const uint stride = pass_stride(p.passes[pass].rule);
    if (stride > 1) seen = seen && key % p.passes[pass].from % stride == head % stride;
  }
  if (has(ATTENTION_LISTED) && (p.passes[pass].rule & RULE_LISTED) != 0) seen = seen && listed(key);
  return seen;
}

// q k^T of the block's keys; those that this workgroup has not are not read, its nearest one stands in.
float x[ROWS * kScores];
void products(uint block) {
  const uint least = max(lowest, block) - block, most = min(highest - 1 - block, KEYS - 1);
  const Place place = place_of(block);
  [[unroll]] for (uint r = 0; r < ROWS * kScores; r++) x[r] = 0;
  [[unroll]] for (uint i = 0; i < kScores; i++)
    [[dont_unroll]] for (uint k = 0; k < SPAN; k += UNROLL) {
      Chunk key[UNROLL * kOwn];
      [[unroll]] for (uint u = 0; u < UNROLL; u++)
        [[unroll]] for (uint c = 0; c < kOwn; c++)
          key[u * kOwn + c] = load_k(place, clamp(i * SPAN + k + u, least, most), min(c * SPAN + lane, kChunks - 1));
      [[unroll]] for (uint r = 0; r < ROWS; r++) {
        float part[UNROLL];
        [[unroll]] for (uint u = 0; u < UNROLL; u++) {
          vec4 sum = vec4(0);
          [[unroll]] for (uint c = 0; c < kOwn; c++) {
            vec4 low = K_SCALED ? vec4(0) : sum;
            low = fma(query[(r * kOwn + c) * 2], key[u * kOwn + c].low, low);
            low = fma(query[(r * kOwn + c) * 2 + 1], key[u * kOwn + c].high, low);
            sum = K_SCALED ? fma(low, vec4(key[u * kOwn + c].scale), sum) : low;
          }
          part[u] = (sum.x + sum.y) + (sum.z + sum.w);
        }
        const float total = transposed_sum(part);
        if (SPAN == UNROLL) x[r * kScores + i] = total;
        else x[r * kScores + i] = lane / UNROLL == k / UNROLL ? total : x[r * kScores + i];
      }
    }
}

uint loaded;  // version of q and block of decay that `query` holds

// Probabilities of the block's keys, or scores; what is not seen is 0, or kNone.
float total[ROWS * kScores];
void block_values(uint block) {
  [[unroll]] for (uint n = 0; n < ROWS * kScores; n++) total[n] = VALUE == MAP_SCORE ? kNone : 0;
  for (uint pass = 0; pass < N_PASSES; pass++) {
    if (block + KEYS <= tile_from[pass] || block >= tile_to[pass]) continue;
    const uint rule = has(ATTENTION_RANGES) ? p.passes[pass].rule : 0;
    const uint decay_block = has(ATTENTION_DECAY) ? block / 256 : 0, wanted = (rule >> 8 & 3) | decay_block << 2;
    if (wanted != loaded) load_queries(rule >> 8 & 3, decay_block);
    loaded = wanted;
    key_form = N_KEY_FORMS > 1 ? rule >> 10 & 1 : 0;
    products(block);
    [[unroll]] for (uint r = 0; r < ROWS; r++)
      [[unroll]] for (uint i = 0; i < kScores; i++) {
        const uint key = block + i * SPAN + lane, n = r * kScores + i;
        const int offset = int(index[r] - range_gap[pass * kTile + in_tile + r]) - int(key);
        const float value = score(x[n], SCALE, slope, bias_at, offset);
        const bool seen = visible(pass, key, r);
        if (VALUE == MAP_SCORE) total[n] = seen ? max(total[n], value) : total[n];
        else total[n] += seen ? exp(value - row_lse[r]) : 0;
      }
  }
}

float sums[ROWS * kSums];

void take(uint block) {
  [[unroll]] for (uint r = 0; r < ROWS; r++)
    [[unroll]] for (uint i = 0; i < kScores; i++) {
      const float value = total[r * kScores + i];
      if (VALUE == MAP_MAX) sums[r] = max(sums[r], value);
      if (VALUE == MAP_SUM) sums[r] += value;
      if (VALUE == MAP_STATISTICS) {
        const uint key = block + i * SPAN + lane, distance = index[r] > key ? index[r] - key : key - index[r], at = r * kSums;
        sums[at] += value;
        sums[at + 1] -= value > 0 ? value * log(value) : 0;
        sums[at + 2] += value * float(distance);
        sums[at + 3] += key < p.rest ? value : 0;
        sums[at + 4] += distance < p.units ? value : 0;
        sums[at + 5] += key + 1 == index[r] ? value : 0;
      }
    }
}

uint unit_begin(uint unit) {
  const uint begin = p.first_key + unit * p.quotient;
  return VALUE == MAP_STATISTICS || p.rest == 0 ? begin : begin + unit * p.rest / p.units;
}

// Of n blocks, which one is looked at as the i-th of BLOCKS: the first and the last where that shows most.
uint sampled_block(uint i, uint n, uint unit, uint tile) {
  const uint low = i * n / BLOCKS, high = (i + 1) * n / BLOCKS;
  if (VALUE == MAP_MAX && lowest == 0 && i == 0) return 0;
  if (VALUE == MAP_MAX && highest < unit_begin(unit + 1) && i + 1 == BLOCKS) return n - 1;
  return low + pass_hash(unit ^ pass_hash(tile ^ pass_hash(i + 1))) % max(high - low, 1);
}

void main() {
  lane = LANE_INDEX % SPAN;
  slot = 1;  // p.pages_per_slot is where the sequence's row of the table begins
  head = p.first_head + gl_WorkGroupID.z;
  kv_head = head / (p.n_heads / p.n_kv_heads);
  slope = slope_of(head);
  bias_at = bias_row(head, p.n_heads);
  const uint tile = gl_WorkGroupID.y * kTile, unit = p.first_unit + gl_WorkGroupID.x, n_rows = p.end_row - p.first_row;
  in_tile = LANE_INDEX / SPAN * ROWS;
  first = tile + in_tile;
  [[unroll]] for (uint r = 0; r < ROWS; r++) {
    place_q[r] = row_of(first + r);
    index[r] = p.first_position + place_q[r];
    row_lse[r] = lse[place_q[r] * p.n_heads + head];
  }
  set_ranges(tile);
  lowest = max(unit_begin(unit), p.begin);
  highest = min(unit_begin(unit + 1), p.end);
  if (PER_KEY == 0) {
    uint from = 0xffffffffu, to = 0;
    for (uint pass = 0; pass < N_PASSES; pass++) {
      from = min(from, tile_from[pass]);
      to = max(to, tile_to[pass]);
    }
    lowest = max(lowest, from);
    highest = min(highest, to);
  }
  loaded = 0xffffffffu;
  [[unroll]] for (uint n = 0; n < ROWS * kSums; n++) sums[n] = 0;

  if (lowest < highest) {
    const uint base = lowest / KEYS * KEYS, n_blocks = (highest - base + KEYS - 1) / KEYS;
    const uint n = BLOCKS > 0 ? min(n_blocks, BLOCKS) : n_blocks;
    for (uint i = 0; i < n; i++) {
      const uint block = base + KEYS * (BLOCKS > 0 && n_blocks > BLOCKS ? sampled_block(i, n_blocks, unit, tile) : i);
      block_values(block);
      if (PER_KEY == 0) take(block);
      else
        [[unroll]] for (uint r = 0; r < ROWS; r++)
          [[unroll]] for (uint j = 0; j < kScores; j++) {
            const uint key = block + j * SPAN + lane;
            if (first + r < n_rows && key >= lowest && key < highest)
              units[(gl_WorkGroupID.z * n_rows + first + r) * p.n_units + key - p.first_key] = total[r * kScores + j];
          }
    }
    if (BLOCKS > 0 && VALUE == MAP_SUM) [[unroll]] for (uint r = 0; r < ROWS; r++) sums[r] *= float(n_blocks) / float(n);
  }
  if (PER_KEY != 0) return;
  [[unroll]] for (uint r = 0; r < ROWS; r++)
    [[unroll]] for (uint s = 0; s < kSums; s++) {
      const float value = VALUE == MAP_MAX ? row_max(sums[r * kSums + s]) : row_sum(sums[r * kSums + s]);
      if (lane == 0 && first + r < n_rows)
        units[((gl_WorkGroupID.z * kSums + s) * n_rows + first + r) * p.n_units + gl_WorkGroupID.x] = value;
    }
}
