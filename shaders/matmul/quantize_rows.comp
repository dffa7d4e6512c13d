// Quantises rows, a block of 32 inputs an invocation.
#version 450
#include "shaders/matmul/quantize_rows.h"

layout(constant_id = 0) const uint LANES = 64;
layout(local_size_x = 64, local_size_x_id = 0) in;

layout(binding = 0) writeonly buffer Q2 { uvec2 q2[]; };
layout(binding = 0) writeonly buffer Q4 { uvec4 q4[]; };
layout(binding = 1) readonly buffer X4 { vec4 x4[]; };
layout(push_constant) uniform Push { QuantizeRows p; };

const uint SMALLEST = (127u - 100u) << 23;  // 2^-100

// 127 / value truncated to f32, of the bits of a value from 2^-100.
float inverse_of(uint bits) {
  const uint mantissa = (bits & 0x7fffffu) | 0x800000u;
  uint quotient = 0, rest = uint(QUANTIZED_LARGEST) << 16;  // 127 2^40 / mantissa has 23 or 24 bits
  for (uint i = 0; i < 3; i++) {
    rest <<= 8;
    quotient = quotient << 8 | rest / mantissa;
    rest %= mantissa;
  }
  return uintBitsToFloat(floatBitsToUint(float(quotient)) + (110u - (bits >> 23) << 23));
}

void main() {
  const uint block = gl_WorkGroupID.x * LANES + gl_LocalInvocationIndex;
  if (block >= p.blocks) return;
  vec4 x[8];
  uvec4 most = uvec4(0);
  for (uint i = 0; i < 8; i++) {
    x[i] = x4[block * 8 + i];
    most = max(most, floatBitsToUint(x[i]) & 0x7fffffffu);
  }
  uint largest = max(max(most.x, most.y), max(most.z, most.w));
  if (largest < SMALLEST) largest = 0;
  const float inverse = largest == 0 ? 0 : inverse_of(largest);

  uint words[8];
  ivec4 sums = ivec4(0);
  for (uint i = 0; i < 8; i++) {
    const ivec4 v = ivec4(roundEven(x[i] * inverse));
    sums += v;
    const uvec4 bytes = (uvec4(v) & 0xffu) << uvec4(0, 8, 16, 24);
    words[i] = bytes.x | bytes.y | bytes.z | bytes.w;
  }
  const uint in_row = block % p.row_blocks, row_at = block / p.row_blocks * QUANTIZED_WORDS(p.row_blocks * QUANTIZED_BLOCK);
  q4[row_at / 4 + in_row * 2] = uvec4(words[0], words[1], words[2], words[3]);
  q4[row_at / 4 + in_row * 2 + 1] = uvec4(words[4], words[5], words[6], words[7]);
  const float scale = uintBitsToFloat(largest) * (1.0 / QUANTIZED_LARGEST);
  q2[row_at / 2 + p.row_blocks * 4 + in_row] = uvec2(floatBitsToUint(scale), sums.x + sums.y + sums.z + sums.w);
}
