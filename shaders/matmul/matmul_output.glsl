// Where a kernel of the matrix product writes: a tensor, several, or one with a residual added. Needs the
// parameters as p.
layout(binding = 0) writeonly buffer Y { float y[]; };
layout(binding = 5) readonly buffer Residual { float residual[]; };

uint output_at(uint row, uint output_) {
  const uint c = p.first + output_;
  uint at = row * p.end[0] + c;
  if (c >= p.end[1]) at = p.at[1] + row * (p.n - p.end[1]) + c - p.end[1];
  else if (c >= p.end[0]) at = p.at[0] + row * (p.end[1] - p.end[0]) + c - p.end[0];
  return at;
}

float added_output(uint row, uint output_, float value) {
  return p.scale != 0 ? residual[output_at(row, output_)] + p.scale * value : value;
}

void write_output(uint row, uint output_, float value) { y[output_at(row, output_)] = added_output(row, output_, value); }
