// Rows by expert: choice of tiles, dispatch and reference.
#include "shaders/experts/expert_rows.h"

#include <array>
#include <cassert>

#include "shaders/experts/expert_matmul.h"

namespace spindle {
namespace {

constexpr uint32_t kCode[] =
#include "shaders/experts/expert_rows.comp.inc"
    ;
constexpr Program kProgram{"expert_rows", kCode};
constexpr uint64_t kWord = sizeof(uint32_t);

KernelSpec kernel(const Caps& caps) { return {&kProgram, {caps.software ? caps.subgroup_size : 64}}; }

uint32_t most_tiles(uint32_t pairs, uint32_t experts, uint32_t tile_rows) {
  return pairs / tile_rows + experts;
}

}  // namespace

uint64_t expert_rows_scratch_bytes(uint32_t pairs, uint32_t experts) {
  return align_tensor(pairs * kWord) + most_tiles(pairs, experts, 2) * 4 * kWord;
}

ExpertRows expert_rows(Stream& stream, Phase phase, Tensor ids, uint32_t experts, Tensor scratch) {
  const MatmulTile tile = expert_tile(stream.caps(), phase, ids.rows * ids.cols, experts);
  return expert_rows(stream, ids, experts, tile.tm * tile.row_groups, scratch);
}

ExpertRows expert_rows(Stream& stream, Tensor ids, uint32_t experts, uint32_t tile_rows, Tensor scratch) {
  ExpertRows rows{ids, experts, tile_rows, {}, {}};
  if (tile_rows == 1) return rows;
  const uint32_t pairs = rows.pairs(), n_tiles = most_tiles(pairs, experts, tile_rows);
  rows.order = Tensor(*scratch.buffer, DType::u32, 1, pairs, scratch.offset_bytes);
  rows.tiles = Tensor(*scratch.buffer, DType::u32, n_tiles, 4,
                      scratch.offset_bytes + align_tensor(rows.order.bytes()));
  assert(rows.tiles.offset_bytes + rows.tiles.bytes() <= scratch.offset_bytes + scratch.bytes());
  const Work work{4.0 * pairs * experts,
                  static_cast<double>(ids.bytes() + rows.order.bytes() + rows.tiles.bytes())};
  stream.dispatch(kernel(stream.caps()), {rows.order, rows.tiles, ids},
                  ExpertRowsParameters{pairs, experts, tile_rows}, {experts}, work);
  return rows;
}

std::vector<KernelSpec> expert_rows_kernels(const Caps& caps) { return {kernel(caps)}; }

std::vector<std::array<uint32_t, 3>> reference::expert_rows(std::span<uint32_t> order,
                                                            std::span<const uint32_t> ids, uint32_t experts,
                                                            uint32_t tile_rows) {
  std::vector<std::array<uint32_t, 3>> tiles;
  uint32_t to = 0;
  for (uint32_t expert = 0; expert < experts; expert++) {
    uint32_t first = to;
    for (uint32_t pair = 0; pair < ids.size(); pair++)
      if (ids[pair] == expert) order[to++] = pair;
    for (; first < to; first += tile_rows) tiles.push_back({expert, first, std::min(first + tile_rows, to)});
  }
  return tiles;
}

}  // namespace spindle
