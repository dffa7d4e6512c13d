// Flash attention of prompts by cooperative matrices: f16 times f16, added in f32. A tile of rows, numbered as in
// attention.glsl, lies in shared memory as f16 with a scale each (half_scale.glsl); keys and values come through
// shared memory too, decoded to f16, KEYS at a time. Subgroups have M rows, GN of them side by side their outputs.
// Maxima, sums and rescaling advance by 16 keys, which divides whatever pages and segments hold and where dispatches
// are cut, so that a row's bits depend on its own keys only. Needs, of a subgroup's matrices of products,
// PRODUCT_COLUMNS and PRODUCT_SHARES: the subgroups that divide a row's; VALUES_AT and TURNS: where values lie in the
// tile, and how many blocks of keys may be on their way.
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_shuffle : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#define LANE_INDEX (gl_SubgroupID * gl_SubgroupSize + gl_SubgroupInvocationID)
#define EXCHANGE(value, bit) subgroupShuffleXor(value, bit)
#include "shaders/attention/kernel.glsl"
#include "shaders/common/half_scale.glsl"

layout(constant_id = 23) const uint M = 16;  // of a matrix of outputs
layout(constant_id = 24) const uint N = 16;
layout(constant_id = 25) const uint K = 16;
layout(constant_id = 26) const uint GN = 1;  // subgroups side by side

#include "shaders/attention/rows.glsl"
#include "shaders/attention/blocks.glsl"
#include "shaders/attention/cluster.glsl"

const uint STEP_KEYS = 16, STEPS = KEYS / STEP_KEYS;
const float WEIGHT_TOP = 32768;  // weights are scaled by it, so that small ones keep their bits
const uint TS = KEYS / (PRODUCT_COLUMNS * PRODUCT_SHARES), TV = (VALUE_DIM + N * GN - 1) / (N * GN);  // matrices across
// In units of 8 halves, with padding to whole matrices:
const uint K_UNITS = (HEAD_DIM + K - 1) / K * (K / 8), V_UNITS = TV * GN * N / 8;
const uint MOST_UNITS = K_UNITS > V_UNITS ? K_UNITS : V_UNITS;
const uint Q_STRIDE = K_UNITS + 1, KV_STRIDE = MOST_UNITS + 1;  // spread over the banks
const uint PARTS = LANES / KEYS;                                // lanes that load a key
const uint LOADS = ((kChunksK > kChunksV ? kChunksK : kChunksV) + PARTS - 1) / PARTS, STORES = (MOST_UNITS + PARTS - 1) / PARTS;

shared uvec4 q_tile[kClusters * Q_STRIDE];
shared uvec4 kv_tile[VALUES_AT + KEYS * KV_STRIDE];
shared uint bad_keys[TURNS];  // whose values are not finite

#define SUMS coopmat<float, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator>
#define PRODUCTS coopmat<float, gl_ScopeSubgroup, M, PRODUCT_COLUMNS, gl_MatrixUseAccumulator>
SUMS outputs[TV];
PRODUCTS products[TS];  // of queries and keys
uint turn = 0;
float q_scale;
RawChunk ahead[LOADS];  // of own_key, on their way to the tile
Place own_place;
uint own_key, own_part, block_lowest;
bool own_exists, loaded;  // loaded: ahead are the next keys

uvec2 halves(vec4 v) { return uvec2(packFloat2x16(f16vec2(v.xy)), packFloat2x16(f16vec2(v.zw))); }

void begin_tile() {
  lane = LANE_INDEX % SPAN;
  own_key = LANE_INDEX / PARTS;
  own_part = LANE_INDEX % PARTS;
  group = p.n_heads / p.n_kv_heads;
  pack = has(ATTENTION_BY_HEAD) ? 1 : group;
}

uint matrix_row() { return gl_SubgroupID / GN * M; }  // the first of the subgroup's

void load_keys(uint block, uint lowest, uint safe) {
  const uint position = block + own_key * (kGathered ? block_stride : 1);
  own_exists = position >= lowest && position <= safe;
  own_place = place_of(clamp(position, lowest, safe));
  [[unroll]] for (uint i = 0; i < LOADS; i++) ahead[i] = raw_k(own_place, min(i * PARTS + own_part, kChunksK - 1));
}

// Asks for the values of the keys that load_keys() asked for.
void load_values() {
  [[unroll]] for (uint i = 0; i < LOADS; i++) ahead[i] = raw_v(own_place, min(i * PARTS + own_part, kChunksV - 1));
}

// A chunk as f16; not_finite: some of it is not. What exceeds f16 is clamped, as it is in a cache of f16.
uvec4 as_halves(uint type, RawChunk raw, uint chunk, out bool not_finite) {
  const uvec4 carry = (raw.words & 0x7c007c00u) + 0x04000400u;
  not_finite = type == CACHE_F16 ? ((carry.x | carry.y | carry.z | carry.w) & 0x80008000u) != 0
                                 : (floatBitsToUint(scale_of(raw, chunk)) & HALF_INFINITE) == HALF_INFINITE;
  const Chunk c = decode_chunk(type, raw, chunk);
  const vec4 low = clamp(c.low * c.scale, vec4(-65504), vec4(65504)), high = clamp(c.high * c.scale, vec4(-65504), vec4(65504));
  return type == CACHE_F16 ? raw.words : uvec4(halves(low), halves(high));
}

// What is not finite stays so in a key, whose scores alone have it; in a value it would reach every row.
void store_tile(bool values) {
  const uint units = values ? V_UNITS : K_UNITS, chunks = values ? kChunksV : kChunksK;
  [[unroll]] for (uint i = 0; i < STORES; i++) {
    const uint unit = i * PARTS + own_part;
    bool not_finite = false;
    uvec4 words = uvec4(0);
    if (i < LOADS && own_exists && unit < chunks) words = as_halves(values ? V_TYPE : K_TYPE, ahead[min(i, LOADS - 1)], unit, not_finite);
    if (not_finite) words = uvec4(values ? 0 : 0x7e007e00);
    if (not_finite && values) atomicOr(bad_keys[turn], 1u << own_key);
    if (unit < units) kv_tile[(values ? VALUES_AT : 0) + own_key * KV_STRIDE + unit] = words;
  }
}

void multiply_keys() {
  [[unroll]] for (uint t = 0; t < TS; t++) products[t] = PRODUCTS(0);
  for (uint unit = 0; unit < K_UNITS; unit += K / 8) {
    coopmat<float16_t, gl_ScopeSubgroup, M, K, gl_MatrixUseA> queries;
    coopMatLoad(queries, q_tile, matrix_row() * Q_STRIDE + unit, Q_STRIDE, gl_CooperativeMatrixLayoutRowMajor);
    [[unroll]] for (uint t = 0; t < TS; t++) {
      coopmat<float16_t, gl_ScopeSubgroup, K, PRODUCT_COLUMNS, gl_MatrixUseB> keys;
      coopMatLoad(keys, kv_tile, (gl_SubgroupID % PRODUCT_SHARES * TS + t) * PRODUCT_COLUMNS * KV_STRIDE + unit, KV_STRIDE,
                  gl_CooperativeMatrixLayoutColumnMajor);
      products[t] = coopMatMulAdd(queries, keys, products[t]);
    }
  }
}

void load_queries(uint version, uint block) {
  query_version = version;
  query_block = block;
  uint most = 0;
  [[dont_unroll]] for (uint c = 0; c < kOwnK; c++) {
    const uvec4 both = max(floatBitsToUint(load_query(0, c, 0)) & 0x7fffffffu, floatBitsToUint(load_query(0, c, 1)) & 0x7fffffffu);
    most = max(most, max(max(both.x, both.y), max(both.z, both.w)));
  }
#define STEP(BIT) if (SPAN > BIT) most = max(most, EXCHANGE(most, BIT));
  FOR_EACH_BIT(STEP)
#undef STEP
  const float factor = half_factor(most);
  q_scale = uintBitsToFloat(half_scale(most));
  const uint row = LANE_INDEX / SPAN;
  [[dont_unroll]] for (uint c = 0; c * SPAN < K_UNITS; c++) {
    const uint unit = c * SPAN + lane;
    const vec4 low = load_query(0, c, 0) * factor, high = load_query(0, c, 1) * factor;
    if (unit < K_UNITS) q_tile[row * Q_STRIDE + unit] = uvec4(pack_f16(low.x, low.y), pack_f16(low.z, low.w), pack_f16(high.x, high.y), pack_f16(high.z, high.w));
  }
}
