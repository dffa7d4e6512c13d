// Products with the weights of the experts that rows are routed to: y[pair] = W[expert of pair] x + bias.
#ifndef SPINDLE_SHADERS_EXPERT_MATMUL_H
#define SPINDLE_SHADERS_EXPERT_MATMUL_H
#include "shaders/common/glsl.h"
#ifdef __cplusplus
#include <span>

#include "shaders/experts/expert_rows.h"
#include "shaders/matmul/matmul.h"
namespace spindle {
#endif

struct ExpertMatmulParameters {
  uint n;          // outputs of an expert: columns of y
  uint k;          // columns of x
  uint stride;     // outputs of an expert, padding included
  uint first;      // output that the part's first one is, of all experts'
  uint count;      // outputs of the part
  uint shared_by;  // pairs that read one row of x
  uint sorted;     // 1: there are order and tiles
};

#ifdef __cplusplus
// The experts' matrices below each other, each padded to whole groups of 16 outputs: one Weight
// [experts * expert_stride(n), k], cut into parts like any other.
struct ExpertWeight {
  Weight weight;
  uint32_t experts = 0, n = 0;
  explicit operator bool() const { return static_cast<bool>(weight); }
};
constexpr uint32_t expert_stride(uint32_t n) { return round_up(n, WEIGHT_GROUP); }
WeightShape expert_shape(DType type, uint32_t experts, uint32_t n, uint32_t k);
// Reads such a matrix out of one that has no padding. read(expert, at, to): bytes of one expert's matrix.
using ReadExpertBytes = std::function<void(uint32_t expert, uint64_t at, std::span<std::byte> to)>;
ReadBytes padded_experts(DType type, uint32_t n, uint32_t k, ReadExpertBytes read);

// y: f32 [pairs, n]; x: [rows, k], or [pairs, k] with a row for each pair; bias: f32 [experts, n] or nothing.
// The bits of a pair are those of matmul() with its expert's matrix, however many rows there are and whether
// they are sorted.
void expert_matmul(Stream& stream, Phase phase, Tensor y, const ExpertWeight& w, const MatmulInput& x,
                   const ExpertRows& rows, Tensor bias = {});
// Tiles of the rows that an expert gets on average.
MatmulTile expert_tile(const Caps& caps, Phase phase, uint32_t pairs, uint32_t experts, bool dot = false);
std::vector<KernelSpec> expert_matmul_kernels(const Caps& caps);

namespace reference {
// y: [pairs, n], w: [experts, n, k], x: [rows, k] or [pairs, k], bias: [experts, n] or empty.
void expert_matmul(std::span<double> y, std::span<const double> w, std::span<const double> x,
                   std::span<const double> bias, std::span<const uint32_t> ids, uint32_t experts, uint32_t k);
}  // namespace reference
}  // namespace spindle
#endif
#endif
