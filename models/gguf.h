// GGUF files (version 2 and 3), one or several that belong together: typed metadata, and where each tensor
// lies. Everything is checked on opening.
#ifndef SPINDLE_MODELS_GGUF_H
#define SPINDLE_MODELS_GGUF_H
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

#include "models/input_file.h"

namespace spindle {

// Scalars in the order of kGgufTypeNames, then arrays of them in the same order.
using GgufValue =
    std::variant<uint8_t, int8_t, uint16_t, int16_t, uint32_t, int32_t, float, bool, std::string, uint64_t,
                 int64_t, double, std::vector<uint8_t>, std::vector<int8_t>, std::vector<uint16_t>,
                 std::vector<int16_t>, std::vector<uint32_t>, std::vector<int32_t>, std::vector<float>,
                 std::vector<bool>, std::vector<std::string>, std::vector<uint64_t>, std::vector<int64_t>,
                 std::vector<double>>;

std::string type_name(const GgufValue& value);  // "u32", "array of string"

struct GgufEntry {
  std::string key;
  uint64_t offset = 0;  // of the value, in the file
  GgufValue value;
};

struct GgufTensor {
  std::string name;
  uint32_t type = 0;  // GGUF's number; find_dtype_by_gguf says whether we compute with it
  uint32_t n_dims = 0;
  std::array<uint64_t, 4> dims = {1, 1, 1, 1};  // ne order: dims[0] is contiguous
  uint64_t offset = 0;                          // from the start of the file
  uint64_t bytes = 0;
  uint64_t info_offset = 0;  // of the tensor's entry in the header, for messages
  uint32_t shard = 0;        // which of the files holds it

  uint64_t elements() const { return dims[0] * dims[1] * dims[2] * dims[3]; }  // checked on opening
};

// Every block format that GGUF numbers, ours or not.
struct GgufTensorType {
  std::string_view name;
  uint32_t block_elements;
  uint32_t block_bytes;
};
const GgufTensorType* find_gguf_tensor_type(uint32_t type);

class Gguf {
 public:
  // Of a split model any shard may be named; the others lie beside it: NAME-00001-of-00003.gguf. The metadata
  // are those of the first, and so is file().
  static Gguf open(const std::string& path);
  static Gguf parse(std::vector<std::byte> bytes, std::string name);  // owns the bytes
  static Gguf parse(std::vector<InputFile> shards);                   // all of them, in order

  const std::string& file() const { return sources_.front().name(); }
  const std::string& file_of(const GgufTensor& tensor) const { return sources_.at(tensor.shard).name(); }
  size_t n_shards() const { return sources_.size(); }
  uint32_t version() const { return version_; }
  uint64_t size_bytes() const;  // of all shards

  const std::vector<GgufEntry>& metadata() const { return metadata_; }  // in file order
  const GgufEntry* find_entry(std::string_view key) const;
  bool has(std::string_view key) const { return find_entry(key) != nullptr; }

  // T: (u)int32_t, (u)int64_t (any integer type in the file, range checked), float, double, bool,
  // std::string, or a std::vector of these. Nothing when the key is absent; a value of another type throws.
  template <class T>
  std::optional<T> find(std::string_view key) const;
  template <class T>
  T get(std::string_view key) const {  // throws when the key is absent
    std::optional<T> value = find<T>(key);
    if (!value) fail_missing(key);
    return *std::move(value);
  }
  template <class T>
  T get_or(std::string_view key, T otherwise) const {
    std::optional<T> value = find<T>(key);
    return value ? *std::move(value) : std::move(otherwise);
  }
  // Throws "FILE: key 'KEY': value at byte N: WHAT": for values that are wrong in the reader's eyes.
  [[noreturn]] void fail_value(std::string_view key, std::string_view what) const;

  const std::vector<GgufTensor>& tensors() const { return tensors_; }  // in file order
  const GgufTensor* find_tensor(std::string_view name) const;
  const GgufTensor& get_tensor(std::string_view name) const;

  // Bytes [first_byte, first_byte + out.size()) of the tensor; may be called from several threads.
  void read_tensor(const GgufTensor& tensor, std::span<std::byte> out, uint64_t first_byte = 0) const;

 private:
  friend class GgufParser;
  explicit Gguf(InputFile source) { sources_.push_back(std::move(source)); }
  static Gguf read(InputFile file);                // one file, a shard or not
  static Gguf join(std::vector<Gguf> shards);      // gguf_split.cpp
  void check_shard(size_t index, size_t n) const;  // what the file says about itself
  [[noreturn]] void fail_missing(std::string_view key) const;

  std::vector<InputFile> sources_;
  uint32_t version_ = 0;
  std::vector<GgufEntry> metadata_;
  std::vector<GgufTensor> tensors_;
  std::unordered_map<std::string_view, size_t> key_index_, tensor_index_;  // views into the vectors above
};

}  // namespace spindle
#endif
