// Attention of prompts by VK_KHR_cooperative_matrix: scores and weights go through shared memory, where SPAN lanes own
// a row's softmax.
#version 450
#define PRODUCT_COLUMNS N
#define PRODUCT_SHARES GN
#define VALUES_AT 0
#define TURNS 1
#include "shaders/attention/coopmat_tiles.glsl"

const uint OWN = STEP_KEYS / SPAN;  // keys of a lane in a step, a multiple of 4
const uint SUBGROUP = LANES / (kClusters / M * GN);
const uint S_STRIDE = KEYS / 4 + 1, P_STRIDE = KEYS / 4 + 2;  // in fours, spread over the banks

shared vec4 scores[kClusters * S_STRIDE];  // and matrices of outputs on their way
shared uvec2 weights[kClusters * P_STRIDE];
shared float keeps[STEPS * kClusters];
shared uint changing_steps;  // in which a row's largest changes

void store_products() {
  [[unroll]] for (uint t = 0; t < TS; t++)
    coopMatStore(products[t], scores, matrix_row() * S_STRIDE + (gl_SubgroupID % GN * TS + t) * (N / 4), S_STRIDE, gl_CooperativeMatrixLayoutRowMajor);
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
  if (LANE_INDEX == 0) bad_keys[0] = changing_steps = 0;
  barrier();
  load_values();
  multiply_keys();
  store_products();
  barrier();
  store_tile(true);
  soften(block);
  barrier();
  const uint next = next_block(current.pass, block, current.base);
  loaded = next < current.to;
  if (loaded) load_keys(next, lowest, last_of_block(current.pass, next, current.to));
  multiply_values();
  if (bad_keys[0] != 0)
    for (uint n = 0; n < KEYS; n++)
      if ((bad_keys[0] >> n & 1) != 0 && counts(position_of_key(block, n))) l[0] = uintBitsToFloat(0x7fc00000u);
  barrier();
}

#include "shaders/attention/coopmat_rows.glsl"
#include "shaders/attention/phases.glsl"

void main() {
  begin_tile();
  prefill(LANE_INDEX / SPAN);
}
