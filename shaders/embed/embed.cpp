// Embedding: dispatch and reference.
#include "shaders/embed/embed.h"

#include <algorithm>
#include <cassert>

namespace spindle {
namespace {

constexpr uint32_t kCode[] =
#include "shaders/embed/embed.comp.inc"
    ;
constexpr Program kProgram{"embed", kCode};

KernelSpec kernel(const Caps& caps, DType type, bool fours) {
  return {&kProgram, {row_lanes(caps), static_cast<uint32_t>(type), fours}};
}

}  // namespace

void embed(Stream& stream, Tensor x, const Weight& table, Tensor rows, float factor, EmbedBy by) {
  assert(x.cols == table.k && rows.cols == 4 && rows.rows == x.rows);
  const double row_bytes = static_cast<double>(table.bytes()) / table.n;
  for (const WeightPart& part : table.parts) {
    const double share = static_cast<double>(part.count) / table.n;
    const Work work{static_cast<double>(x.elements()) * share,
                    (x.rows * row_bytes + static_cast<double>(x.bytes())) * share};
    stream.dispatch(kernel(stream.caps(), table.type, table.k % 4 == 0), {x, part.values, part.scales, rows},
                    EmbedParameters{table.k, part.first, part.count, by == EmbedBy::position, factor},
                    {x.rows}, work);
  }
}

std::vector<KernelSpec> embed_kernels(const Caps& caps) {
  std::vector<KernelSpec> specs;
  for (DType type : kWeightTypes)
    for (bool fours : {true, false})
      if (fours || !has_scales(type)) specs.push_back(kernel(caps, type, fours));
  return specs;
}

void reference::embed(std::span<double> x, std::span<const double> table, std::span<const Row> rows,
                      double factor, EmbedBy by) {
  const size_t dim = x.size() / rows.size();
  for (size_t i = 0; i < rows.size(); i++)
    if (rows[i].in_use) {
      const size_t entry = by == EmbedBy::position ? rows[i].position : rows[i].token;
      for (size_t k = 0; k < dim; k++) x[i * dim + k] = factor * table[entry * dim + k];
    }
}

}  // namespace spindle
