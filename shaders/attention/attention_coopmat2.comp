// Attention of prompts by VK_NV_cooperative_matrix2: scores, maxima, sums and weights stay in matrices of 16 keys across.
// Subgroups side by side compute the same ones.
#version 450
#extension GL_NV_cooperative_matrix2 : require
#extension GL_KHR_shader_subgroup_ballot : require
#define PRODUCT_COLUMNS STEP_KEYS
#define PRODUCT_SHARES 1
#define VALUES_AT (KEYS * KV_STRIDE)
#define TURNS 2
#include "shaders/attention/coopmat_tiles.glsl"

layout(binding = 0) writeonly buffer YFloats { float y_floats[]; };
layout(binding = 7) buffer SumFloats { float sum_floats[]; };

// Of a row, for the lanes that have its elements: the first key that counts in this block and the end of them, where
// distances are counted from, q_scale; the slope, and where its biases are.
shared uvec4 row_keys[kClusters];
shared uvec2 row_terms[kClusters];

// m and l of rows.glsl, in every column of a row. A reduction may add in another order for each column: the totals of the
// first one are the row's, so that its bits are the same with states between dispatches and without.
PRODUCTS largest, total;
uint block_first;         // key of the block

// Functions of elements: (row of the matrix, its column, element, ...). They may be called more than once for one.

float larger(const in float a, const in float b) { return max(a, b); }
float sum_of(const in float a, const in float b) { return a + b; }
float larger_of(const in uint row, const in uint column, const in float a, const in float b) { return max(a, b); }

// What is kept of what was added up after one maximum, after the next one.
float kept(const in uint row, const in uint column, const in float before, const in float after_) {
  return after_ == before ? 1 : exp(before - after_);
}

// A dispatch may begin or end within a block.
bool counts(uint key, uvec4 keys) { return key >= keys.x && key < keys.y; }

float score_of(const in uint row, const in uint column, const in float product, const in uint first_key) {
  const uvec4 keys = row_keys[matrix_row() + row];
  const uvec2 terms = row_terms[matrix_row() + row];
  const uint key = position_of_key(block_first, first_key + column);
  const float x = score(product * uintBitsToFloat(keys.w), p.scale, uintBitsToFloat(terms.x), terms.y, int(keys.z) - int(key));
  return counts(key, keys) ? x : kNone;
}

float weight_of(const in uint row, const in uint column, const in float x, const in float largest_, const in uint first_key) {
  const uint n = first_key + column;
  if (!counts(position_of_key(block_first, n), row_keys[matrix_row() + row])) return 0;
  return (bad_keys[turn] >> n & 1) != 0 ? uintBitsToFloat(0x7fc00000u) : exp(x - largest_);
}

// Adds the values of 16 keys, weighed, to the outputs.
void add_step(uint t) {
  PRODUCTS x, next, keep;
  coopMatPerElementNV(x, products[t], score_of, t * STEP_KEYS);
  coopMatReduceNV(next, x, gl_CooperativeMatrixReduceRowNV, larger);
  coopMatPerElementNV(next, next, larger_of, largest);
  coopMatPerElementNV(keep, largest, kept, next);
  largest = next;
  coopMatPerElementNV(x, x, weight_of, largest, t * STEP_KEYS);
  coopMatReduceNV(next, x, gl_CooperativeMatrixReduceRowNV, sum_of);
  total = total * keep + next;
  bool changes = false;
  [[unroll]] for (uint i = 0; i < keep.length(); i++) changes = changes || keep[i] != 1;
  if (subgroupBallot(changes) != uvec4(0)) {
    SUMS wide;
    coopMatReduceNV(wide, keep, gl_CooperativeMatrixReduceRowNV, larger);
    [[unroll]] for (uint i = 0; i < TV; i++) outputs[i] = outputs[i] * wide;
  }
  const coopmat<float16_t, gl_ScopeSubgroup, M, STEP_KEYS, gl_MatrixUseA> weights =
      coopmat<float16_t, gl_ScopeSubgroup, M, STEP_KEYS, gl_MatrixUseA>(x * WEIGHT_TOP);
  [[unroll]] for (uint i = 0; i < TV; i++) {
    coopmat<float16_t, gl_ScopeSubgroup, STEP_KEYS, N, gl_MatrixUseB> values;
    coopMatLoad(values, kv_tile, VALUES_AT + t * STEP_KEYS * KV_STRIDE + (gl_SubgroupID % GN * TV + i) * (N / 8), KV_STRIDE,
                gl_CooperativeMatrixLayoutRowMajor);
    outputs[i] = coopMatMulAdd(weights, values, outputs[i]);
  }
}

// Between two barriers either the keys' tile is read and the values' is written, or the other way round.
void block_step(uint block, uint lowest, uint safe, uint stride) {
  block_stride = stride;
  block_safe = safe;
  block_first = block;
  if (!loaded) load_keys(block, lowest, safe);
  store_tile(false);
  barrier();
  load_values();
  if (lane == 0) row_keys[LANE_INDEX / SPAN] = uvec4(max(from[0], lowest), min(seen[0], safe + 1), origin[0], floatBitsToUint(q_scale));
  if (LANE_INDEX == 0) bad_keys[turn ^ 1] = 0;
  multiply_keys();
  store_tile(true);
  barrier();
  const uint next = next_block(current.pass, block, current.base);
  loaded = next < current.to;
  if (loaded) load_keys(next, lowest, last_of_block(current.pass, next, current.to));
  [[unroll]] for (uint t = 0; t < STEPS; t++) add_step(t);
  turn ^= 1;
}

#include "shaders/attention/coopmat2_rows.glsl"
#include "shaders/attention/phases.glsl"

void main() {
  begin_tile();
  prefill(LANE_INDEX / SPAN);
}
