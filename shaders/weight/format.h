// How weights lie on the device.
//
// A weight matrix [n outputs, k inputs] as every device and every phase reads it, repacked while it is
// loaded.
//
// Outputs are interleaved in groups of 16 (a lane that reads an output reads beside its neighbour) and inputs
// cut into blocks of 32, both padded with zeros. Each value is kept as its low bits and its high bits:
//   values  uvec4 [n / 16][k / 32][units of a block][16]   the low bits. A unit is consecutive inputs of one
//           output: 4 (f32), 8 (f16, bf16), 16 (q8_0) or 32 (4 bits) of them; uvec2 of 32 for 2 bits
//   scales  u32   [n / 16][k / 32 / record_blocks][record_words][16]   scales, minima and the high bits;
//           words that are read together lie together ([16][2] or [16][4]); nothing for float types
//
// Step j of a block is its inputs 4 j to 4 j + 3, of which input 4 j + c is in byte c of a word: for planes
// of 4 bits in bits 4 (j % 2) of word j / 2, of 2 bits in bits 2 (j % 4) of word j / 4, of 1 bit in bit j of
// the only word. So a shift and a mask make four bytes, for f32 and for integer dot products. Bytes of q8_0
// are as in the file; nibbles of q4_0 are signed (the file's minus 8).
//
//   type      low high  a value is                     record: inputs, words
//   q4_0 q8_0 4/8       d q                            64  d d'
//   iq4_nl    4         d table[q]                     64  d d'
//   q5_0      4   1     d (q - 16)                     64  d d', high of each block
//   q4_1      4         d q + m                        32  d m
//   q5_1      4   1     d q + m                        32  d m with high
//   mxfp4     4         2^(e - 128) (table[q])         128 four exponents
//   q2_k      2         d s q - dmin m, s m per 16     256 d dmin, four of 4 + 4 bits each
//   q3_k      2   1     d (s - 32) (q - 4), s per 16   256 d with 16 numbers of 6 bits, high of each block
//   q4_k      4         d s q - dmin m                 256 d dmin with 8 + 8 numbers of 6 bits
//   q5_k      4   1     d s q - dmin m                 256 the same, high of each block
//   q6_k      4   2     d s (q - 32), s per 16         256 d, four of 4 bytes s, high of each block
//   iq4_xs    4         d (s - 32) table[q]            256 d with 8 numbers of 6 bits
// The products of a scale are exact in f32, so that a decoded value is rounded at most once, as the format's
// definition does.
#ifndef SPINDLE_SHADERS_WEIGHT_FORMAT_H
#define SPINDLE_SHADERS_WEIGHT_FORMAT_H
#define WEIGHT_GROUP 16  // outputs
#define WEIGHT_BLOCK 32  // inputs
// DType's values.
#define WEIGHT_F32 0
#define WEIGHT_F16 1
#define WEIGHT_Q4_0 2
#define WEIGHT_Q8_0 3
#define WEIGHT_BF16 5
#define WEIGHT_Q4_1 6
#define WEIGHT_Q5_0 7
#define WEIGHT_Q5_1 8
#define WEIGHT_Q2_K 9
#define WEIGHT_Q3_K 10
#define WEIGHT_Q4_K 11
#define WEIGHT_Q5_K 12
#define WEIGHT_Q6_K 13
#define WEIGHT_IQ4_NL 14
#define WEIGHT_IQ4_XS 15
#define WEIGHT_MXFP4 16
#ifdef __cplusplus
#include "runtime/dtype.h"

namespace spindle {

// Types of weights, those of files: all but u32.
constexpr DType kWeightTypes[] = {DType::f32,  DType::f16,    DType::bf16,   DType::q8_0,
                                  DType::q4_0, DType::q4_1,   DType::q5_0,   DType::q5_1,
                                  DType::q2_k, DType::q3_k,   DType::q4_k,   DType::q5_k,
                                  DType::q6_k, DType::iq4_nl, DType::iq4_xs, DType::mxfp4};

// How a type lies on the device; shaders/weight/weight.glsl says the same.
struct WeightFormat {
  uint32_t low_bits;           // of a value, in the values; the others are in the record
  uint32_t record_blocks = 1;  // that a record of scales is for
  uint32_t record_words = 0;   // 0: no scales
  uint32_t head_words = 0;     // of them lie in words of head_width, the others in words of tail_width
  uint32_t head_width = 1, tail_width = 1;
};
constexpr WeightFormat weight_format(DType type) {
  switch (type) {
    case DType::f32:
      return {32};
    case DType::f16:
    case DType::bf16:
      return {16};
    case DType::q8_0:
      return {8, 2, 1, 1};
    case DType::q4_0:
    case DType::iq4_nl:
      return {4, 2, 1, 1};
    case DType::q5_0:
      return {4, 2, 3, 1};
    case DType::q4_1:
      return {4, 1, 1, 1};
    case DType::q5_1:
      return {4, 1, 2, 2, 2};
    case DType::mxfp4:
      return {4, 4, 1, 1};
    case DType::q2_k:
      return {2, 8, 5, 1};
    case DType::q3_k:
      return {2, 8, 12, 4, 4};
    case DType::q4_k:
      return {4, 8, 4, 4, 4};
    case DType::q5_k:
      return {4, 8, 12, 4, 4};
    case DType::q6_k:
      return {4, 8, 21, 5, 1, 2};
    case DType::iq4_xs:
      return {4, 8, 2, 2, 2};
    case DType::u32:
      break;
  }
  return {0};
}
constexpr bool has_scales(DType type) { return weight_format(type).record_words > 0; }

}  // namespace spindle
#endif
#endif
