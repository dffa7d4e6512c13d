// Writes GGUF files in memory, sound ones and broken ones, for tests.
#ifndef SPINDLE_TESTS_GGUF_WRITER_H
#define SPINDLE_TESTS_GGUF_WRITER_H
#include <algorithm>
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
    put_value(add_entry(key), value);
  }
  void set(std::string_view key, const char* value) { set(key, std::string(value)); }
  // Takes a key or tensors out again; replace gives a key that is there another value.
  void erase(std::string_view key) {
    std::erase_if(entries_, [&](const Entry& e) { return e.key == key; });
  }
  void erase_tensor(std::string_view name) {
    std::erase_if(tensors_, [&](const Tensor& t) { return t.name == name; });
  }
  void erase_tensors() { tensors_.clear(); }
  const std::vector<Tensor>& tensors() const { return tensors_; }
  template <class T>
  void replace(std::string_view key, const T& value) {
    for (Entry& e : entries_)
      if (e.key == key) put_value(e.value = {}, value);
  }
  void replace(std::string_view key, const char* value) { replace(key, std::string(value)); }
  Tensor& tensor(std::string_view name) {
    return *std::find_if(tensors_.begin(), tensors_.end(), [&](const Tensor& t) { return t.name == name; });
  }
  // Any type number and any bytes behind it.
  void set_raw(std::string_view key, uint32_t type, std::span<const std::byte> bytes) {
    std::vector<std::byte>& value = add_entry(key);
    put(value, type);
    value.insert(value.end(), bytes.begin(), bytes.end());
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
    put(out, key_count.value_or(entries_.size()));
    for (const Entry& e : entries_) {
      put_string(out, e.key);
      out.insert(out.end(), e.value.begin(), e.value.end());
    }
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
  using Bytes = std::vector<std::byte>;
  template <class T>
  static void put_scalar(Bytes& out, const T& value) {
    if constexpr (std::is_same_v<T, std::string>) put_string(out, value);
    else if constexpr (std::is_same_v<T, bool>) put<uint8_t>(out, value ? 1 : 0);
    else put(out, value);
  }
  template <class T>
  static void put_value(Bytes& out, const T& value) {
    put(out, type_of<T>());
    put_scalar(out, value);
  }
  template <class T>
  static void put_value(Bytes& out, const std::vector<T>& values) {
    put<uint32_t>(out, 9);
    put(out, type_of<T>());
    put<uint64_t>(out, values.size());
    for (const T& value : values) put_scalar(out, value);
  }

  struct Entry {
    std::string key;
    Bytes value;  // its type first
  };
  Bytes& add_entry(std::string_view key) {
    entries_.push_back({std::string(key), {}});
    return entries_.back().value;
  }

  std::vector<Entry> entries_;
  std::vector<Tensor> tensors_;
};

}  // namespace spindle
#endif
