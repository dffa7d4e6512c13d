// Reads a part of a Weight, see weight.h. Needs WEIGHT_TYPE, WEIGHT_BINDING and SCALES_BINDING.
#include "shaders/weight/weight.h"

#define WEIGHT_F32 0
#define WEIGHT_F16 1
#define WEIGHT_Q4_0 2
#define WEIGHT_Q8_0 3

const bool WEIGHT_SCALED = WEIGHT_TYPE == WEIGHT_Q4_0 || WEIGHT_TYPE == WEIGHT_Q8_0;
const uint UNIT_INPUTS = WEIGHT_TYPE == WEIGHT_F32 ? 4 : WEIGHT_TYPE == WEIGHT_F16 ? 8 : WEIGHT_TYPE == WEIGHT_Q8_0 ? 16 : 32;
const uint BLOCK_UNITS = WEIGHT_BLOCK / UNIT_INPUTS;

layout(binding = WEIGHT_BINDING) readonly buffer WeightValues { uvec4 weight_values[]; };
layout(binding = SCALES_BINDING) readonly buffer WeightScales { uint weight_scales[]; };

// Unit 0 of an output; unit i lies i * WEIGHT_GROUP further.
uint weight_at(uint part_output, uint n_blocks) {
  return part_output / WEIGHT_GROUP * (n_blocks * BLOCK_UNITS * WEIGHT_GROUP) + part_output % WEIGHT_GROUP;
}

// The scale of block 0 of an output; that of block i lies i / 2 * WEIGHT_GROUP further.
uint scale_at(uint part_output, uint n_blocks) {
  return part_output / WEIGHT_GROUP * ((n_blocks + 1) / 2 * WEIGHT_GROUP) + part_output % WEIGHT_GROUP;
}

// What the values of a block are multiplied with.
float weight_scale(uint first, uint block) {
  if (!WEIGHT_SCALED) return 1;
  const vec2 pair = unpackHalf2x16(weight_scales[first + block / 2 * WEIGHT_GROUP]);
  return block % 2 == 0 ? pair.x : pair.y;
}

// Inputs 4 step to 4 step + 3 of a unit, before the scale.
vec4 weight_decode(uvec4 unit, uint step) {
  if (WEIGHT_TYPE == WEIGHT_F32) return uintBitsToFloat(unit);
  if (WEIGHT_TYPE == WEIGHT_F16) {
    const uvec2 halves = step == 0 ? unit.xy : unit.zw;
    return vec4(unpackHalf2x16(halves.x), unpackHalf2x16(halves.y));
  }
  if (WEIGHT_TYPE == WEIGHT_Q8_0) return vec4(ivec4(uvec4(unit[step]) << uvec4(24, 16, 8, 0)) >> 24);
  return vec4(ivec4(uvec4(unit[step / 2]) << (step % 2 == 0 ? uvec4(28, 20, 12, 4) : uvec4(24, 16, 8, 0))) >> 28);
}

// Inputs 16 half_ to 16 half_ + 15 of a block of q8_0 (its unit half_) or q4_0 (its one unit) as bytes, input 4 i + j in
// byte j of word i: signed, those of q4_0 times 16, or unsigned, the values plus WEIGHT_BIAS.
const int WEIGHT_BIAS = WEIGHT_TYPE == WEIGHT_Q4_0 ? 8 : 128;
const float SIGNED_SCALE = WEIGHT_TYPE == WEIGHT_Q4_0 ? 0.0625 : 1;
uvec4 weight_signed(uvec4 unit, uint half_) {
  if (WEIGHT_TYPE == WEIGHT_Q8_0) return unit;
  const uvec2 words = half_ == 0 ? unit.xy : unit.zw;
  return uvec4(words.x << 4, words.x, words.y << 4, words.y) & 0xf0f0f0f0u;
}
uvec4 weight_unsigned(uvec4 unit, uint half_) {
  if (WEIGHT_TYPE == WEIGHT_Q8_0) return unit ^ 0x80808080u;
  const uvec2 words = (half_ == 0 ? unit.xy : unit.zw) ^ 0x88888888u;
  return uvec4(words.x, words.x >> 4, words.y, words.y >> 4) & 0x0f0f0f0fu;
}
