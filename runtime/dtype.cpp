// Element types: one table.
#include "runtime/dtype.h"

#include <array>
#include <cassert>

namespace spindle {
namespace {
constexpr std::array<DTypeInfo, 17> kTypes = {{
    {"f32", 1, 4, 0},
    {"f16", 1, 2, 1},
    {"q4_0", 32, 18, 2},
    {"q8_0", 32, 34, 8},
    {"u32", 1, 4, -1},
    {"bf16", 1, 2, 30},
    {"q4_1", 32, 20, 3},
    {"q5_0", 32, 22, 6},
    {"q5_1", 32, 24, 7},
    {"q2_k", 256, 84, 10},
    {"q3_k", 256, 110, 11},
    {"q4_k", 256, 144, 12},
    {"q5_k", 256, 176, 13},
    {"q6_k", 256, 210, 14},
    {"iq4_nl", 32, 18, 20},
    {"iq4_xs", 256, 136, 23},
    {"mxfp4", 32, 17, 39},
}};
}  // namespace

const DTypeInfo& info(DType type) { return kTypes.at(static_cast<size_t>(type)); }

std::optional<DType> find_dtype_by_gguf(uint32_t gguf_type) {
  for (size_t i = 0; i < kTypes.size(); i++)
    if (kTypes[i].gguf_type >= 0 && static_cast<uint32_t>(kTypes[i].gguf_type) == gguf_type)
      return static_cast<DType>(i);
  return std::nullopt;
}

std::optional<DType> find_dtype(std::string_view name) {
  for (size_t i = 0; i < kTypes.size(); i++)
    if (kTypes[i].name == name) return static_cast<DType>(i);
  return std::nullopt;
}

std::string file_dtype_names() {
  std::string names;
  for (const DTypeInfo& t : kTypes)
    if (t.gguf_type >= 0) names += (names.empty() ? "" : ", ") + std::string(t.name);
  return names;
}

uint64_t bytes_of(DType type, uint64_t elements) {
  const DTypeInfo& t = info(type);
  assert(elements % t.block_elements == 0);
  return elements / t.block_elements * t.block_bytes;
}

}  // namespace spindle
