// Element types: elements and bytes of one block, names, and GGUF's type numbers.
#ifndef SPINDLE_RUNTIME_DTYPE_H
#define SPINDLE_RUNTIME_DTYPE_H
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace spindle {

// The values are read by shaders too (WEIGHT_* in shaders/weight/weight.h).
enum class DType : uint32_t {
  f32,
  f16,
  q4_0,
  q8_0,
  u32,
  bf16,
  q4_1,
  q5_0,
  q5_1,
  q2_k,
  q3_k,
  q4_k,
  q5_k,
  q6_k,
  iq4_nl,
  iq4_xs,
  mxfp4
};

struct DTypeInfo {
  std::string_view name;
  uint32_t block_elements;
  uint32_t block_bytes;  // as GGUF stores it
  int gguf_type;         // -1: never in a file
};

const DTypeInfo& info(DType type);
std::optional<DType> find_dtype_by_gguf(uint32_t gguf_type);
std::optional<DType> find_dtype(std::string_view name);
// The names of the types that tensors of a file may have, for messages: "f32, f16, ...".
std::string file_dtype_names();

// Bytes of `elements` elements; elements must be whole blocks.
uint64_t bytes_of(DType type, uint64_t elements);

}  // namespace spindle
#endif
