// Reads a part of a Weight, see weight.h. Needs WEIGHT_TYPE, WEIGHT_BINDING and SCALES_BINDING.
#include "shaders/common/words.glsl"
#include "shaders/weight/weight.h"

#define WEIGHT_IS(type) (WEIGHT_TYPE == WEIGHT_##type)
const bool WEIGHT_SCALED = !(WEIGHT_IS(F32) || WEIGHT_IS(F16) || WEIGHT_IS(BF16));
const bool WEIGHT_PAIRS = WEIGHT_IS(Q4_0) || WEIGHT_IS(Q8_0) || WEIGHT_IS(IQ4_NL) || WEIGHT_IS(Q5_0);  // of scales, a word
const bool WEIGHT_SIX = WEIGHT_IS(Q3_K) || WEIGHT_IS(Q4_K) || WEIGHT_IS(Q5_K);  // two numbers of 6 bits a block
const bool WEIGHT_HALVES = WEIGHT_IS(Q2_K) || WEIGHT_IS(Q3_K) || WEIGHT_IS(Q6_K);  // a scale for each half of a block
const bool WEIGHT_MINIMUM = WEIGHT_IS(Q4_1) || WEIGHT_IS(Q5_1) || WEIGHT_IS(Q2_K) || WEIGHT_IS(Q4_K) || WEIGHT_IS(Q5_K);
const bool WEIGHT_TABLE = WEIGHT_IS(IQ4_NL) || WEIGHT_IS(IQ4_XS);

const uint LOW_BITS = WEIGHT_IS(F32) ? 32 : WEIGHT_IS(F16) || WEIGHT_IS(BF16) ? 16 : WEIGHT_IS(Q8_0) ? 8 : WEIGHT_IS(Q2_K) || WEIGHT_IS(Q3_K) ? 2 : 4;
const uint HIGH_BITS = WEIGHT_IS(Q5_0) || WEIGHT_IS(Q5_1) || WEIGHT_IS(Q5_K) || WEIGHT_IS(Q3_K) ? 1 : WEIGHT_IS(Q6_K) ? 2 : 0;
const uint UNIT_INPUTS = LOW_BITS < 4 ? 32 : 128 / LOW_BITS;
const uint BLOCK_UNITS = WEIGHT_BLOCK / UNIT_INPUTS;
const uint RECORD_BLOCKS = WEIGHT_PAIRS ? 2 : WEIGHT_IS(MXFP4) ? 4 : WEIGHT_IS(Q4_1) || WEIGHT_IS(Q5_1) ? 1 : 8;
const uint RECORD_WORDS = WEIGHT_IS(Q5_0) ? 3 : WEIGHT_PAIRS || WEIGHT_IS(MXFP4) || WEIGHT_IS(Q4_1) ? 1
                        : WEIGHT_IS(Q5_1) || WEIGHT_IS(IQ4_XS) ? 2 : WEIGHT_IS(Q4_K) ? 4 : WEIGHT_IS(Q2_K) ? 5 : WEIGHT_IS(Q6_K) ? 21 : 12;

layout(binding = WEIGHT_BINDING) readonly buffer WeightValues { WORDS4 weight_values[]; };
layout(binding = WEIGHT_BINDING) readonly buffer WeightValueWords { uint weight_value_words[]; };
layout(binding = WEIGHT_BINDING) readonly buffer WeightValues2 { WORDS2 weight_values2[]; };
layout(binding = SCALES_BINDING) readonly buffer WeightScales { uint weight_words[]; };
layout(binding = SCALES_BINDING) readonly buffer WeightScales2 { WORDS2 weight_words2[]; };
layout(binding = SCALES_BINDING) readonly buffer WeightScales4 { WORDS4 weight_words4[]; };

// Unit 0 of an output; unit i lies i * WEIGHT_GROUP further.
uint weight_at(uint part_output, uint n_blocks) {
  return part_output / WEIGHT_GROUP * (n_blocks * BLOCK_UNITS * WEIGHT_GROUP) + part_output % WEIGHT_GROUP;
}
uvec4 weight_unit(uint at) { return LOW_BITS == 2 ? uvec4(words2(weight_values2[at]), 0, 0) : words4(weight_values[at]); }

// Record 0 of an output, in words; weight_scales() finds the others.
uint scale_at(uint part_output, uint n_blocks) {
  return part_output / WEIGHT_GROUP * ((n_blocks + RECORD_BLOCKS - 1) / RECORD_BLOCKS * RECORD_WORDS * WEIGHT_GROUP) + part_output % WEIGHT_GROUP;
}

// A value is decoded * scale + minimum; x is of the first half of the block or of all of it, y of the second half.
struct WeightFactors {
  vec2 scale, minimum;
  uvec2 high;  // the bits of the values that units lack
};
WeightFactors weight_scales(uint first, uint block) {
  WeightFactors s = WeightFactors(vec2(1), vec2(0), uvec2(0));
  if (!WEIGHT_SCALED) return s;
  const uint at = first + block / RECORD_BLOCKS * (RECORD_WORDS * WEIGHT_GROUP), b = block % RECORD_BLOCKS;
  const uint base = at & ~(WEIGHT_GROUP - 1), lane = at & (WEIGHT_GROUP - 1);
#define RECORD_WORD(i) weight_words[at + (i) * WEIGHT_GROUP]
#define RECORD_WORDS2(i) words2(weight_words2[(base + (i) * WEIGHT_GROUP) / 2 + lane])
  if (WEIGHT_PAIRS) {
    const vec2 pair = unpackHalf2x16(RECORD_WORD(0));
    s.scale.x = b == 0 ? pair.x : pair.y;
    if (HIGH_BITS == 1) s.high.x = RECORD_WORD(1 + b);
  } else if (WEIGHT_IS(MXFP4)) {
    const uint e = RECORD_WORD(0) >> b * 8 & 255;
    s.scale.x = uintBitsToFloat(e < 2 ? 0x200000u << e : e - 1 << 23);
  } else if (WEIGHT_IS(Q4_1) || WEIGHT_IS(Q5_1)) {
    const uvec2 words = WEIGHT_IS(Q4_1) ? uvec2(RECORD_WORD(0), 0) : RECORD_WORDS2(0);
    const vec2 d = unpackHalf2x16(words.x);
    s = WeightFactors(d.xx, d.yy, uvec2(words.y, 0));
  } else if (WEIGHT_IS(IQ4_XS)) {
    const uvec2 words = RECORD_WORDS2(0);
    const uint number = (words.y >> b * 4 & 15) | (words.x >> b * 2 + 16 & 3) << 4;
    s.scale.x = unpackHalf2x16(words.x).x * (float(number) - 32);
  } else if (WEIGHT_SIX) {
    const uvec4 words = words4(weight_words4[base / 4 + lane]);
    const vec2 d = unpackHalf2x16(words.x);
    const uint low = (b < 4 ? words.y : words.z) >> b % 4 * 8, high = words.w >> b * 4;
    const vec2 numbers = vec2((low & 15) | (high & 3) << 4, (low >> 4 & 15) | (high & 12) << 2);
    if (WEIGHT_HALVES) {
      s.scale = d.x * (numbers - 32);
    } else {
      s.scale.x = d.x * numbers.x;
      s.minimum.x = -(d.y * numbers.y);
    }
    if (HIGH_BITS == 1) s.high.x = RECORD_WORD(4 + b);
  } else {  // q2_k, q6_k
    const vec2 d = unpackHalf2x16(RECORD_WORD(0));
    const uint bytes = RECORD_WORD(1 + b / 2) >> b % 2 * 16;
    if (WEIGHT_MINIMUM) {
      s.scale = d.x * vec2(bytes & 15, bytes >> 8 & 15);
      s.minimum = -(d.y * vec2(bytes >> 4 & 15, bytes >> 12 & 15));
    } else {
      s.scale = d.x * vec2(ivec2(uvec2(bytes) << uvec2(24, 16)) >> 24);
      s.high = RECORD_WORDS2(5 + b * 2);
    }
  }
  return s;
}

// Doubled e2m1 numbers and 12, four in a word, of four bytes of 0 to 15.
uint mxfp4_bytes(uint bytes) {
  const uint large = (bytes >> 2 & 0x01010101u) * 3;  // 4 to 7 stand for 4, 6, 8, 12
  const uint most = bytes & bytes >> 1 & bytes >> 2 & 0x01010101u;
  const uint magnitude = (bytes & 0x07070707u) + (bytes & large) + most * 2;
  return 0x0c0c0c0cu + magnitude - (magnitude & (bytes >> 3 & 0x01010101u) * 255) * 2;
}

// Inputs 4 step to 4 step + 3 of a block as bytes, for types of up to 6 bits: of a unit its step unit_step.
uint weight_bytes(uvec4 unit, uint unit_step, uvec2 high, uint step) {
  uint bytes = LOW_BITS == 2 ? (step < 4 ? unit.x : unit.y) >> step % 4 * 2 & 0x03030303u : unit[unit_step / 2] >> unit_step % 2 * 4 & 0x0f0f0f0fu;
  if (HIGH_BITS == 1) bytes |= (high.x >> step & 0x01010101u) << LOW_BITS;
  if (HIGH_BITS == 2) bytes |= ((step < 4 ? high.x : high.y) >> step % 4 * 2 & 0x03030303u) << LOW_BITS;
  return WEIGHT_IS(MXFP4) ? mxfp4_bytes(bytes) : bytes;
}

// What bytes exceed values by.
const int WEIGHT_BIAS = WEIGHT_IS(Q8_0) ? 128 : WEIGHT_IS(Q6_K) ? 32 : WEIGHT_IS(Q5_0) ? 16 : WEIGHT_IS(MXFP4) ? 12 : WEIGHT_IS(Q4_0) ? 8 : WEIGHT_IS(Q3_K) ? 4 : 0;

// iq4_nl's table: a polynomial within 0.45 of its integers, rounded by adding 1.5 2^23.
vec4 weight_table(vec4 q) {
  const vec4 slope = fma(fma(fma(vec4(0.001448), q, vec4(0.036273)), q, vec4(-1.4386)), q, vec4(24.501));
  precise const vec4 rounded = fma(slope, q, vec4(12582912.0 - 127.0));
  precise const vec4 value = rounded - vec4(12582912.0);
  return value;
}

// Inputs 4 unit_step to 4 unit_step + 3 of a unit, which are step `step` of the block, before scale and minimum.
vec4 weight_decode(uvec4 unit, uint unit_step, uvec2 high, uint step) {
  if (WEIGHT_IS(F32)) return uintBitsToFloat(unit);
  if (WEIGHT_IS(F16) || WEIGHT_IS(BF16)) {
    const uvec2 words = unit_step == 0 ? unit.xy : unit.zw;
    if (WEIGHT_IS(F16)) return vec4(unpackHalf2x16(words.x), unpackHalf2x16(words.y));
    return uintBitsToFloat(uvec4(words.x << 16, words.x & 0xffff0000u, words.y << 16, words.y & 0xffff0000u));
  }
  if (WEIGHT_IS(Q8_0)) return vec4(ivec4(uvec4(unit[unit_step]) << uvec4(24, 16, 8, 0)) >> 24);
  if (WEIGHT_IS(Q4_0))
    return vec4(ivec4(uvec4(unit[unit_step / 2]) << (unit_step % 2 == 0 ? uvec4(28, 20, 12, 4) : uvec4(24, 16, 8, 0))) >> 28);
  const vec4 q = vec4(uvec4(weight_bytes(unit, unit_step, high, step)) >> uvec4(0, 8, 16, 24) & 255u);
  if (WEIGHT_TABLE) return weight_table(q);
  return WEIGHT_BIAS == 0 ? q : q - WEIGHT_BIAS;
}

// For integer dot products: inputs 16 half_ to 16 half_ + 15 of a block as bytes, input 4 i + j in byte j of word i.
// weight_unsigned: the values plus WEIGHT_BIAS. weight_signed: q8_0 as it is, q4_0 times 16, the others (whose bytes are
// below 128) as weight_unsigned.
const float SIGNED_SCALE = WEIGHT_IS(Q4_0) ? 0.0625 : 1;
const int SIGNED_BIAS = WEIGHT_IS(Q4_0) || WEIGHT_IS(Q8_0) ? 0 : WEIGHT_BIAS;
uvec4 weight_unsigned(uvec4 unit, uvec2 high, uint half_) {
  if (WEIGHT_IS(Q8_0)) return unit ^ 0x80808080u;
  if (WEIGHT_IS(Q4_0)) {
    const uvec2 words = (half_ == 0 ? unit.xy : unit.zw) ^ 0x88888888u;
    return uvec4(words.x, words.x >> 4, words.y, words.y >> 4) & 0x0f0f0f0fu;
  }
  if (LOW_BITS == 4 && half_ != 0) unit.xy = unit.zw;
  uvec4 bytes;
  [[unroll]] for (uint i = 0; i < 4; i++) bytes[i] = weight_bytes(unit, i, high, half_ * 4 + i);
  return bytes;
}
uvec4 weight_signed(uvec4 unit, uvec2 high, uint half_) {
  if (WEIGHT_IS(Q8_0)) return unit;
  if (!WEIGHT_IS(Q4_0)) return weight_unsigned(unit, high, half_);
  const uvec2 words = half_ == 0 ? unit.xy : unit.zw;
  return uvec4(words.x << 4, words.x, words.y << 4, words.y) & 0xf0f0f0f0u;
}
