// What products read: rows of f32, or packed as their kernels want them. Whatever computes rows writes them
// so.
#ifndef SPINDLE_SHADERS_MATMUL_INPUT_H
#define SPINDLE_SHADERS_MATMUL_INPUT_H
#include "shaders/common/glsl.h"
#define PACKING_NONE 0
#define PACKING_QUANTIZED 1  // quantize_rows.h
#define PACKING_HALVES 2     // half_rows.h
#ifdef __cplusplus
#include "shaders/common/op.h"
namespace spindle {
#endif

struct PackRows {
  uint cols, rows;
};

#ifdef __cplusplus
// A tensor is one; matmul_input() says what several products read.
struct MatmulInput {
  MatmulInput() = default;
  MatmulInput(Tensor rows) : x(rows) {}
  Tensor x;  // f32 [rows, k]; nothing where all products read what is packed
  // One of them where weights are multiplied so; without, products are computed in f32.
  Tensor quantized;  // u32 [rows, QUANTIZED_WORDS(k)], by integer dot products
  Tensor halves;     // u32 [rows, HALF_WORDS(k)], by cooperative matrices
  Tensor packed() const { return quantized ? quantized : halves; }
  uint32_t rows() const { return x ? x.rows : packed().rows; }
  uint64_t bytes() const { return (x ? x.bytes() : 0) + (packed() ? packed().bytes() : 0); }
  MatmulInput slice(uint32_t first, uint32_t count) const;
};

// Packs x (f32 [rows, k]) into `to`; to.x is left alone. Both may be larger than a binding.
void pack_rows(Stream& stream, const MatmulInput& to, Tensor x);
std::vector<KernelSpec> pack_rows_kernels(const Caps& caps);

// How a kernel that includes matmul_input.glsl writes its rows.
struct RowOutput {
  bool wide = true, f32 = true;
  uint32_t packing = PACKING_NONE;
  RowOutput(const MatmulInput& y, uint32_t k);
  RowOutput(bool wide_, bool f32_, uint32_t packing_) : wide(wide_), f32(f32_), packing(packing_) {}
  // Specialization constants: 0 to 3, then the kernel's own.
  std::vector<uint32_t> constants(uint32_t lanes, std::initializer_list<uint32_t> own = {}) const;
  // Of kernels whose outputs depend on nothing else in their row: lanes of a workgroup, and workgroups.
  uint32_t element_lanes(const Caps& caps) const;
  uint32_t element_groups(const Caps& caps, uint32_t rows, uint32_t k) const;
};
// All that a device has a use for.
std::vector<RowOutput> row_outputs(const Caps& caps);

}  // namespace spindle
#endif
#endif
