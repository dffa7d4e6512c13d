// Element types: elements and bytes of one block, names, and GGUF's type numbers.
#ifndef SPINDLE_RUNTIME_DTYPE_H
#define SPINDLE_RUNTIME_DTYPE_H
#include <cstdint>
#include <optional>
#include <string_view>

namespace spindle {

// The values are read by shaders too (shaders/common/dtype.glsl).
enum class DType : uint32_t { f32 = 0, f16 = 1, q4_0 = 2, q8_0 = 3, u32 = 4 };

struct DTypeInfo {
  std::string_view name;
  uint32_t block_elements;
  uint32_t block_bytes;  // as GGUF stores it
  int gguf_type;         // -1: never in a file
};

const DTypeInfo& info(DType type);
std::optional<DType> find_dtype_by_gguf(uint32_t gguf_type);
std::optional<DType> find_dtype(std::string_view name);

// Bytes of `elements` elements; elements must be whole blocks.
uint64_t bytes_of(DType type, uint64_t elements);

}  // namespace spindle
#endif
