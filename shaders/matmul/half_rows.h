// Rows of f32 as f16 with a scale for each row, for products by cooperative matrices.
#ifndef SPINDLE_SHADERS_HALF_ROWS_H
#define SPINDLE_SHADERS_HALF_ROWS_H
#include "shaders/common/glsl.h"
#include "shaders/weight/format.h"
// A row of k inputs: its halves, zeros up to whole blocks of weights, then its scale (f32), then words that
// nobody reads, up to the alignment of tensors: any row may begin a binding.
#define HALF_SCALE_AT(k) (((k) + WEIGHT_BLOCK - 1) / WEIGHT_BLOCK * (WEIGHT_BLOCK / 2))
#define HALF_WORDS(k) (HALF_SCALE_AT(k) / 64 * 64 + 64)
#ifdef __cplusplus
#include <span>

namespace spindle::reference {
// Of each row: scale = the power of two that brings its largest input to 2^14 .. 2^15, half = input / scale
// rounded to nearest even. Nothing overflows, and what is below 2^-28 of the largest loses bits. Rows whose
// largest is below 2^-100 are zeros; what is not finite makes the scale so. halves: as many as x, as the
// values that they stand for, before the scale; scales: one a row.
void half_rows(std::span<float> halves, std::span<float> scales, std::span<const float> x);
float round_to_f16(float value);  // to nearest even; what is too large becomes infinite
}  // namespace spindle::reference
#endif
#endif
