// RoPE: table, dispatch and reference.
#include "shaders/rope/rope.h"

#include <cassert>
#include <cmath>

#include "shaders/common/rows.h"

namespace spindle {
namespace {

constexpr uint32_t kCode[] =
#include "shaders/rope/rope.comp.inc"
    ;
constexpr Program kProgram{"rope", kCode};

KernelSpec kernel(const Caps& caps) { return {&kProgram, {caps.software ? caps.subgroup_size : 64}}; }

}  // namespace

std::vector<float> make_rope_table(std::span<const double> inv_freq, double magnitude,
                                   uint32_t max_position) {
  const uint32_t n = rope_table_rows(max_position);
  std::vector<float> table;
  table.reserve(size_t{2} * n * inv_freq.size());
  for (uint32_t i = 0; i < n; i++)
    for (double f : inv_freq) {
      const bool lo = i < kRopeStep;
      const double angle = f * (lo ? i : static_cast<double>(i - kRopeStep) * kRopeStep);
      table.push_back(static_cast<float>((lo ? magnitude : 1) * std::cos(angle)));
      table.push_back(static_cast<float>((lo ? magnitude : 1) * std::sin(angle)));
    }
  return table;
}

void rope(Stream& stream, Tensor x, Tensor rows, Tensor table, const RopeShape& shape) {
  assert(x.cols == shape.n_heads * shape.head_dim && rows.rows >= x.rows && rows.cols == 4);
  assert(shape.n_rot % 2 == 0 && shape.n_rot <= shape.head_dim && table.cols == shape.n_rot &&
         table.rows > kRopeStep);
  const KernelSpec spec = kernel(stream.caps());
  const RopeParameters p{x.rows, shape.n_heads, shape.head_dim, shape.n_rot / 2,
                         shape.layout == RopeLayout::half_split ? 1u : 0u};
  const double elements = double{1} * x.rows * shape.n_heads * shape.n_rot;
  // Six operations a pair; each element is read and written, and two table entries of 8 bytes are read a
  // pair.
  const Work work{3 * elements,
                  8 * elements + 8.0 * x.rows * shape.n_rot + static_cast<double>(rows.bytes())};
  stream.dispatch(spec, {x, rows, table}, p, {ceil_div(x.rows * p.n_pairs, spec.constants[0])}, work);
}

std::vector<KernelSpec> rope_kernels(const Caps& caps) { return {kernel(caps)}; }

void reference::rope(std::span<double> x, std::span<const uint32_t> positions,
                     std::span<const double> inv_freq, double magnitude, const RopeShape& shape) {
  const size_t n_pairs = inv_freq.size();
  for (size_t row = 0; row < positions.size(); row++)
    for (size_t head = 0; head < shape.n_heads; head++)
      for (size_t pair = 0; pair < n_pairs; pair++) {
        const bool half = shape.layout == RopeLayout::half_split;
        double* e = x.data() + (row * shape.n_heads + head) * shape.head_dim;
        double &a = e[half ? pair : 2 * pair], &b = e[half ? pair + n_pairs : 2 * pair + 1];
        const double angle = positions[row] * inv_freq[pair];
        const double c = magnitude * std::cos(angle), s = magnitude * std::sin(angle), old = a;
        a = old * c - b * s;
        b = old * s + b * c;
      }
}

}  // namespace spindle
