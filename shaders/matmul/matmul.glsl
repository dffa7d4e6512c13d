// Matrix product in f32, of weights of any type.
#include "shaders/matmul/matmul_tile.glsl"

layout(constant_id = 8) const uint X_ACCESS = 0;        // 0: k is a multiple of 32, 1: of 4, 2: any
layout(constant_id = 9) const bool SCALE_SUMS = false;  // blocks are summed before they are scaled
layout(constant_id = 10) const uint STEPS = 1;           // of 4 inputs, in one iteration

layout(binding = 3) readonly buffer X { float x[]; };
layout(binding = 3) readonly buffer X4 { WORDS4 x4[]; };

const uint SPAN = STEPS * 4;                                          // inputs of an iteration
const uint UNITS = SPAN > UNIT_INPUTS ? SPAN / UNIT_INPUTS : 1;       // loaded at once
const uint TURNS = SPAN > UNIT_INPUTS ? 1 : UNIT_INPUTS / SPAN;       // iterations that a unit lasts
const uint UNIT_STEPS = UNIT_INPUTS / 4;
const uint TURN_WORDS = 4 / TURNS;
const bool SUM_X = SCALE_SUMS && WEIGHT_MINIMUM;  // a block's sum of x, which its minimum is multiplied with

// Inputs k to k + 3 of a row; at is where they are, in units of 4 (or of 1 where k is no multiple of 4).
vec4 load_x(uint at, uint k) {
  if (X_ACCESS == 0) return uintBitsToFloat(words4(x4[at]));
  if (X_ACCESS == 1) return k < p.k ? uintBitsToFloat(words4(x4[at])) : vec4(0);
  vec4 v = vec4(0);
  [[unroll]] for (uint c = 0; c < 4; c++) if (k + c < p.k) v[c] = x[at + c];
  return v;
}

#ifdef SUBGROUP
// Each lane loads another piece of x; shuffles hand them round. The workgroup is one subgroup.
const uint X_LOADS = (STEPS * TM + LANES - 1) / LANES;
#define X_PIECE(i) min((i) * LANES + gl_LocalInvocationID.x, STEPS * TM - 1)
#define X_VALUE(step, r) subgroupShuffle(xs[((step) * TM + (r)) / LANES], ((step) * TM + (r)) % LANES)
#else
const uint X_LOADS = STEPS * TM;
#define X_PIECE(i) (i)
#define X_VALUE(step, r) xs[(step) * TM + (r)]
#endif

void main() {
  if (!find_tile()) return;
  const uint lane = gl_LocalInvocationID.x, slice = gl_LocalInvocationID.z;
  const uint first_row = tile_row() + gl_LocalInvocationID.y * TM;
  const uint first_output = gl_WorkGroupID.y * LANES * TN + lane;
  const uint n_blocks = (p.k + WEIGHT_BLOCK - 1) / WEIGHT_BLOCK;

  const uint x_unit = X_ACCESS == 2 ? 1 : 4;
  uint at[TN], scales_at[TN], x_at[X_LOADS];
  [[unroll]] for (uint t = 0; t < TN; t++) {
    const uint output_ = part_output(first_output + t * LANES);
    at[t] = weight_at(output_, n_blocks) + slice * BLOCK_UNITS * WEIGHT_GROUP;
    scales_at[t] = scale_at(output_, n_blocks);
  }
  [[unroll]] for (uint i = 0; i < X_LOADS; i++)
    x_at[i] = (x_row(first_row + X_PIECE(i) % TM) * p.k + slice * WEIGHT_BLOCK + X_PIECE(i) / TM * 4) / x_unit;
  [[unroll]] for (uint i = 0; i < TM * TN; i++) sums[i] = 0;

  [[dont_unroll]] for (uint block = slice; block < n_blocks; block += SLICES) {
    if (TOUCH > 0 && block % TOUCH == 0) touch(block + TOUCH, n_blocks);
    vec2 scales[TN], minima[TN];
    uvec2 high[TN];
    float block_sums[TM * TN], x_sums[TM];
    [[unroll]] for (uint t = 0; t < TN; t++) {
      const WeightFactors f = weight_scales(scales_at[t], block);
      scales[t] = f.scale;
      minima[t] = f.minimum;
      high[t] = f.high;
    }
    if (SCALE_SUMS) [[unroll]] for (uint i = 0; i < TM * TN; i++) block_sums[i] = 0;
    if (SUM_X) [[unroll]] for (uint r = 0; r < TM; r++) x_sums[r] = 0;

    [[dont_unroll]] for (uint unit = 0; unit < BLOCK_UNITS; unit += UNITS) {
      uvec4 units[UNITS * TN];
      [[unroll]] for (uint u = 0; u < UNITS; u++)
        [[unroll]] for (uint t = 0; t < TN; t++) {
          units[u * TN + t] = weight_unit(at[t]);
          at[t] += WEIGHT_GROUP;
        }

      [[dont_unroll]] for (uint turn = 0; turn < TURNS; turn++) {
        const uint k = block * WEIGHT_BLOCK + unit * UNIT_INPUTS + turn * SPAN;
        vec4 xs[X_LOADS];
        [[unroll]] for (uint i = 0; i < X_LOADS; i++) {
          xs[i] = load_x(x_at[i], k + X_PIECE(i) / TM * 4);
          x_at[i] += SPAN / x_unit;
        }
        [[unroll]] for (uint s = 0; s < STEPS; s++) {
          vec4 w[TN];
          const uint step = turn * STEPS + s;  // of the block, where it is one unit
          const bool second = WEIGHT_HALVES && step >= 4;
          [[unroll]] for (uint t = 0; t < TN; t++) {
            w[t] = weight_decode(units[s / UNIT_STEPS * TN + t], s % UNIT_STEPS, high[t], step);
            if (WEIGHT_SCALED && !SCALE_SUMS) {
              w[t] *= second ? scales[t].y : scales[t].x;
              if (WEIGHT_MINIMUM) w[t] += second ? minima[t].y : minima[t].x;
            }
          }
          [[unroll]] for (uint r = 0; r < TM; r++) {
            const vec4 v = X_VALUE(s, r);
            if (SUM_X) x_sums[r] += (v.x + v.y) + (v.z + v.w);
            [[unroll]] for (uint c = 0; c < 4; c++)
              [[unroll]] for (uint t = 0; t < TN; t++)
                if (SCALE_SUMS) block_sums[r * TN + t] = fma(w[t][c], v[c], block_sums[r * TN + t]);
                else sums[r * TN + t] = fma(w[t][c], v[c], sums[r * TN + t]);
          }
        }
        if (TURNS > 1 && LOW_BITS > 2)
          [[unroll]] for (uint t = 0; t < TN; t++) units[t] = TURN_WORDS == 1 ? units[t].yzwx : units[t].zwxy;
      }
    }
    if (SLICES > 1) {
      [[unroll]] for (uint t = 0; t < TN; t++) at[t] += (SLICES - 1) * BLOCK_UNITS * WEIGHT_GROUP;
      [[unroll]] for (uint i = 0; i < X_LOADS; i++) x_at[i] += (SLICES - 1) * WEIGHT_BLOCK / x_unit;
    }
    if (SCALE_SUMS)
      [[unroll]] for (uint i = 0; i < TM * TN; i++) {
        sums[i] = fma(block_sums[i], scales[i % TN].x, sums[i]);
        if (SUM_X) sums[i] = fma(x_sums[i / TN], minima[i % TN].x, sums[i]);
      }
  }

  write_sums(first_row, first_output);
}
