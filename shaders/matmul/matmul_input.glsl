// Writes rows as products read them: in f32, quantised (quantize_rows.h) or as halves (half_rows.h), or in f32 and one of
// the others. Needs LANES, p.cols, the elements of a row, and binds 0 and 1.
#extension GL_EXT_control_flow_attributes : require
#include "shaders/common/f16.glsl"
#include "shaders/common/half_scale.glsl"
#include "shaders/matmul/half_rows.h"
#include "shaders/matmul/matmul_input.h"
#include "shaders/matmul/quantize_rows.h"

layout(constant_id = 1) const bool WIDE = true;  // cols is a multiple of 4
layout(constant_id = 2) const bool F32 = true;
layout(constant_id = 3) const uint PACKING = PACKING_NONE;

layout(binding = 0) writeonly buffer Y { float y[]; };
layout(binding = 0) writeonly buffer Y4 { vec4 y4[]; };
layout(binding = 1) writeonly buffer Packed { uint packed[]; };
layout(binding = 1) writeonly buffer Packed2 { uvec2 packed2[]; };
layout(binding = 1) writeonly buffer Packed4 { uvec4 packed4[]; };

// Elements 4 i to 4 i + 3 of a row, what lies beyond its end being 0, of a buffer declared in both widths.
#define ELEMENT(x, row, at) ((at) < p.cols ? x[(row) * p.cols + (at)] : 0)
#define FOUR(x4, x, row, i)                      \
  (WIDE ? x4[(row) * (p.cols / 4) + (i)]         \
        : vec4(ELEMENT(x, row, (i) * 4), ELEMENT(x, row, (i) * 4 + 1), ELEMENT(x, row, (i) * 4 + 2), \
               ELEMENT(x, row, (i) * 4 + 3)))

// What is written, for the kernel to define; asked twice where rows become halves.
vec4 value(uint row, uint i);

const uint SMALLEST = (127u - 100u) << 23;  // 2^-100

void write_f32(uint row, uint i, vec4 x) {
  if (WIDE) y4[row * (p.cols / 4) + i] = x;
  else [[unroll]] for (uint c = 0; c < 4; c++) if (i * 4 + c < p.cols) y[row * p.cols + i * 4 + c] = x[c];
}

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

void write_quantized(uint row, uint block) {
  vec4 x[8];
  uvec4 most = uvec4(0);
  for (uint i = 0; i < 8; i++) {
    x[i] = value(row, block * 8 + i);
    if (F32) write_f32(row, block * 8 + i, x[i]);
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
  const uint blocks = p.cols / QUANTIZED_BLOCK, row_at = row * QUANTIZED_WORDS(p.cols);
  packed4[row_at / 4 + block * 2] = uvec4(words[0], words[1], words[2], words[3]);
  packed4[row_at / 4 + block * 2 + 1] = uvec4(words[4], words[5], words[6], words[7]);
  const float scale = uintBitsToFloat(largest) * (1.0 / QUANTIZED_LARGEST);
  packed2[row_at / 2 + blocks * 4 + block] = uvec2(floatBitsToUint(scale), sums.x + sums.y + sums.z + sums.w);
}

// ... and zeros beyond the end.
vec4 value_or_0(uint row, uint i) {
  vec4 x = i * 4 < p.cols ? value(row, i) : vec4(0);
  if (!WIDE) [[unroll]] for (uint c = 0; c < 4; c++) if (i * 4 + c >= p.cols) x[c] = 0;
  return x;
}

shared uint row_largest;

void write_halves(uint row) {
  const uint lane = gl_LocalInvocationIndex;
  if (lane == 0) row_largest = 0;
  barrier();
  uvec4 own = uvec4(0);
  for (uint i = lane; i * 4 < p.cols; i += LANES) own = max(own, floatBitsToUint(value_or_0(row, i)) & 0x7fffffffu);
  atomicMax(row_largest, max(max(own.x, own.y), max(own.z, own.w)));
  barrier();
  const uint largest = row_largest;
  const float factor = half_factor(largest);

  const uint row_at = row * HALF_WORDS(p.cols);
  for (uint unit = lane; unit < HALF_SCALE_AT(p.cols) / 4; unit += LANES) {
    const vec4 x0 = value_or_0(row, unit * 2), x1 = value_or_0(row, unit * 2 + 1), a = x0 * factor, b = x1 * factor;
    if (F32 && unit * 8 < p.cols) write_f32(row, unit * 2, x0);
    if (F32 && unit * 8 + 4 < p.cols) write_f32(row, unit * 2 + 1, x1);
    packed4[row_at / 4 + unit] = uvec4(pack_f16(a.x, a.y), pack_f16(a.z, a.w), pack_f16(b.x, b.y), pack_f16(b.z, b.w));
  }
  if (lane == 0)
    packed[row_at + HALF_SCALE_AT(p.cols)] = half_scale(largest);
}

// Pieces of a row that lanes write one of at a time, but for halves.
uint n_pieces() { return PACKING == PACKING_QUANTIZED ? p.cols / QUANTIZED_BLOCK : (p.cols + 3) / 4; }

void write_piece(uint row, uint piece) {
  if (PACKING == PACKING_QUANTIZED) write_quantized(row, piece);
  else write_f32(row, piece, value(row, piece));
}

// A row by its workgroup.
void write_row(uint row) {
  if (PACKING == PACKING_HALVES) write_halves(row);
  else for (uint piece = gl_LocalInvocationIndex; piece < n_pieces(); piece += LANES) write_piece(row, piece);
}

// All rows by RowOutput::element_groups() workgroups.
void write_rows(uint n_rows) {
  const uint index = gl_WorkGroupID.x * LANES + gl_LocalInvocationIndex;
  if (PACKING == PACKING_HALVES) write_halves(gl_WorkGroupID.x);
  else if (index / n_pieces() < n_rows) write_piece(index / n_pieces(), index % n_pieces());
}
