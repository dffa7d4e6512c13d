// The dispatches of products.
#include "shaders/matmul/matmul_output.h"

#include <algorithm>
#include <cassert>

#include "shaders/matmul/row_slices.h"

namespace spindle {

MatmulOutput::MatmulOutput(std::span<const Tensor> several)
    : n_tensors(static_cast<uint32_t>(several.size())) {
  assert(n_tensors > 0 && n_tensors <= std::size(tensors));
  std::ranges::copy(several, tensors);
}

void dispatch_matmul(Stream& stream, const KernelSpec& spec, uint32_t group_rows, uint32_t group_outputs,
                     const MatmulOutput& output, const Weight& w, Tensor x, Tensor bias) {
  const Tensor residual = output.residual;
  Tensor y = output.tensors[0];
  MatmulParameters p{w.n, w.k, x.rows, 0, 0, {w.n, w.n}, {0, 0}, output.scale};
  uint32_t end = y.cols, n_rows = x.rows;
  for (uint32_t i = 1; i < output.n_tensors; i++) {
    const Tensor& t = output.tensors[i];
    assert(t.buffer == y.buffer && t.offset_bytes >= y.offset_bytes + y.bytes() && t.rows == x.rows);
    p.end[i - 1] = end;
    p.at[i - 1] = static_cast<uint32_t>((t.offset_bytes - y.offset_bytes) / 4);
    end += t.cols;
  }
  assert(end == w.n && output.tensors[0].rows == x.rows && (!bias || bias.elements() == w.n));
  if (output.n_tensors == 1) {
    n_rows = slice_rows(stream.caps(), y, x);
  } else {  // bound as one
    const Tensor& last = output.tensors[output.n_tensors - 1];
    y.rows = 1;
    y.cols = p.at[output.n_tensors - 2] + static_cast<uint32_t>(last.elements());
  }
  for (uint32_t first = 0; first < x.rows; first += n_rows) {
    p.rows = std::min(n_rows, x.rows - first);
    const auto rows_of = [&](Tensor t) { return p.rows < x.rows && t ? t.slice(first, p.rows) : t; };
    const Tensor xs = rows_of(x);
    for (const WeightPart& part : w.parts) {
      p.first = part.first;
      p.count = part.count;
      const double outputs = double{1} * p.rows * part.count,
                   weights =
                       static_cast<double>(part.values.bytes() + (part.scales ? part.scales.bytes() : 0));
      const Work work{2.0 * outputs * w.k,
                      weights + static_cast<double>(xs.bytes()) + (residual ? 8.0 : 4.0) * outputs};
      const Grid grid{ceil_div(p.rows, group_rows), ceil_div(part.count, group_outputs)};
      stream.dispatch(spec, {rows_of(y), part.values, part.scales, xs, bias, rows_of(residual)}, p, grid,
                      work);
    }
  }
}

}  // namespace spindle
