// RoPE: rotates pairs of elements of every head by position times frequency. Su et al., arXiv 2104.09864.
#ifndef SPINDLE_SHADERS_ROPE_H
#define SPINDLE_SHADERS_ROPE_H
#include "shaders/common/glsl.h"
#define ROPE_STEP 64u
#ifdef __cplusplus
#include <span>

#include "shaders/common/op.h"
namespace spindle {
#endif

struct RopeParameters {
  uint n_rows, n_heads, head_dim;
  uint first_row;                    // of y
  uint n_pairs;                      // rotated pairs of a head
  uint n_lanes;                      // pairs of a head that are written
  uint half_split;                   // pair t is (t, t + n_pairs), else (2t, 2t + 1)
  uint modulo, divide, offset, cap;  // RopeForm
  float base, slope;                 // RopeTemperature
  uint log_offset, log_width, log_cap;
};

#ifdef __cplusplus
enum class RopeLayout { interleaved, half_split };

struct RopeShape {
  uint32_t n_heads = 0, head_dim = 0;
  uint32_t n_rot = 0;  // the first n_rot elements of a head are rotated, the others stay
  RopeLayout layout = RopeLayout::interleaved;
};

// The position whose angle a row gets: min(position % modulo / divide + offset, cap); modulo 0: none.
struct RopeForm {
  uint32_t modulo = 0, divide = 1, offset = 0, cap = UINT32_MAX;
};

// Multiplies every element of a row, rotated or not, by max(1, base + slope ln(1 + (min(position, cap) +
// offset) / width)), the quotient a whole number: attention's temperature by position, folded into q. Log-n
// scaling: Su, blog 8823; Llama 4.
struct RopeTemperature {
  float base = 1, slope = 0;  // slope 0: none
  uint32_t offset = 0, width = 1, cap = UINT32_MAX;
};

// y: f32 [first_row + rows, n_heads * head_dim], from first_row on; x: f32 [rows, n_heads * head_dim], y may
// be x; rows: u32 [rows, 4]; table: f32 [.., n_rot] of make_rope_table, for the largest position that the
// form gives. Rows not in use are left alone.
void rope(Stream& stream, Tensor y, Tensor x, Tensor rows, Tensor table, const RopeShape& shape,
          const RopeForm& form = {}, const RopeTemperature& temperature = {}, uint32_t first_row = 0);
inline void rope(Stream& stream, Tensor x, Tensor rows, Tensor table, const RopeShape& shape) {
  rope(stream, x, x, rows, table, shape);
}
std::vector<KernelSpec> rope_kernels(const Caps& caps);

// No shader computes a sine: a position has three digits of base kRopeStep, the highest without bound, and
// the table holds (cos, sin) of every pair for each value of the lowest, of the next, and of the highest one;
// the kernel adds the angles.
constexpr uint32_t kRopeStep = ROPE_STEP;
inline uint32_t rope_table_rows(uint32_t max_position) {
  return 2 * kRopeStep + max_position / (kRopeStep * kRopeStep) + 1;
}
// Row-major [rope_table_rows(max_position), 2 * inv_freq.size()]; magnitude (YaRN's attention factor) scales
// both cos and sin. max_position is the largest position that will be asked for. The angle of pair t at
// position p is (p * scale + phase) * inv_freq[t].
std::vector<float> make_rope_table(std::span<const double> inv_freq, double magnitude, uint32_t max_position,
                                   double scale = 1, double phase = 0);

namespace reference {
// In place; positions may be fractions.
void rope(std::span<double> x, std::span<const double> positions, std::span<const double> inv_freq,
          double magnitude, const RopeShape& shape);
void rope(std::span<double> x, std::span<const uint32_t> positions, std::span<const double> inv_freq,
          double magnitude, const RopeShape& shape);
double rope_position(const RopeForm& form, uint32_t position);
double rope_temperature(const RopeTemperature& temperature, uint32_t position);
}  // namespace reference
}  // namespace spindle
#endif
#endif
