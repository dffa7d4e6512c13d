// The rows and outputs of a workgroup in a product with experts, in place of those of matmul_tile.glsl.
#include "shaders/experts/expert_matmul.h"

layout(binding = 5) readonly buffer Order { uint order[]; };
layout(binding = 6) readonly buffer Tiles { uvec4 tiles[]; };
layout(binding = 6) readonly buffer Ids { uint ids[]; };
layout(push_constant) uniform Push { ExpertMatmulParameters p; };

uint tile_expert, tile_first, tile_end;

// False where the workgroup has no rows, or no outputs in the part.
bool find_tile() {
  const uint i = gl_WorkGroupID.x;
  if (p.sorted == 0) {
    tile_expert = ids[i];
    tile_first = i;
    tile_end = i + 1;
  } else {
    const uvec4 tile = tiles[i];
    tile_expert = tile.x;
    tile_first = tile.y;
    tile_end = tile.z;
  }
  const uint first = tile_expert * p.stride + gl_WorkGroupID.y * LANES * TN;
  return tile_first < tile_end && first < p.first + p.count && first + LANES * TN > p.first;
}
uint tile_row() { return tile_first; }
bool row_exists(uint row) { return row < tile_end; }
uint y_row(uint row) {
  const uint i = min(row, tile_end - 1);
  return p.sorted == 0 ? i : order[i];
}
uint x_row(uint row) { return y_row(row) / p.shared_by; }

// Among the part's; what lies before the part wraps round and is too large.
uint of_part(uint output_) { return tile_expert * p.stride + output_ - p.first; }
bool output_exists(uint output_) { return output_ < p.n && of_part(output_) < p.count; }
uint part_output(uint output_) { return min(of_part(output_), (p.count - 1) | (WEIGHT_GROUP - 1)); }
uint bias_at(uint output_) { return tile_expert * p.n + output_; }
void write_output(uint row, uint output_, float value) { y[y_row(row) * p.n + output_] = value; }
