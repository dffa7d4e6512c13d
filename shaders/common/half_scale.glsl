// Scales of rows that are rounded to f16: a power of two brings the largest input to 2^14 .. 2^15. `largest`: the
// bits of its absolute value, the most of the row's as integers. Rows below 2^-100 are zeros; what is not finite
// makes the scale so.
const uint HALF_SMALLEST = (127u - 100u) << 23, HALF_INFINITE = 255u << 23;
const uint HALF_TOP = 14;  // of the largest, as a power of two

float half_factor(uint largest) {
  return largest < HALF_SMALLEST ? 0 : uintBitsToFloat((127 + 127 + HALF_TOP - (largest >> 23)) << 23);
}
uint half_scale(uint largest) {
  return largest >= HALF_INFINITE ? largest : largest < HALF_SMALLEST ? 0 : ((largest >> 23) - HALF_TOP) << 23;
}
