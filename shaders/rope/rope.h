// RoPE: rotates pairs of elements of every head by position times frequency. Su et al., arXiv 2104.09864.
#ifndef SPINDLE_SHADERS_ROPE_H
#define SPINDLE_SHADERS_ROPE_H
#include "shaders/common/glsl.h"
#define ROPE_STEP 256
#ifdef __cplusplus
#include <span>

#include "shaders/common/op.h"
namespace spindle {
#endif

struct RopeParameters {
  uint n_rows, n_heads, head_dim;
  uint n_pairs;     // rotated pairs of a head
  uint half_split;  // pair t is (t, t + n_pairs), else (2t, 2t + 1)
};

#ifdef __cplusplus
enum class RopeLayout { interleaved, half_split };

struct RopeShape {
  uint32_t n_heads = 0, head_dim = 0;
  uint32_t n_rot = 0;  // the first n_rot elements of a head are rotated, the others stay
  RopeLayout layout = RopeLayout::interleaved;
};

// x: f32 [rows, n_heads * head_dim], in place; rows: u32 [rows, 4]; table: f32 [.., n_rot] of
// make_rope_table.
void rope(Stream& stream, Tensor x, Tensor rows, Tensor table, const RopeShape& shape);
std::vector<KernelSpec> rope_kernels(const Caps& caps);

// No shader computes a sine: a position is hi * kRopeStep + lo, and the table holds (cos, sin) of every pair
// for lo = 0 .. kRopeStep - 1, then for hi = 0 .. max_position / kRopeStep; the kernel adds the two angles.
constexpr uint32_t kRopeStep = ROPE_STEP;
inline uint32_t rope_table_rows(uint32_t max_position) { return kRopeStep + max_position / kRopeStep + 1; }
// Row-major [rope_table_rows(max_position), 2 * inv_freq.size()]; magnitude (YaRN's attention factor) scales
// both cos and sin. max_position is the largest position that will be asked for.
std::vector<float> make_rope_table(std::span<const double> inv_freq, double magnitude, uint32_t max_position);

namespace reference {
void rope(std::span<double> x, std::span<const uint32_t> positions, std::span<const double> inv_freq,
          double magnitude, const RopeShape& shape);
}
}  // namespace spindle
#endif
#endif
