// Which rows go to which expert: the (row, rank) pairs of a step sorted by expert and cut into tiles of one
// expert, so that a product reads an expert's weights once for a tile.
#ifndef SPINDLE_SHADERS_EXPERT_ROWS_H
#define SPINDLE_SHADERS_EXPERT_ROWS_H
#include "shaders/common/glsl.h"
#ifdef __cplusplus
#include <span>

#include "shaders/common/op.h"
namespace spindle {
#endif

struct ExpertRowsParameters {
  uint pairs;  // rows * experts used by each
  uint experts;
  uint tile_rows;  // of the products
};

#ifdef __cplusplus
// Pairs of a step: pair row * used + rank goes to expert ids[row][rank].
struct ExpertRows {
  Tensor ids;  // u32 [rows, used]
  uint32_t experts = 0;
  uint32_t tile_rows = 1;  // 1: pair after pair, without order and tiles
  Tensor order;            // u32 [1, pairs]: the pairs by expert, in their own order within one
  Tensor tiles;            // u32 [n, 4]: expert, first and end of the order; first = end: nothing
  uint32_t pairs() const { return ids.rows * ids.cols; }
  uint32_t n_tiles() const { return tile_rows == 1 ? pairs() : tiles.rows; }
};

// Sorts ids where an expert has rows enough for tiles. The scratch is in use until the last product.
ExpertRows expert_rows(Stream& stream, Phase phase, Tensor ids, uint32_t experts, Tensor scratch);
ExpertRows expert_rows(Stream& stream, Tensor ids, uint32_t experts, uint32_t tile_rows, Tensor scratch);
// What the scratch must hold.
uint64_t expert_rows_scratch_bytes(uint32_t pairs, uint32_t experts);
std::vector<KernelSpec> expert_rows_kernels(const Caps& caps);

namespace reference {
// order: as many as ids; returns tiles of [expert, first, end].
std::vector<std::array<uint32_t, 3>> expert_rows(std::span<uint32_t> order, std::span<const uint32_t> ids,
                                                 uint32_t experts, uint32_t tile_rows);
}  // namespace reference
}  // namespace spindle
#endif
#endif
