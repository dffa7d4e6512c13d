// Matrix product: how a device's work is cut.
#include <algorithm>

#include "shaders/matmul/matmul.h"

namespace spindle {
namespace {

constexpr uint32_t kDecodeRows[] = {1, 2, 4, 8};  // tm when decoding

// Few enough to stay in a near cache, many enough that the processor waits for all of them at once. Lanes
// that load one after the other wait less than the asking costs.
constexpr uint32_t kAheadBytes = 4096;

MatmulTile built_in(const Caps& caps, Phase phase, uint32_t rows, bool dot) {
  uint32_t tm = kDecodeRows[0];
  for (uint32_t r : kDecodeRows)
    if (tm < rows) tm = r;
  const uint32_t steps = dot ? 4 : 2;
  const bool mixed = dot && caps.dot_mixed;
  // A CPU: a load costs much more than a multiply-add, registers spill into a near cache, barriers are slow.
  if (caps.software) {
    const bool shuffle = caps.wide_loads();
    const uint32_t lanes = caps.subgroup_size, ahead = caps.gathers ? kAheadBytes : 0;
    if (caps.unroll) {  // what is unrolled may not be long: some compilers take minutes for 16 x 4 outputs
      if (phase == Phase::decode) return {lanes, 1, 1, tm, 2, steps, shuffle, mixed};
      return {lanes, 1, 1, dot ? 8u : 4u, dot ? 2u : 4u, steps, shuffle, mixed};
    }
    if (phase == Phase::prefill) return {lanes, 1, 1, 16, 4, steps, shuffle, mixed};
    if (dot) return {lanes, 1, 1, tm, tm < 8 ? 8u : 4u, 4, shuffle, mixed, ahead};
    const bool wide = tm == 1 && caps.gathers;
    return {lanes, 1, 1, tm, wide ? 8u : 4u, tm == 1 ? 4u : 2u, shuffle, false, 2 * ahead};
  }
  // The largest that do not spill: 8 x 4 does on Apple's M1, 6 x 4 where there are few registers.
  const bool few_registers = has_few_registers(caps);
  if (phase == Phase::prefill && caps.subgroup_size >= 64) return {64, 4, 1, 8, 2, steps, false, mixed};
  if (phase == Phase::prefill) return {32, 4, 1, 6, few_registers ? 2u : 4u, steps, false, mixed};
  if (few_registers) tm = std::min(tm, 4u);
  const uint32_t slices = std::min(caps.max_workgroup_invocations, 256u) / WEIGHT_GROUP;
  return {WEIGHT_GROUP, 1, slices, tm, 1, dot && tm < 4 ? 8u : std::max(8 / tm, steps), false, mixed};
}

bool fits(const Caps& caps, const MatmulTile& t, bool dot) {
  const uint32_t lanes = t.lanes * t.row_groups * t.slices;
  const auto one_of = [](uint32_t n, std::initializer_list<uint32_t> list) {
    return std::ranges::count(list, n) > 0;
  };
  return t.lanes % 4 == 0 && lanes > 0 && lanes <= caps.max_workgroup_invocations && t.tm > 0 && t.tn > 0 &&
         t.tm * t.tn <= 128 && (!t.shuffle || t.lanes == caps.subgroup_size) &&
         (dot ? one_of(t.steps, {4, 8}) : one_of(t.steps, {2, 4, 8})) &&
         (t.slices == 1 || uint64_t{4} * lanes * t.tm * t.tn <= caps.shared_memory_bytes);
}

}  // namespace

std::string matmul_tile_name(Phase phase, const MatmulTile& tile, bool dot) {
  const std::string kind = dot ? "matmul_dot " : "matmul ";
  return kind + (phase == Phase::prefill ? "prefill" : "decode " + std::to_string(tile.tm));
}

std::vector<uint32_t> matmul_tile_numbers(const MatmulTile& t) {
  return {t.lanes, t.row_groups, t.tm, t.tn, t.steps};
}

MatmulTile matmul_tile(const Caps& caps, Phase phase, uint32_t rows, bool dot) {
  MatmulTile tile = built_in(caps, phase, rows, dot);
  if (caps.tuning.empty()) return tile;
  const auto found = caps.tuning.find(matmul_tile_name(phase, tile, dot));
  if (found == caps.tuning.end() || found->second.size() != matmul_tile_numbers(tile).size()) return tile;
  MatmulTile tuned = tile;
  uint32_t i = 0;
  for (uint32_t* n : {&tuned.lanes, &tuned.row_groups, &tuned.tm, &tuned.tn, &tuned.steps})
    *n = found->second[i++];
  const bool other_rows = phase == Phase::decode && tuned.tm != tile.tm;
  return fits(caps, tuned, dot) && !other_rows ? tuned : tile;
}

std::vector<MatmulTile> matmul_tiles(const Caps& caps, Phase phase, uint32_t rows, bool dot) {
  const MatmulTile usual = built_in(caps, phase, rows, dot);
  std::vector<MatmulTile> list{usual};
  const auto add = [&](MatmulTile t) {
    const auto same = [&](const MatmulTile& o) { return matmul_tile_numbers(o) == matmul_tile_numbers(t); };
    if (fits(caps, t, dot) && std::ranges::none_of(list, same)) list.push_back(t);
  };
  MatmulTile t = usual;
  if (phase == Phase::decode) {
    for (t.tn = caps.software ? 2 : 1; t.tn <= (caps.software ? 8u : 2u); t.tn *= 2)
      for (t.steps = dot ? 4 : 2; t.steps <= 8; t.steps *= 2) add(t);
    return list;
  }
  using Sizes = std::initializer_list<std::pair<uint32_t, uint32_t>>;
  const Sizes on_cpus{{8, 4}, {8, 8}, {16, 2}, {16, 4}, {16, 8}, {32, 2}, {32, 4}},
      on_gpus{{4, 2}, {4, 4}, {6, 2}, {6, 4}, {8, 2}, {8, 4}};
  for (uint32_t lanes : {usual.lanes, 32u, 64u})
    for (uint32_t groups : {1, 2, 4, 8})
      for (const auto& [tm, tn] : caps.software ? on_cpus : on_gpus) {
        if (caps.software && (lanes != usual.lanes || groups != 1)) continue;
        t = usual;
        t.lanes = lanes, t.row_groups = groups, t.tm = tm, t.tn = tn;
        if (lanes * groups <= 256) add(t);
      }
  return list;
}

}  // namespace spindle
