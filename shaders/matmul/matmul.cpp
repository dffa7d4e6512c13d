// Matrix product: choice of tile, dispatch and reference.
#include "shaders/matmul/matmul.h"

#include <algorithm>
#include <cassert>

#include "shaders/matmul/half_rows.h"
#include "shaders/matmul/matmul_coopmat.h"
#include "shaders/matmul/quantize_rows.h"

namespace spindle {
namespace {

constexpr uint32_t kCode[] =
#include "shaders/matmul/matmul.comp.inc"
    ;
constexpr uint32_t kSubgroupCode[] =
#include "shaders/matmul/matmul_subgroup.comp.inc"
    ;
constexpr uint32_t kDotCode[] =
#include "shaders/matmul/matmul_dot.comp.inc"
    ;
constexpr uint32_t kDotSubgroupCode[] =
#include "shaders/matmul/matmul_dot_subgroup.comp.inc"
    ;
constexpr Program kPlain{"matmul", kCode, true}, kSubgroup{"matmul", kSubgroupCode, true},
    kDot{"matmul_dot", kDotCode, true}, kDotSubgroup{"matmul_dot", kDotSubgroupCode, true};
constexpr MatmulPrograms kPrograms{&kPlain, &kSubgroup, &kDot, &kDotSubgroup};

// Whose blocks have one scale; the others' halves have one each.
bool has_whole_blocks(DType type) {
  return type != DType::q2_k && type != DType::q3_k && type != DType::q6_k;
}
// Whose values are integers, beside scale and minimum.
bool has_dot(DType type) { return has_scales(type) && type != DType::iq4_nl && type != DType::iq4_xs; }

uint32_t touched_blocks(const MatmulTile& t, DType type) {
  if (t.ahead_bytes == 0) return 0;
  assert(t.slices == 1);
  return std::max(1u, t.ahead_bytes / (t.lanes * t.tn * weight_format(type).low_bits * (WEIGHT_BLOCK / 8)));
}

uint32_t x_access(uint32_t k) { return k % WEIGHT_BLOCK == 0 ? 0 : k % 4 == 0 ? 1 : 2; }

}  // namespace

KernelSpec matmul_kernel(const MatmulPrograms& programs, const MatmulTile& t, Phase phase, DType type,
                         uint32_t k, bool dot, bool bias) {
  const auto number = static_cast<uint32_t>(type), touch = touched_blocks(t, type);
  if (dot)
    return {t.shuffle ? programs.dot_subgroup : programs.dot,
            {t.lanes, t.row_groups, t.slices, t.tm, t.tn, number, bias, touch, t.steps / 4, t.mixed}};
  // Where a row is alone, scaling a block's sum is cheaper than scaling its values.
  const bool scale_sums = phase == Phase::decode && has_scales(type) && has_whole_blocks(type);
  return {
      t.shuffle ? programs.subgroup : programs.plain,
      {t.lanes, t.row_groups, t.slices, t.tm, t.tn, number, bias, touch, x_access(k), scale_sums, t.steps}};
}

bool matmul_uses_dot(const Caps& caps, Phase phase, DType type, uint32_t k) {
  if (!caps.dot || !has_dot(type)) return false;
  if (caps.software) return caps.subgroup;  // emulated, but with a quarter of the loads and shuffles
  // A single row waits for memory either way; quantising it must be cheap beside the decoding it saves.
  return caps.dot_accelerated && (phase == Phase::prefill || (type != DType::q8_0 && k >= 2048));
}

uint64_t matmul_scratch_bytes(const Caps& caps, uint32_t rows, uint32_t k) {
  uint32_t words = 0;
  for (Phase phase : {Phase::prefill, Phase::decode})
    for (DType type : kWeightTypes) {
      if (matmul_uses_dot(caps, phase, type, k)) words = std::max<uint32_t>(words, QUANTIZED_WORDS(k));
      if (matmul_uses_coopmat(caps, phase, type)) words = std::max<uint32_t>(words, HALF_WORDS(k));
    }
  return uint64_t{4} * rows * words;
}

MatmulInput matmul_input(const Caps& caps, Phase phase, Tensor x, const std::vector<const Weight*>& weights,
                         Tensor scratch, bool coopmat) {
  const auto by_halves = [&](const Weight* w) { return coopmat && matmul_uses_coopmat(caps, phase, *w); };
  const auto by_dot = [&](const Weight* w) { return matmul_uses_dot(caps, phase, w->type, w->k); };
  const auto packed = [&](uint32_t words) {
    const Tensor t(*scratch.buffer, DType::u32, x.rows, words, scratch.offset_bytes);
    assert(t.bytes() <= scratch.bytes());
    return t;
  };
  MatmulInput input;
  bool all_packed = false;
  if (scratch && std::ranges::any_of(weights, by_halves)) {
    input.halves = packed(HALF_WORDS(x.cols));
    all_packed = std::ranges::all_of(weights, by_halves);
  } else if (scratch && std::ranges::any_of(weights, by_dot)) {
    input.quantized = packed(QUANTIZED_WORDS(x.cols));
    all_packed = std::ranges::all_of(weights, by_dot);
  }
  if (!all_packed) input.x = x;
  return input;
}

MatmulInput matmul_input(Stream& stream, Phase phase, Tensor x, const std::vector<const Weight*>& weights,
                         Tensor scratch, bool coopmat) {
  MatmulInput input = matmul_input(stream.caps(), phase, x, weights, scratch, coopmat);
  input.x = x;
  pack_rows(stream, input, x);
  return input;
}

void matmul(Stream& stream, Phase phase, const MatmulOutput& y, const Weight& w, const MatmulInput& x,
            Tensor bias) {
  if (x.halves && matmul_uses_coopmat(stream.caps(), phase, w))
    return matmul_coopmat(stream, coopmat_tile(stream.caps(), x.rows()), y, w, x.halves, bias);
  const bool dot = x.quantized && matmul_uses_dot(stream.caps(), phase, w.type, w.k);
  matmul(stream, matmul_tile(stream.caps(), phase, x.rows(), dot), phase, y, w, dot ? x : x.x, bias);
}

void matmul(Stream& stream, const MatmulTile& tile, Phase phase, const MatmulOutput& y, const Weight& w,
            const MatmulInput& input, Tensor bias) {
  const bool dot = static_cast<bool>(input.quantized);
  assert(dot ? has_dot(w.type) && input.quantized.cols == QUANTIZED_WORDS(w.k) : input.x.cols == w.k);
  dispatch_matmul(stream, matmul_kernel(kPrograms, tile, phase, w.type, w.k, dot, static_cast<bool>(bias)),
                  tile.tm * tile.row_groups, tile.lanes * tile.tn, y, w, dot ? input.quantized : input.x,
                  bias);
}

std::vector<KernelSpec> matmul_kernels(const Caps& caps) {
  std::vector<KernelSpec> specs = matmul_kernels(caps, kPrograms, [&](Phase phase, bool dot) {
    std::vector<MatmulTile> tiles;
    for (uint32_t rows : {1, 2, 4, 8}) tiles.push_back(matmul_tile(caps, phase, rows, dot));
    return tiles;
  });
  for (const KernelSpec& spec : pack_rows_kernels(caps)) specs.push_back(spec);
  for (const KernelSpec& spec : matmul_coopmat_kernels(caps)) specs.push_back(spec);
  return specs;
}

std::vector<KernelSpec> matmul_kernels(const Caps& caps, DType type, uint32_t k, bool bias) {
  constexpr uint32_t kManyRows = 64;
  std::vector<KernelSpec> specs;
  for (const auto& [phase, rows] : {std::pair(Phase::prefill, kManyRows), std::pair(Phase::decode, 1u)}) {
    if (matmul_uses_coopmat(caps, phase, type)) {
      specs.push_back(matmul_coopmat_kernel(caps, coopmat_tile(caps, rows), type, bias));
      continue;
    }
    const bool dot = matmul_uses_dot(caps, phase, type, k);
    const MatmulTile tile = matmul_tile(caps, phase, rows, dot);
    specs.push_back(matmul_kernel(kPrograms, tile, phase, type, k, dot, bias));
  }
  return specs;
}

std::vector<KernelSpec> matmul_kernels(const Caps& caps, const MatmulPrograms& programs,
                                       const std::function<std::vector<MatmulTile>(Phase, bool)>& tiles) {
  std::vector<KernelSpec> specs;
  for (Phase phase : {Phase::prefill, Phase::decode})
    for (DType type : kWeightTypes)
      for (bool bias : {false, true}) {
        for (const MatmulTile& tile : tiles(phase, false))
          for (uint32_t k : {32, 4, 1})
            if (k == 32 || !has_scales(type))
              specs.push_back(matmul_kernel(programs, tile, phase, type, k, false, bias));
        if (!matmul_uses_dot(caps, phase, type, 4096)) continue;
        for (const MatmulTile& tile : tiles(phase, true))
          specs.push_back(matmul_kernel(programs, tile, phase, type, 4096, true, bias));
      }
  return specs;
}

void reference::matmul(std::span<double> y, std::span<const double> w, std::span<const double> x,
                       std::span<const double> bias, uint32_t rows) {
  const size_t n = y.size() / rows, k = x.size() / rows;
  for (size_t row = 0; row < rows; row++)
    for (size_t i = 0; i < n; i++) {
      double sum = bias.empty() ? 0 : bias[i];
      for (size_t j = 0; j < k; j++) sum += w[i * k + j] * x[row * k + j];
      y[row * n + i] = sum;
    }
}

}  // namespace spindle
