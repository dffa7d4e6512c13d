// Embedding: x[row] = factor * table[token of the row, or its position], from the same matrix that a tied
// output layer multiplies with.
#ifndef SPINDLE_SHADERS_EMBED_H
#define SPINDLE_SHADERS_EMBED_H
#include "shaders/common/glsl.h"
#include "shaders/common/rows.h"
#ifdef __cplusplus
#include <span>

#include "shaders/weight/weight.h"
namespace spindle {
#endif

struct EmbedParameters {
  uint dim;          // elements of a row
  uint first;        // token, or position, that the part's first output is
  uint count;        // outputs of the part
  uint by_position;  // the position of a row is looked up, not its token
  float factor;
};

#ifdef __cplusplus
enum class EmbedBy { token, position };

// x: f32 [rows, dim]; table: [vocabulary or positions, dim]; rows: u32 [rows, 4], see Row. Inactive rows
// and tokens outside the table leave x as it is.
void embed(Stream& stream, Tensor x, const Weight& table, Tensor rows, float factor = 1,
           EmbedBy by = EmbedBy::token);
// Every kernel that embed can use on such a device.
std::vector<KernelSpec> embed_kernels(const Caps& caps);

namespace reference {
// table: [vocabulary, dim].
void embed(std::span<double> x, std::span<const double> table, std::span<const Row> rows, double factor = 1,
           EmbedBy by = EmbedBy::token);
}  // namespace reference
}  // namespace spindle
#endif
#endif
