// Adds units of rows and keys to the cells of an image: the largest, or the sum. CELL_LANES lanes share a cell.
#version 450
#include "shaders/attention_map/attention_map.h"

layout(constant_id = 0) const uint LANES = 64;
layout(local_size_x = 64, local_size_x_id = 0) in;
layout(constant_id = 1) const uint CELL_LANES = 1;  // 1 or LANES
layout(constant_id = 2) const uint VALUE = 0;       // MAP_MAX, else sums

layout(binding = 0) buffer Image { float image[]; };  // [planes, image_lines, columns]
layout(binding = 1) readonly buffer Units { float units[]; };  // [planes, n_rows, n_units]
layout(push_constant) uniform Push { AttentionMapPoolParameters p; };
shared float parts[LANES];

float pooled(float a, float b) { return VALUE == MAP_MAX ? max(a, b) : a + b; }
uint line_begin(uint i) { return i * p.line_quotient + (p.line_rest > 0 ? i * p.line_rest / p.n_lines : 0); }
uint column_begin(uint i) { return i * p.column_quotient + (p.column_rest > 0 ? i * p.column_rest / p.n_columns : 0); }

void main() {
  const uint lane = gl_LocalInvocationIndex % CELL_LANES, width = p.end_column - p.first_column;
  const uint cell = gl_WorkGroupID.x * (LANES / CELL_LANES) + gl_LocalInvocationIndex / CELL_LANES;
  const uint line = p.first_line + cell / width, column = p.first_column + cell % width;
  const uint from_row = clamp(line_begin(line), p.row, p.row + p.n_rows) - p.row;
  const uint to_row = clamp(line_begin(line + 1), p.row, p.row + p.n_rows) - p.row;
  const uint from = clamp(column_begin(column), p.unit, p.unit + p.n_units) - p.unit;
  const uint n = clamp(column_begin(column + 1), p.unit, p.unit + p.n_units) - p.unit - from;
  float value = 0;
  const uint plane = gl_WorkGroupID.z * p.n_rows, all = line < p.end_line ? (to_row - from_row) * n : 0;
  for (uint i = lane; i < all; i += CELL_LANES)
    value = pooled(value, units[(plane + from_row + i / n) * p.n_units + from + i % n]);
  if (CELL_LANES > 1) {
    parts[gl_LocalInvocationIndex] = value;
    barrier();
    for (uint half_lanes = CELL_LANES / 2; half_lanes > 0; half_lanes /= 2) {
      if (lane < half_lanes) parts[lane] = pooled(parts[lane], parts[lane + half_lanes]);
      barrier();
    }
    value = parts[0];
  }
  if (lane != 0 || line >= p.end_line) return;
  const uint at = (gl_WorkGroupID.z * p.image_lines + line - p.image_line) * p.n_columns + column;
  image[at] = pooled(image[at], value);
}
