// Matrix product of prompts by VK_KHR_cooperative_matrix.
#version 450
#include "shaders/matmul/matmul_coopmat.glsl"

shared float results[GM * GN * M * N];  // a matrix of each subgroup

void main() {
  add_products();
  const uint own = gl_SubgroupID * M * N;
  [[unroll]] for (uint r = 0; r < TM; r++)
    [[unroll]] for (uint t = 0; t < TN; t++) {
      coopMatStore(sums[r * TN + t], results, own, N, gl_CooperativeMatrixLayoutRowMajor);
      subgroupBarrier();
      [[unroll]] for (uint i = 0; i < M * N; i += SUBGROUP) {
        const uint e = i + gl_SubgroupInvocationID;
        const uint row = gl_WorkGroupID.x * ROWS + rows_down() + r * M + e / N;
        const uint output_ = gl_WorkGroupID.y * OUTPUTS + outputs_across() + t * N + e % N;
        if (row < p.rows && output_ < p.count && e < M * N) write_output(row, output_, scaled(row, output_, results[own + e]));
      }
      subgroupBarrier();
    }
}
