// f32 <-> f16 without any 16-bit capability. Decoding is exact everywhere (unpackHalf2x16); encoding is done in
// integers, because packHalf2x16 may round either way: to nearest even, clamped to +-65504, NaN stays NaN.
uint f16_from_f32(float value) {
  const uint bits = floatBitsToUint(value), sign = (bits >> 16) & 0x8000u, magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return sign | 0x7e00u;
  if (magnitude >= 0x477ff000u) return sign | 0x7bffu;  // would round past 65504
  if (magnitude < 0x38800000u) {                        // subnormal: units of 2^-24
    if (magnitude <= 0x33000000u) return sign;          // at most half a unit
    const uint shift = 126u - (magnitude >> 23), mantissa = (magnitude & 0x7fffffu) | 0x800000u;
    return sign | ((mantissa + (1u << (shift - 1)) - 1u + ((mantissa >> shift) & 1u)) >> shift);
  }
  return sign | ((magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u)) >> 13);
}

uint pack_f16(float low, float high) { return f16_from_f32(low) | (f16_from_f32(high) << 16); }
vec2 unpack_f16(uint word) { return unpackHalf2x16(word); }
