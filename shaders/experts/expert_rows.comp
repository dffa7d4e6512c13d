// One workgroup an expert: counts the pairs of smaller experts and its own, then writes its own in order.
// Tile j of expert e is number floor(first / tile_rows) + e + j, which no other expert has, since floor(a) + floor(b) + 1 >=
// floor(a) + ceil(b): every expert finds its place alone.
#version 450
#include "shaders/experts/expert_rows.h"

layout(constant_id = 0) const uint LANES = 64;
layout(local_size_x = 64, local_size_x_id = 0) in;

layout(binding = 0) writeonly buffer Order { uint order[]; };
layout(binding = 1) writeonly buffer Tiles { uvec4 tiles[]; };
layout(binding = 2) readonly buffer Ids { uint ids[]; };
layout(push_constant) uniform Push { ExpertRowsParameters p; };

shared uvec2 counts[LANES];  // of smaller experts and of this one, among a lane's pairs

void main() {
  const uint expert = gl_WorkGroupID.x, lane = gl_LocalInvocationID.x;
  const uint share = (p.pairs + LANES - 1) / LANES;
  const uint begin = min(lane * share, p.pairs), end = min(begin + share, p.pairs);
  uvec2 count = uvec2(0);
  for (uint i = begin; i < end; i++) {
    const uint id = ids[i];
    count += uvec2(id < expert ? 1 : 0, id == expert ? 1 : 0);
  }
  counts[lane] = count;
  barrier();
  uint first = 0, own = 0, earlier = 0;
  for (uint i = 0; i < LANES; i++) {
    first += counts[i].x;
    own += counts[i].y;
    if (i < lane) earlier += counts[i].y;
  }
  uint to = first + earlier;
  if (count.y > 0)
    for (uint i = begin; i < end; i++)
      if (ids[i] == expert) order[to++] = i;

  const uint at = first / p.tile_rows + expert;
  const uint next = expert + 1 == p.experts ? p.pairs / p.tile_rows + p.experts : (first + own) / p.tile_rows + expert + 1;
  for (uint i = at + lane; i < next; i += LANES) {
    const uint from = min((i - at) * p.tile_rows, own);
    tiles[i] = uvec4(expert, first + from, first + min(from + p.tile_rows, own), 0);
  }
}
