// Writes GGUF files in memory, sound ones and broken ones, for tests.
#ifndef SPINDLE_TESTS_GGUF_WRITER_H
#define SPINDLE_TESTS_GGUF_WRITER_H
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "runtime/dtype.h"

namespace spindle {

class GgufWriter {
 public:
  struct Tensor {
    std::string name;
    uint32_t type = 0;
    std::vector<uint64_t> dims;  // ne order
    std::vector<std::byte> bytes;
    std::optional<uint64_t> offset;  // in the data section, when it is to be a wrong one
    std::optional<uint32_t> n_dims;  // likewise
    std::optional<uint64_t> name_length;
  };

  // What goes into the header; the counts are those of what was added unless set.
  std::string magic = "GGUF";
  uint32_t version = 3;
  uint64_t alignment = 32;  // of the data section; set("general.alignment", ...) says so to the reader
  std::optional<uint64_t> tensor_count, key_count;

  // A number, bool, string or a vector of one of these. Twice the same key writes it twice.
  template <class T>
  void set(std::string_view key, const T& value) {
    put_string(metadata_, key);
    put_value(value);
    n_keys_++;
  }
  void set(std::string_view key, const char* value) { set(key, std::string(value)); }
  // Any type number and any bytes behind it.
  void set_raw(std::string_view key, uint32_t type, std::span<const std::byte> bytes) {
    put_string(metadata_, key);
    put(metadata_, type);
    metadata_.insert(metadata_.end(), bytes.begin(), bytes.end());
    n_keys_++;
  }

  Tensor& add_tensor(std::string name, uint32_t type, std::vector<uint64_t> dims,
                     std::span<const std::byte> bytes) {
    tensors_.push_back({std::move(name), type, std::move(dims), {bytes.begin(), bytes.end()}, {}, {}, {}});
    return tensors_.back();
  }
  Tensor& add_tensor(std::string name, DType type, std::vector<uint64_t> dims,
                     std::span<const std::byte> bytes) {
    return add_tensor(std::move(name), static_cast<uint32_t>(info(type).gguf_type), std::move(dims), bytes);
  }
  Tensor& add_tensor(std::string name, std::vector<uint64_t> dims, std::span<const float> values) {
    return add_tensor(std::move(name), DType::f32, std::move(dims), std::as_bytes(values));
  }

  std::vector<std::byte> finish() const {
    std::vector<std::byte> out;
    for (char c : magic) out.push_back(static_cast<std::byte>(c));
    put(out, version);
    put(out, tensor_count.value_or(tensors_.size()));
    put(out, key_count.value_or(n_keys_));
    out.insert(out.end(), metadata_.begin(), metadata_.end());
    uint64_t offset = 0;
    for (const Tensor& t : tensors_) {
      put(out, t.name_length.value_or(t.name.size()));
      for (char c : t.name) out.push_back(static_cast<std::byte>(c));
      put(out, t.n_dims.value_or(static_cast<uint32_t>(t.dims.size())));
      for (uint64_t dim : t.dims) put(out, dim);
      put(out, t.type);
      put(out, t.offset.value_or(offset));
      offset += (t.bytes.size() + alignment - 1) / alignment * alignment;
    }
    for (const Tensor& t : tensors_) {
      out.resize((out.size() + alignment - 1) / alignment * alignment);
      out.insert(out.end(), t.bytes.begin(), t.bytes.end());
    }
    return out;
  }

  template <class T>
  static void put(std::vector<std::byte>& out, T value) {
    static_assert(std::is_arithmetic_v<T>);
    const size_t at = out.size();
    out.resize(at + sizeof(T));
    std::memcpy(out.data() + at, &value, sizeof(T));
  }
  static void put_string(std::vector<std::byte>& out, std::string_view text) {
    put<uint64_t>(out, text.size());
    for (char c : text) out.push_back(static_cast<std::byte>(c));
  }

 private:
  template <class T>
  static constexpr uint32_t type_of() {
    if constexpr (std::is_same_v<T, bool>) return 7;
    if constexpr (std::is_same_v<T, std::string>) return 8;
    if constexpr (std::is_same_v<T, float>) return 6;
    if constexpr (std::is_same_v<T, double>) return 12;
    constexpr uint32_t kIntegers[] = {0, 2, 4, 10};  // u8 u16 u32 u64; the signed ones follow
    constexpr int kLog = sizeof(T) == 1 ? 0 : sizeof(T) == 2 ? 1 : sizeof(T) == 4 ? 2 : 3;
    return kIntegers[kLog] + (std::is_signed_v<T> ? 1 : 0);
  }
  template <class T>
  void put_scalar(const T& value) {
    if constexpr (std::is_same_v<T, std::string>) put_string(metadata_, value);
    else if constexpr (std::is_same_v<T, bool>) put<uint8_t>(metadata_, value ? 1 : 0);
    else put(metadata_, value);
  }
  template <class T>
  void put_value(const T& value) {
    put(metadata_, type_of<T>());
    put_scalar(value);
  }
  template <class T>
  void put_value(const std::vector<T>& values) {
    put<uint32_t>(metadata_, 9);
    put(metadata_, type_of<T>());
    put<uint64_t>(metadata_, values.size());
    for (const T& value : values) put_scalar(value);
  }

  std::vector<std::byte> metadata_;
  uint64_t n_keys_ = 0;
  std::vector<Tensor> tensors_;
};

}  // namespace spindle
#endif
