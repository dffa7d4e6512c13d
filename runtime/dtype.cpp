// Element types: one table.
#include "runtime/dtype.h"

#include <array>
#include <cassert>

namespace spindle {
namespace {
constexpr std::array<DTypeInfo, 5> kTypes = {{
    {"f32", 1, 4, 0},
    {"f16", 1, 2, 1},
    {"q4_0", 32, 18, 2},
    {"q8_0", 32, 34, 8},
    {"u32", 1, 4, -1},
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

uint64_t bytes_of(DType type, uint64_t elements) {
  const DTypeInfo& t = info(type);
  assert(elements % t.block_elements == 0);
  return elements / t.block_elements * t.block_bytes;
}

}  // namespace spindle
