// Products with experts: tiles, dispatch, padding and reference.
#include "shaders/experts/expert_matmul.h"

#include <algorithm>
#include <cassert>
#include <cstring>

namespace spindle {
namespace {

constexpr uint32_t kCode[] =
#include "shaders/experts/expert_matmul.comp.inc"
    ;
constexpr uint32_t kSubgroupCode[] =
#include "shaders/experts/expert_matmul_subgroup.comp.inc"
    ;
constexpr uint32_t kDotCode[] =
#include "shaders/experts/expert_matmul_dot.comp.inc"
    ;
constexpr uint32_t kDotSubgroupCode[] =
#include "shaders/experts/expert_matmul_dot_subgroup.comp.inc"
    ;
constexpr Program kPlain{"expert_matmul", kCode, true}, kSubgroup{"expert_matmul", kSubgroupCode, true},
    kDot{"expert_matmul_dot", kDotCode, true}, kDotSubgroup{"expert_matmul_dot", kDotSubgroupCode, true};
constexpr MatmulPrograms kPrograms{&kPlain, &kSubgroup, &kDot, &kDotSubgroup};

}  // namespace

WeightShape expert_shape(DType type, uint32_t experts, uint32_t n, uint32_t k) {
  return {type, experts * expert_stride(n), k};
}

ReadBytes padded_experts(DType type, uint32_t n, uint32_t k, ReadExpertBytes read) {
  const uint64_t row_bytes = bytes_of(type, k), own = n * row_bytes, padded = expert_stride(n) * row_bytes;
  return [=](uint64_t at, std::span<std::byte> to) {
    while (!to.empty()) {
      const auto expert = static_cast<uint32_t>(at / padded);
      const uint64_t in_expert = at % padded, end = in_expert < own ? own : padded;
      const size_t count = std::min<uint64_t>(to.size(), end - in_expert);
      if (in_expert < own) read(expert, in_expert, to.first(count));
      else std::memset(to.data(), 0, count);
      at += count;
      to = to.subspan(count);
    }
  };
}

MatmulTile expert_tile(const Caps& caps, Phase phase, uint32_t pairs, uint32_t experts, bool dot) {
  const uint32_t each = pairs / experts;
  if (phase == Phase::decode) return matmul_tile(caps, phase, std::max(each, 1u), dot);
  // A tile that is mostly empty costs as much as a full one.
  MatmulTile tile = matmul_tile(caps, phase, pairs, dot);
  const uint32_t full = tile.tm * tile.row_groups;
  if (each < 2) tile.tm = tile.row_groups = 1;
  else if (each < full / 2 && caps.software) tile.tm = 4;
  else if (each < full / 2) {
    // All of 8 rows in a lone group are scalars to AMD's compiler, more than its registers hold.
    const bool two = tile.tm >= 8;
    tile.tm /= two ? 2 : 1;
    tile.row_groups = two ? 2 : 1;
  }
  return tile;
}

void expert_matmul(Stream& stream, Phase phase, Tensor y, const ExpertWeight& w, const MatmulInput& input,
                   const ExpertRows& rows, Tensor bias) {
  const uint32_t pairs = rows.pairs(), k = w.weight.k;
  const bool dot = input.quantized && matmul_uses_dot(stream.caps(), phase, w.weight.type, k);
  const Tensor x = dot ? input.quantized : input.x;
  MatmulTile tile = expert_tile(stream.caps(), phase, pairs, w.experts, dot);
  assert(y.cols == w.n && y.rows == pairs && (dot || x.cols == k) && rows.experts == w.experts);
  assert((x.rows == pairs || x.rows == rows.ids.rows) && (!bias || bias.elements() == w.experts * w.n));
  if (tile.tm * tile.row_groups != rows.tile_rows) {  // rows were sorted for another tile
    tile.tm = rows.tile_rows;
    tile.row_groups = 1;
  }
  const KernelSpec spec =
      matmul_kernel(kPrograms, tile, phase, w.weight.type, k, dot, static_cast<bool>(bias));
  const double used = std::min(pairs, w.experts);
  for (const WeightPart& part : w.weight.parts) {
    const double share = static_cast<double>(part.count) / w.weight.n,
                 weights = used / w.experts *
                           static_cast<double>(part.values.bytes() + (part.scales ? part.scales.bytes() : 0));
    const Work work{2.0 * pairs * w.n * k * share,
                    weights + static_cast<double>(x.bytes()) + static_cast<double>(y.bytes()) * share};
    stream.dispatch(
        spec, {y, part.values, part.scales, x, bias, rows.order, rows.tile_rows == 1 ? rows.ids : rows.tiles},
        ExpertMatmulParameters{w.n, k, expert_stride(w.n), part.first, part.count, pairs / x.rows,
                               rows.tile_rows != 1},
        {rows.n_tiles(), ceil_div(w.n, tile.lanes * tile.tn)}, work);
  }
}

std::vector<KernelSpec> expert_matmul_kernels(const Caps& caps) {
  return matmul_kernels(caps, kPrograms, [&](Phase phase, bool dot) {
    std::vector<MatmulTile> tiles;
    for (uint32_t each : {1, 2, 4, 8, 256}) tiles.push_back(expert_tile(caps, phase, each, 1, dot));
    return tiles;
  });
}

void reference::expert_matmul(std::span<double> y, std::span<const double> w, std::span<const double> x,
                              std::span<const double> bias, std::span<const uint32_t> ids, uint32_t experts,
                              uint32_t k) {
  const size_t n = w.size() / experts / k, shared_by = ids.size() / (x.size() / k);
  for (size_t pair = 0; pair < ids.size(); pair++)
    matmul(y.subspan(pair * n, n), w.subspan(ids[pair] * n * k, n * k), x.subspan(pair / shared_by * k, k),
           bias.empty() ? bias : bias.subspan(ids[pair] * n, n), 1);
}

}  // namespace spindle
