// Matrix product of quantised weights with rows that quantize_rows.h made integers. The 32 (16 where halves of a block
// have scales of their own) products of a scale are added up exactly, so that only the order of the scales counts.
#include "shaders/matmul/matmul_tile.glsl"
#include "shaders/matmul/quantize_rows.h"
#extension GL_EXT_spirv_intrinsics : require

layout(constant_id = 8) const uint HALVES = 1;     // of a block, in one iteration
layout(constant_id = 9) const bool MIXED = false;  // signed times unsigned bytes: the same sums

layout(binding = 3) readonly buffer X2 { WORDS2 x_scales[]; };  // and sums
layout(binding = 3) readonly buffer X4 { WORDS4 x4[]; };

// OpSDot and OpSUDot of SPV_KHR_integer_dot_product; format 0: four bytes in a word.
#define DOT_EXTENSION extensions = ["SPV_KHR_integer_dot_product"], capabilities = [6018, 6019]
spirv_instruction(DOT_EXTENSION, id = 4450) int dot_signed(uint a, uint b, spirv_literal int format);
spirv_instruction(DOT_EXTENSION, id = 4452) int dot_mixed(uint a, uint unsigned_b, spirv_literal int format);

#ifdef SUBGROUP
// Each lane loads another piece of x; shuffles hand them round. The workgroup is one subgroup.
const uint X_LOADS = (TM + LANES - 1) / LANES;
#define X_ROW(i) min((i) * LANES + gl_LocalInvocationID.x, TM - 1)
#define X_VALUE(xs, r) subgroupShuffle(xs[(r) / LANES], (r) % LANES)
#else
const uint X_LOADS = TM;
#define X_ROW(i) (i)
#define X_VALUE(xs, r) xs[r]
#endif

const bool EARLY = HIGH_BITS > 0 || WEIGHT_HALVES;  // scales and what lies with them are loaded before the products
const int DOT_BIAS = MIXED ? WEIGHT_BIAS : SIGNED_BIAS;

// The integer sums of a row's products with one scale's weights, and of the row's integers.
void add_dot(uint i, int dot, int x_sum, float scale, float minimum, float row_scale) {
  const float exact = float(dot - DOT_BIAS * x_sum);
  sums[i] = fma(exact, scale * (MIXED ? 1 : SIGNED_SCALE) * row_scale, sums[i]);
  if (WEIGHT_MINIMUM) sums[i] = fma(float(x_sum), minimum * row_scale, sums[i]);
}

void main() {
  if (!find_tile()) return;
  const uint lane = gl_LocalInvocationID.x, slice = gl_LocalInvocationID.z;
  const uint first_row = tile_row() + gl_LocalInvocationID.y * TM;
  const uint first_output = gl_WorkGroupID.y * LANES * TN + lane;
  const uint n_blocks = p.k / WEIGHT_BLOCK;

  uint at[TN], scales_at[TN], x_at[X_LOADS], x_scales_at[X_LOADS];
  [[unroll]] for (uint t = 0; t < TN; t++) {
    const uint output_ = part_output(first_output + t * LANES);
    at[t] = weight_at(output_, n_blocks) + slice * BLOCK_UNITS * WEIGHT_GROUP;
    scales_at[t] = scale_at(output_, n_blocks);
  }
  [[unroll]] for (uint i = 0; i < X_LOADS; i++) {
    const uint row_at = x_row(first_row + X_ROW(i)) * QUANTIZED_WORDS(p.k);
    x_at[i] = row_at / 4 + slice * 2;
    x_scales_at[i] = row_at / 2 + n_blocks * 4;
  }
  [[unroll]] for (uint i = 0; i < TM * TN; i++) sums[i] = 0;

  [[dont_unroll]] for (uint block = slice; block < n_blocks; block += SLICES) {
    if (TOUCH > 0 && block % TOUCH == 0) touch(block + TOUCH, n_blocks);
    int dots[TM * TN], x_sums[TM];
    uvec4 units[TN];
    WeightFactors factors[TN];
    uvec2 of_rows[X_LOADS];  // scale, sum
    [[unroll]] for (uint i = 0; i < TM * TN; i++) dots[i] = 0;
    if (BLOCK_UNITS == 1) [[unroll]] for (uint t = 0; t < TN; t++) units[t] = weight_unit(at[t]);
    if (EARLY) [[unroll]] for (uint t = 0; t < TN; t++) factors[t] = weight_scales(scales_at[t], block);
    if (WEIGHT_HALVES) [[unroll]] for (uint l = 0; l < X_LOADS; l++) of_rows[l] = words2(x_scales[x_scales_at[l] + block]);

    [[dont_unroll]] for (uint i = 0; i < 2; i += HALVES)
      [[unroll]] for (uint h = 0; h < HALVES; h++) {
        if (BLOCK_UNITS == 2)
          [[unroll]] for (uint t = 0; t < TN; t++) units[t] = words4(weight_values[at[t] + (i + h) * WEIGHT_GROUP]);
        uvec4 xs[X_LOADS], w[TN];
        [[unroll]] for (uint l = 0; l < X_LOADS; l++) xs[l] = words4(x4[x_at[l] + i + h]);
        [[unroll]] for (uint t = 0; t < TN; t++)
          w[t] = MIXED ? weight_unsigned(units[t], factors[t].high, i + h) : weight_signed(units[t], factors[t].high, i + h);
        [[unroll]] for (uint r = 0; r < TM; r++) {
          const uvec4 v = X_VALUE(xs, r);
          [[unroll]] for (uint c = 0; c < 4; c++)
            [[unroll]] for (uint t = 0; t < TN; t++)
              dots[r * TN + t] += MIXED ? dot_mixed(v[c], w[t][c], 0) : dot_signed(v[c], w[t][c], 0);
          if (WEIGHT_HALVES) {
            int x_sum = 0;
            [[unroll]] for (uint c = 0; c < 4; c++)
              x_sum += MIXED ? dot_mixed(v[c], 0x01010101u, 0) : dot_signed(v[c], 0x01010101u, 0);
            const float row_scale = uintBitsToFloat(X_VALUE(of_rows, r).x);
            [[unroll]] for (uint t = 0; t < TN; t++) {
              add_dot(r * TN + t, dots[r * TN + t], x_sum, factors[t].scale[i + h], factors[t].minimum[i + h], row_scale);
              dots[r * TN + t] = 0;
            }
          }
        }
      }
    [[unroll]] for (uint t = 0; t < TN; t++) at[t] += SLICES * BLOCK_UNITS * WEIGHT_GROUP;
    [[unroll]] for (uint l = 0; l < X_LOADS; l++) x_at[l] += SLICES * 2;
    if (WEIGHT_HALVES) continue;

    if (!EARLY) [[unroll]] for (uint t = 0; t < TN; t++) factors[t] = weight_scales(scales_at[t], block);
    [[unroll]] for (uint l = 0; l < X_LOADS; l++) of_rows[l] = words2(x_scales[x_scales_at[l] + block]);
    [[unroll]] for (uint r = 0; r < TM; r++) {
      const uvec2 of_row = X_VALUE(of_rows, r);
      [[unroll]] for (uint t = 0; t < TN; t++)
        add_dot(r * TN + t, dots[r * TN + t], int(of_row.y), factors[t].scale.x, factors[t].minimum.x, uintBitsToFloat(of_row.x));
    }
  }

  write_sums(first_row, first_output);
}
