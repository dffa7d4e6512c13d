// What products read: packing, and how kernels that write it are specialised.
#include "shaders/matmul/matmul_input.h"

#include <algorithm>
#include <cassert>

#include "shaders/matmul/half_rows.h"
#include "shaders/matmul/matmul_coopmat.h"
#include "shaders/matmul/quantize_rows.h"
#include "shaders/matmul/row_slices.h"

namespace spindle {
namespace {

static_assert(QUANTIZED_WORDS(32) * 4 % kTensorAlignment == 0 && HALF_WORDS(32) * 4 % kTensorAlignment == 0);
constexpr uint32_t kCode[] =
#include "shaders/matmul/pack_rows.comp.inc"
    ;
constexpr Program kProgram{"pack_rows", kCode};

KernelSpec kernel(const Caps& caps, const RowOutput& output) {
  return {&kProgram, output.constants(output.element_lanes(caps))};
}

}  // namespace

MatmulInput MatmulInput::slice(uint32_t first, uint32_t count) const {
  MatmulInput part;
  if (x) part.x = x.slice(first, count);
  if (quantized) part.quantized = quantized.slice(first, count);
  if (halves) part.halves = halves.slice(first, count);
  return part;
}

void pack_rows(Stream& stream, const MatmulInput& to, Tensor x) {
  if (!to.packed()) return;
  MatmulInput packed = to;
  packed.x = {};
  const RowOutput output(packed, x.cols);
  const uint32_t n_rows = slice_rows(stream.caps(), packed.packed(), x);
  for (uint32_t first = 0; first < x.rows; first += n_rows) {
    const uint32_t rows = std::min(n_rows, x.rows - first);
    const Tensor from = x.slice(first, rows), part = packed.packed().slice(first, rows);
    const Work work{8.0 * static_cast<double>(from.elements()),
                    static_cast<double>(part.bytes() + from.bytes())};
    stream.dispatch(kernel(stream.caps(), output), {{}, part, from}, PackRows{x.cols, rows},
                    {output.element_groups(stream.caps(), rows, x.cols)}, work);
  }
}

std::vector<KernelSpec> pack_rows_kernels(const Caps& caps) {
  std::vector<KernelSpec> list;
  for (const RowOutput& output : row_outputs(caps))
    if (!output.f32) list.push_back(kernel(caps, output));
  return list;
}

RowOutput::RowOutput(const MatmulInput& y, uint32_t k)
    : wide(k % 4 == 0),
      f32(static_cast<bool>(y.x)),
      packing(y.quantized ? PACKING_QUANTIZED
              : y.halves  ? PACKING_HALVES
                          : PACKING_NONE) {
  assert((!y.x || y.x.cols == k) && (!y.quantized || y.quantized.cols == QUANTIZED_WORDS(k)));
  assert((!y.halves || y.halves.cols == HALF_WORDS(k)) && !(y.quantized && y.halves));
  assert((y.x || y.packed()) && (!y.quantized || k % QUANTIZED_BLOCK == 0));
}

std::vector<uint32_t> RowOutput::constants(uint32_t lanes, std::initializer_list<uint32_t> own) const {
  std::vector<uint32_t> list = {lanes, wide, f32, packing};
  list.insert(list.end(), own);
  return list;
}

// Blocks of 32 take a lane long enough for a CPU's cores to share them.
uint32_t RowOutput::element_lanes(const Caps& caps) const {
  return packing == PACKING_NONE ? 128 : caps.software ? caps.subgroup_size : 64;
}

uint32_t RowOutput::element_groups(const Caps& caps, uint32_t rows, uint32_t k) const {
  if (packing == PACKING_HALVES) return rows;
  const uint32_t pieces = packing == PACKING_QUANTIZED ? k / QUANTIZED_BLOCK : ceil_div(k, 4u);
  return ceil_div(rows * pieces, element_lanes(caps));
}

std::vector<RowOutput> row_outputs(const Caps& caps) {
  std::vector<RowOutput> list = {{true, true, PACKING_NONE}, {false, true, PACKING_NONE}};
  for (bool f32 : {false, true}) {
    if (caps.dot) list.push_back({true, f32, PACKING_QUANTIZED});
    for (bool wide : {true, false})
      if (coopmat_built() && caps.coopmat) list.push_back({wide, f32, PACKING_HALVES});
  }
  return list;
}

}  // namespace spindle
