// Blocks of 32 to q8_0 and q4_0, see cache_append.h. Divisions are done in integers, because a
// device may round them either way.

// numerator / denominator to nearest even, of normal positive floats whose quotient is normal.
float divide(float numerator, float denominator) {
  const uint a = floatBitsToUint(numerator), b = floatBitsToUint(denominator);
  const uint divisor = (b & 0x7fffffu) | 0x800000u;
  uint rest = (a & 0x7fffffu) | 0x800000u;
  int exponent = int(a >> 23) - int(b >> 23) + 127;
  if (rest < divisor) {
    rest <<= 1;
    exponent--;
  }
  uint quotient = 1;  // the leading bit of 24
  rest -= divisor;
  for (uint i = 0; i < 23; i++) {
    rest <<= 1;
    quotient <<= 1;
    if (rest >= divisor) {
      rest -= divisor;
      quotient |= 1;
    }
  }
  if (2 * rest > divisor || (2 * rest == divisor && (quotient & 1) != 0)) quotient++;
  return uintBitsToFloat((uint(exponent) << 23) + (quotient - 0x800000u));
}

const uint SMALLEST = (127u - 30u) << 23;  // 2^-30

// The signed element of largest magnitude, the first of several; its magnitude as bits.
float extreme(vec4 values[8], out uint magnitude) {
  float found = 0;
  magnitude = 0;
  [[unroll]] for (uint i = 0; i < 8; i++)
    [[unroll]] for (uint j = 0; j < 4; j++) {
      const uint bits = floatBitsToUint(values[i][j]) & 0x7fffffffu;
      if (bits > magnitude) {
        magnitude = bits;
        found = values[i][j];
      }
    }
  return found;
}

// d in f32: positive for q8_0, of either sign for q4_0; 0 where codes are 0. NaN sorts above infinity.
float step_of(bool q8, vec4 values[8], out bool invalid) {
  uint magnitude;
  const float largest = extreme(values, magnitude);
  invalid = magnitude > 0x7f800000u;
  if (invalid || magnitude < SMALLEST) return 0;
  const float bound = q8 ? 65504.0 * 127 : 65504.0 * 8, size = min(uintBitsToFloat(magnitude), bound);
  if (q8) return divide(size, 127);
  return (floatBitsToUint(largest) >> 31) != 0 ? size / 8 : -size / 8;
}

uint quantize(bool q8, vec4 values[8], out uint codes[8]) {
  bool invalid;
  const float d = step_of(q8, values, invalid);
  const uint positive = floatBitsToUint(d) & 0x7fffffffu;
  float inverse = d == 0 ? 0 : divide(1, uintBitsToFloat(positive));
  if (d < 0) inverse = -inverse;
  [[unroll]] for (uint i = 0; i < 8; i++) codes[i] = 0;
  [[unroll]] for (uint i = 0; i < 32; i++) {
    const float value = clamp(values[i / 4][i % 4], -3.4028234e38, 3.4028234e38);
    if (q8) {
      precise const float scaled = value * inverse;
      const float whole = trunc(min(abs(scaled), 127)), size = min(abs(scaled) - whole >= 0.5 ? whole + 1 : whole, 127);
      codes[i / 4] |= (uint(scaled < 0 ? -int(size) : int(size)) & 0xffu) << (i % 4 * 8);
    } else {
      precise const float scaled = value * inverse;
      precise const float moved = scaled + 8.5;
      codes[i / 8] |= ((uint(clamp(moved, 0, 15)) ^ 8u) & 15u) << (i % 8 * 4);
    }
  }
  if (d == 0) [[unroll]] for (uint i = 0; i < 8; i++) codes[i] = 0;
  return invalid ? 0x7e00u : f16_from_f32(d);
}
