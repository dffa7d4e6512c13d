// Rows of f32 as 8-bit integers with a scale for each block of 32, for products by integer arithmetic.
#ifndef SPINDLE_SHADERS_QUANTIZE_ROWS_H
#define SPINDLE_SHADERS_QUANTIZE_ROWS_H
#include "shaders/common/glsl.h"
#define QUANTIZED_BLOCK 32
#define QUANTIZED_LARGEST 127
// A row of k inputs: k / 4 words of four signed bytes, then for each block its scale (f32) and the sum of its
// integers, then words that nobody reads, up to the alignment of tensors: any row may begin a binding.
#define QUANTIZED_WORDS(k) (((k) / QUANTIZED_BLOCK * 10 + 63) / 64 * 64)
#ifdef __cplusplus
#include <span>

namespace spindle::reference {
// Of each block: scale = largest * f32(1 / 127), integer = x * inverse rounded to nearest even, with 127 /
// largest truncated to f32 as the inverse. Nothing but integers and single products, so the same bits on
// every device. Blocks whose largest is below 2^-100 are zeros; what is not finite makes the scale so. q: as
// many as x; scales: one a block.
void quantize_rows(std::span<int8_t> q, std::span<float> scales, std::span<const float> x);
}  // namespace spindle::reference
#endif
#endif
