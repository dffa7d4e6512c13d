// Matrix product of prompts by cooperative matrices: f16 times f16, added in f32. Rows come as f16 with a scale (see
// half_rows.h), blocks of weights are decoded to f16 into shared memory. A sum is one chain over the inputs, K of them
// at a time, whatever the tile. A shader that includes this ends with what becomes of the sums.
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#extension GL_EXT_control_flow_attributes : require
#include "shaders/matmul/half_rows.h"
#include "shaders/matmul/matmul_output.h"

layout(constant_id = 0) const uint LANES = 128;  // of the workgroup: full subgroups
layout(local_size_x = 128, local_size_x_id = 0) in;
layout(constant_id = 1) const uint M = 16;  // of a matrix: rows, outputs, inputs
layout(constant_id = 2) const uint N = 16;
layout(constant_id = 3) const uint K = 16;
layout(constant_id = 4) const uint TM = 2;  // matrices of a subgroup
layout(constant_id = 5) const uint TN = 4;
layout(constant_id = 6) const uint GM = 2;  // subgroups of the workgroup
layout(constant_id = 7) const uint GN = 2;
layout(constant_id = 8) const uint BLOCKS = 1;  // of 32 inputs, in an iteration
layout(constant_id = 9) const uint WEIGHT_TYPE = 3;
layout(constant_id = 10) const bool BIAS = false;

#define WEIGHT_BINDING 1
#define SCALES_BINDING 2
#include "shaders/weight/weight.glsl"
layout(binding = 3) readonly buffer X { float x_scales[]; };
layout(binding = 3) readonly buffer X4 { uvec4 x_units[]; };
layout(binding = 4) readonly buffer Bias { float bias[]; };
layout(push_constant) uniform Push { MatmulParameters p; };
#include "shaders/matmul/matmul_output.glsl"

const uint SUBGROUP = LANES / (GM * GN);
const uint ROWS = GM * TM * M, OUTPUTS = GN * TN * N;  // of the workgroup
const uint SPAN = BLOCKS * 4;                          // units of 8 halves of a row in an iteration
const uint STRIDE = SPAN + 1;                          // spreads rows over the banks of shared memory
const uint X_LOADS = (ROWS * SPAN + LANES - 1) / LANES, W_LOADS = (OUTPUTS * BLOCKS + LANES - 1) / LANES;
const uint UNIT_STEPS = UNIT_INPUTS / 4;

shared uvec4 x_tile[ROWS * STRIDE];
shared uvec4 w_tile[OUTPUTS * STRIDE];

uvec4 xs[X_LOADS], units[W_LOADS * BLOCK_UNITS];  // on their way to the tiles
WeightFactors factors[W_LOADS];

#define ALL_LOADS(n) ((n) % LANES == 0)  // whether every lane has as many

// Asks for BLOCKS blocks, the first of them `block`.
void load_tiles(uint block, uint n_blocks) {
  const uint lane = gl_LocalInvocationIndex;
  [[unroll]] for (uint i = 0; i < X_LOADS; i++) {
    const uint at = i * LANES + lane, row = gl_WorkGroupID.x * ROWS + at / SPAN, unit = block * 4 + at % SPAN;
    xs[i] = uvec4(0);
    if (row < p.rows && (BLOCKS == 1 || unit < n_blocks * 4) && (ALL_LOADS(ROWS * SPAN) || at < ROWS * SPAN))
      xs[i] = x_units[row * (HALF_WORDS(p.k) / 4) + unit];
  }
  [[unroll]] for (uint i = 0; i < W_LOADS; i++) {
    const uint at = i * LANES + lane, own = block + at / OUTPUTS;
    const uint output_ = min(gl_WorkGroupID.y * OUTPUTS + at % OUTPUTS, (p.count - 1) | (WEIGHT_GROUP - 1));  // padding included
    [[unroll]] for (uint u = 0; u < BLOCK_UNITS; u++) units[i * BLOCK_UNITS + u] = uvec4(0);
    factors[i] = WeightFactors(vec2(0), vec2(0), uvec2(0));
    if (!(ALL_LOADS(OUTPUTS * BLOCKS) || at < OUTPUTS * BLOCKS) || !(BLOCKS == 1 || own < n_blocks)) continue;
    const uint first = weight_at(output_, n_blocks) + own * (BLOCK_UNITS * WEIGHT_GROUP);
    [[unroll]] for (uint u = 0; u < BLOCK_UNITS; u++) units[i * BLOCK_UNITS + u] = weight_unit(first + u * WEIGHT_GROUP);
    factors[i] = weight_scales(scale_at(output_, n_blocks), own);
  }
}

uvec2 halves(vec4 v) { return uvec2(packFloat2x16(f16vec2(v.xy)), packFloat2x16(f16vec2(v.zw))); }

// Step `step` of a lane's block i, as f16.
uvec2 decode(uint i, uint step) {
  vec4 w = weight_decode(units[i * BLOCK_UNITS + step / UNIT_STEPS], step % UNIT_STEPS, factors[i].high, step);
  const bool second = WEIGHT_HALVES && step >= 4;
  if (WEIGHT_SCALED) w *= second ? factors[i].scale.y : factors[i].scale.x;
  if (WEIGHT_MINIMUM) w += second ? factors[i].minimum.y : factors[i].minimum.x;
  return halves(w);
}

void store_tiles() {
  const uint lane = gl_LocalInvocationIndex;
  [[unroll]] for (uint i = 0; i < X_LOADS; i++) {
    const uint at = i * LANES + lane;
    if (ALL_LOADS(ROWS * SPAN) || at < ROWS * SPAN) x_tile[at / SPAN * STRIDE + at % SPAN] = xs[i];
  }
  [[unroll]] for (uint i = 0; i < W_LOADS; i++) {
    const uint at = i * LANES + lane, to = at % OUTPUTS * STRIDE + at / OUTPUTS * 4;
    if (!(ALL_LOADS(OUTPUTS * BLOCKS) || at < OUTPUTS * BLOCKS)) continue;
    [[unroll]] for (uint u = 0; u < 4; u++)
      if (WEIGHT_IS(F16)) w_tile[to + u] = units[i * BLOCK_UNITS + u];
      else w_tile[to + u] = uvec4(decode(i, u * 2), decode(i, u * 2 + 1));
  }
}

#define SUMS coopmat<float, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator>
SUMS sums[TM * TN];  // of the subgroup

uint rows_down() { return gl_SubgroupID / GN * TM * M; }        // where they lie in the tile
uint outputs_across() { return gl_SubgroupID % GN * TN * N; }

void add_products() {
  const uint n_blocks = (p.k + WEIGHT_BLOCK - 1) / WEIGHT_BLOCK;
  [[unroll]] for (uint i = 0; i < TM * TN; i++) sums[i] = SUMS(0);
  load_tiles(0, n_blocks);
  [[dont_unroll]] for (uint block = 0; block < n_blocks; block += BLOCKS) {
    store_tiles();
    barrier();
    if (block + BLOCKS < n_blocks) load_tiles(block + BLOCKS, n_blocks);
    [[unroll]] for (uint unit = 0; unit < SPAN; unit += K / 8) {
      coopmat<float16_t, gl_ScopeSubgroup, M, K, gl_MatrixUseA> x[TM];
      [[unroll]] for (uint r = 0; r < TM; r++)
        coopMatLoad(x[r], x_tile, (rows_down() + r * M) * STRIDE + unit, STRIDE, gl_CooperativeMatrixLayoutRowMajor);
      [[unroll]] for (uint t = 0; t < TN; t++) {
        coopmat<float16_t, gl_ScopeSubgroup, K, N, gl_MatrixUseB> w;
        coopMatLoad(w, w_tile, (outputs_across() + t * N) * STRIDE + unit, STRIDE, gl_CooperativeMatrixLayoutColumnMajor);
        [[unroll]] for (uint r = 0; r < TM; r++) sums[r * TN + t] = coopMatMulAdd(x[r], w, sums[r * TN + t]);
      }
    }
    barrier();
  }
}

// Of a sum.
float scaled(uint row, uint output_, float sum) {
  sum *= x_scales[row * HALF_WORDS(p.k) + HALF_SCALE_AT(p.k)];
  return BIAS ? sum + bias[p.first + output_] : sum;
}
