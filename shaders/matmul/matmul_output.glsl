// Where a kernel of the matrix product writes: a tensor, several, or one with a residual added. Needs the
// parameters as p.
layout(binding = 0) writeonly buffer Y { float y[]; };
layout(binding = 5) readonly buffer Residual { float residual[]; };

void write_output(uint row, uint output_, float value) {
  const uint c = p.first + output_;
  uint at = row * p.end[0] + c;
  if (c >= p.end[1]) at = p.at[1] + row * (p.n - p.end[1]) + c - p.end[1];
  else if (c >= p.end[0]) at = p.at[0] + row * (p.end[1] - p.end[0]) + c - p.end[0];
  if (p.scale != 0) value = residual[at] + p.scale * value;
  y[at] = value;
}
