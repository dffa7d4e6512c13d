// RoPE: table, dispatch and reference.
#include "shaders/rope/rope.h"

#include <algorithm>
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

std::vector<float> make_rope_table(std::span<const double> inv_freq, double magnitude, uint32_t max_position,
                                   double scale, double phase) {
  const uint32_t n = rope_table_rows(max_position);
  std::vector<float> table;
  table.reserve(size_t{2} * n * inv_freq.size());
  for (uint32_t i = 0; i < n; i++)
    for (double f : inv_freq) {
      const uint32_t digit = std::min(i / kRopeStep, 2u);  // rows of the lowest carry magnitude and phase
      const double position = (i - digit * kRopeStep) * std::pow(double{kRopeStep}, digit);
      const double angle = f * (position * scale + (digit == 0 ? phase : 0));
      table.push_back(static_cast<float>((digit == 0 ? magnitude : 1) * std::cos(angle)));
      table.push_back(static_cast<float>((digit == 0 ? magnitude : 1) * std::sin(angle)));
    }
  return table;
}

void rope(Stream& stream, Tensor y, Tensor x, Tensor rows, Tensor table, const RopeShape& shape,
          const RopeForm& form, const RopeTemperature& temperature, uint32_t first_row) {
  assert(x.cols == shape.n_heads * shape.head_dim && rows.rows >= x.rows && rows.cols == 4);
  assert(y.cols == x.cols && y.rows >= first_row + x.rows && form.divide > 0 && temperature.width > 0);
  assert(shape.n_rot % 2 == 0 && shape.n_rot <= shape.head_dim && shape.head_dim % 2 == 0);
  assert(table.cols == shape.n_rot && table.rows > 2 * kRopeStep);
  const KernelSpec spec = kernel(stream.caps());
  const bool in_place =
      y.buffer == x.buffer && y.offset_bytes == x.offset_bytes && first_row == 0 && temperature.slope == 0;
  const RopeParameters p{x.rows,
                         shape.n_heads,
                         shape.head_dim,
                         first_row,
                         shape.n_rot / 2,
                         in_place ? shape.n_rot / 2 : shape.head_dim / 2,
                         shape.layout == RopeLayout::half_split ? 1u : 0u,
                         form.modulo,
                         form.divide,
                         form.offset,
                         form.cap,
                         temperature.base,
                         temperature.slope,
                         temperature.offset,
                         temperature.width,
                         temperature.cap};
  const double elements = double{2} * x.rows * shape.n_heads * p.n_lanes;
  // Six operations a pair; each element is read and written, and two table entries of 8 bytes are read a
  // pair.
  const Work work{3 * elements,
                  8 * elements + 8.0 * x.rows * shape.n_rot + static_cast<double>(rows.bytes())};
  stream.dispatch(spec, {y, x, rows, table}, p, {ceil_div(x.rows * p.n_lanes, spec.constants[0])}, work);
}

std::vector<KernelSpec> rope_kernels(const Caps& caps) { return {kernel(caps)}; }

double reference::rope_position(const RopeForm& form, uint32_t position) {
  const double p =
      std::floor(static_cast<double>(form.modulo ? position % form.modulo : position) / form.divide);
  return std::min(p + form.offset, static_cast<double>(form.cap));
}

double reference::rope_temperature(const RopeTemperature& t, uint32_t position) {
  const double steps = std::floor((static_cast<double>(std::min(position, t.cap)) + t.offset) / t.width);
  return t.slope == 0 ? 1 : std::max(1.0, double{t.base} + double{t.slope} * std::log(steps + 1));
}

void reference::rope(std::span<double> x, std::span<const uint32_t> positions,
                     std::span<const double> inv_freq, double magnitude, const RopeShape& shape) {
  rope(x, std::vector<double>(positions.begin(), positions.end()), inv_freq, magnitude, shape);
}

void reference::rope(std::span<double> x, std::span<const double> positions, std::span<const double> inv_freq,
                     double magnitude, const RopeShape& shape) {
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
