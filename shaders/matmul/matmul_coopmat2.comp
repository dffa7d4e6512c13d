// Matrix product of prompts by VK_NV_cooperative_matrix2: matrices as large as a subgroup's part of the tile, whose sums
// are written from where they are.
#version 450
#extension GL_NV_cooperative_matrix2 : require
#include "shaders/matmul/matmul_coopmat.glsl"

float end_sum(const in uint i, const in uint j, const in float sum, const in uint first_row, const in uint first_output) {
  const uint row = first_row + i, output_ = first_output + j;
  return row < p.rows && output_ < p.count ? added_output(row, output_, scaled(row, output_, sum)) : 0;
}

float write_sum(const in uint i, const in uint j, const in float sum, const in uint first_row, const in uint first_output) {
  const uint row = first_row + i, output_ = first_output + j;
  if (row < p.rows && output_ < p.count) y[output_at(row, output_)] = sum;
  return sum;
}

void main() {
  add_products();
  const uint first_row = gl_WorkGroupID.x * ROWS + rows_down(), first_output = gl_WorkGroupID.y * OUTPUTS + outputs_across();
  [[unroll]] for (uint i = 0; i < TM * TN; i++)
    coopMatPerElementNV(sums[i], sums[i], end_sum, first_row + i / TN * M, first_output + i % TN * N);
  // A function may be called more than once for an element, and the residual may be y.
  if (p.scale != 0) subgroupBarrier();
  [[unroll]] for (uint i = 0; i < TM * TN; i++)
    coopMatPerElementNV(sums[i], sums[i], write_sum, first_row + i / TN * M, first_output + i % TN * N);
}
