// Flash attention of prompts by cooperative matrices: f16 times f16, added in f32. A tile of rows, numbered as in
// attention.glsl, lies in shared memory as f16 with a scale each (half_scale.glsl); keys and values come through
// shared memory too, decoded to f16, KEYS at a time. SPAN lanes own a row's softmax, GN subgroups side by side its
// outputs. Maxima, sums and rescaling advance by 16 keys, which divides whatever pages and segments hold and where
// dispatches are cut, so that a row's bits depend on its own keys only.
#version 450
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_shuffle : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#define LANE_INDEX (gl_SubgroupID * gl_SubgroupSize + gl_SubgroupInvocationID)
#define EXCHANGE(value, bit) subgroupShuffleXor(value, bit)
#include "shaders/attention/kernel.glsl"
#include "shaders/common/half_scale.glsl"

layout(constant_id = 23) const uint M = 16;  // of a matrix
layout(constant_id = 24) const uint N = 16;
layout(constant_id = 25) const uint K = 16;
layout(constant_id = 26) const uint GN = 1;  // subgroups side by side

#include "shaders/attention/rows.glsl"
#include "shaders/attention/blocks.glsl"
#include "shaders/attention/cluster.glsl"

const uint STEP_KEYS = 16, STEPS = KEYS / STEP_KEYS;
const uint OWN = STEP_KEYS / SPAN;  // keys of a lane in a step, a multiple of 4
const float WEIGHT_TOP = 32768;     // weights are scaled by it, so that small ones keep their bits
const uint SUBGROUP = LANES / (kClusters / M * GN);
const uint TS = KEYS / (N * GN), TV = (VALUE_DIM + N * GN - 1) / (N * GN);  // matrices across: of scores, of outputs
// In units of 8 halves, with padding to whole matrices:
const uint K_UNITS = (HEAD_DIM + K - 1) / K * (K / 8), V_UNITS = TV * GN * N / 8;
const uint MOST_UNITS = K_UNITS > V_UNITS ? K_UNITS : V_UNITS;
const uint Q_STRIDE = K_UNITS + 1, KV_STRIDE = MOST_UNITS + 1;  // spread over the banks
const uint S_STRIDE = KEYS / 4 + 1, P_STRIDE = KEYS / 4 + 2;    // in fours
const uint PARTS = LANES / KEYS;                                // lanes that load a key
const uint LOADS = ((kChunksK > kChunksV ? kChunksK : kChunksV) + PARTS - 1) / PARTS, STORES = (MOST_UNITS + PARTS - 1) / PARTS;

shared uvec4 q_tile[kClusters * Q_STRIDE];
shared uvec4 kv_tile[KEYS * KV_STRIDE];
shared vec4 scores[kClusters * S_STRIDE];  // and matrices of outputs on their way
shared uvec2 weights[kClusters * P_STRIDE];
shared float keeps[STEPS * kClusters];
shared uint bad_keys;        // whose values are not finite
shared uint changing_steps;  // in which a row's largest changes

#define SUMS coopmat<float, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator>
SUMS outputs[TV];
float q_scale;
RawChunk ahead[LOADS];  // of own_key, on their way to the tile
Place own_place;
uint own_key, own_part, block_lowest;
bool own_exists, loaded;  // loaded: ahead are the next keys

uvec2 halves(vec4 v) { return uvec2(packFloat2x16(f16vec2(v.xy)), packFloat2x16(f16vec2(v.zw))); }

uint matrix_row() { return gl_SubgroupID / GN * M; }  // the first of the subgroup's

void load_keys(uint block, uint lowest, uint safe) {
  const uint position = block + own_key * (kGathered ? block_stride : 1);
  own_exists = position >= lowest && position <= safe;
  own_place = place_of(clamp(position, lowest, safe));
  [[unroll]] for (uint i = 0; i < LOADS; i++) ahead[i] = raw_k(own_place, min(i * PARTS + own_part, kChunksK - 1));
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
    if (not_finite && values) atomicOr(bad_keys, 1u << own_key);
    if (unit < units) kv_tile[own_key * KV_STRIDE + unit] = words;
  }
}

void multiply_keys() {
  SUMS s[TS];
  [[unroll]] for (uint t = 0; t < TS; t++) s[t] = SUMS(0);
  for (uint unit = 0; unit < K_UNITS; unit += K / 8) {
    coopmat<float16_t, gl_ScopeSubgroup, M, K, gl_MatrixUseA> queries;
    coopMatLoad(queries, q_tile, matrix_row() * Q_STRIDE + unit, Q_STRIDE, gl_CooperativeMatrixLayoutRowMajor);
    [[unroll]] for (uint t = 0; t < TS; t++) {
      coopmat<float16_t, gl_ScopeSubgroup, K, N, gl_MatrixUseB> keys;
      coopMatLoad(keys, kv_tile, (gl_SubgroupID % GN * TS + t) * N * KV_STRIDE + unit, KV_STRIDE, gl_CooperativeMatrixLayoutColumnMajor);
      s[t] = coopMatMulAdd(queries, keys, s[t]);
    }
  }
  [[unroll]] for (uint t = 0; t < TS; t++)
    coopMatStore(s[t], scores, matrix_row() * S_STRIDE + (gl_SubgroupID % GN * TS + t) * (N / 4), S_STRIDE, gl_CooperativeMatrixLayoutRowMajor);
}

// A dispatch may begin or end within a block.
bool counts(uint key) { return visible(key, 0) && key >= block_lowest && key <= block_safe; }

void soften(uint block) {
  const uint row = LANE_INDEX / SPAN;
  for (uint step_ = 0; step_ < STEPS; step_++) {
    const uint first_key = step_ * STEP_KEYS + lane * OWN;
    float x[OWN];
    float largest = m[0];
    [[unroll]] for (uint i = 0; i < OWN; i++) {
      const uint key = position_of_key(block, first_key + i);
      const float value = score(scores[row * S_STRIDE + first_key / 4 + i / 4][i % 4] * q_scale, p.scale, slope[0], bias_at[0], origin[0] - int(key));
      x[i] = counts(key) ? value : kNone;
      largest = max(largest, x[i]);
    }
    largest = row_max(largest);
    const float keep = largest == m[0] ? 1 : exp(m[0] - largest);
    m[0] = largest;
    float total = 0;
    [[unroll]] for (uint i = 0; i < OWN; i++) {
      x[i] = counts(position_of_key(block, first_key + i)) ? exp(x[i] - largest) : 0;
      total += x[i];
    }
    l[0] = l[0] * keep + row_sum(total);
    [[unroll]] for (uint i = 0; i < OWN; i += 4)
      weights[row * P_STRIDE + (first_key + i) / 4] = halves(vec4(x[i], x[i + 1], x[i + 2], x[i + 3]) * WEIGHT_TOP);
    if (lane == 0) keeps[step_ * kClusters + row] = keep;
    if (keep != 1) atomicOr(changing_steps, 1u << step_);
  }
}

// Multiplies the rows of the subgroup's outputs by what the step keeps of them.
void rescale(uint step_) {
  const uint keep_at = step_ * kClusters + matrix_row(), own = gl_SubgroupID * (M * N / 4);
  for (uint i = gl_SubgroupInvocationID; i < M * N / 4; i += SUBGROUP) scores[own + i] = vec4(keeps[keep_at + i / (N / 4)]);
  subgroupBarrier();
  SUMS keep;
  coopMatLoad(keep, scores, own, N / 4, gl_CooperativeMatrixLayoutRowMajor);
  [[unroll]] for (uint t = 0; t < TV; t++) outputs[t] = outputs[t] * keep;
  subgroupBarrier();
}

void multiply_values() {
  for (uint k = 0; k < KEYS; k += K) {
    // As one: lavapipe takes a barrier of a subgroup for one of the workgroup.
    if (k % STEP_KEYS == 0 && (changing_steps >> k / STEP_KEYS & 1) != 0) rescale(k / STEP_KEYS);
    coopmat<float16_t, gl_ScopeSubgroup, M, K, gl_MatrixUseA> w;
    coopMatLoad(w, weights, matrix_row() * P_STRIDE + k / 4, P_STRIDE, gl_CooperativeMatrixLayoutRowMajor);
    [[unroll]] for (uint t = 0; t < TV; t++) {
      coopmat<float16_t, gl_ScopeSubgroup, K, N, gl_MatrixUseB> values;
      coopMatLoad(values, kv_tile, k * KV_STRIDE + (gl_SubgroupID % GN * TV + t) * (N / 8), KV_STRIDE, gl_CooperativeMatrixLayoutRowMajor);
      outputs[t] = coopMatMulAdd(w, values, outputs[t]);
    }
  }
}

void block_step(uint block, uint lowest, uint safe, uint stride) {
  block_stride = stride;
  block_safe = safe;
  block_lowest = lowest;
  if (!loaded) load_keys(block, lowest, safe);
  store_tile(false);
  if (LANE_INDEX == 0) bad_keys = changing_steps = 0;
  barrier();
  [[unroll]] for (uint i = 0; i < LOADS; i++) ahead[i] = raw_v(own_place, min(i * PARTS + own_part, kChunksV - 1));
  multiply_keys();
  barrier();
  store_tile(true);
  soften(block);
  barrier();
  const uint next = next_block(current.pass, block, current.base);
  loaded = next < current.to;
  if (loaded) load_keys(next, lowest, last_of_block(current.pass, next, current.to));
  multiply_values();
  if (bad_keys != 0)
    for (uint n = 0; n < KEYS; n++)
      if ((bad_keys >> n & 1) != 0 && counts(position_of_key(block, n))) l[0] = uintBitsToFloat(0x7fc00000u);
  barrier();
}

#include "shaders/attention/coopmat_rows.glsl"
#include "shaders/attention/phases.glsl"

void main() {
  lane = LANE_INDEX % SPAN;
  own_key = LANE_INDEX / PARTS;
  own_part = LANE_INDEX % PARTS;
  group = p.n_heads / p.n_kv_heads;
  pack = has(ATTENTION_BY_HEAD) ? 1 : group;
  prefill(LANE_INDEX / SPAN);
}
