// The one bounded little-endian reader of every file format, and arithmetic that cannot wrap.
#ifndef SPINDLE_MODELS_BYTE_READER_H
#define SPINDLE_MODELS_BYTE_READER_H
#include <fmt/core.h>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "models/input_file.h"

namespace spindle {

static_assert(std::endian::native == std::endian::little, "files are read without swapping bytes");

// Nothing when the result does not fit in 64 bits.
constexpr std::optional<uint64_t> checked_add(uint64_t a, uint64_t b) {
  uint64_t sum = 0;
  if (__builtin_add_overflow(a, b, &sum)) return std::nullopt;
  return sum;
}
constexpr std::optional<uint64_t> checked_mul(uint64_t a, uint64_t b) {
  uint64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}
// The next multiple of `alignment`, a power of two.
constexpr std::optional<uint64_t> align_up(uint64_t value, uint64_t alignment) {
  const std::optional<uint64_t> up = checked_add(value, alignment - 1);
  if (!up) return std::nullopt;
  return *up & ~(alignment - 1);
}

// Reads forward; whatever would leave the data throws Error of kind model_file with the file, the field,
// the byte offset, what was found and what is allowed. `field` names the thing being read in messages.
class ByteReader {
 public:
  // Both borrow. `most` bounds how far may be read at all (a hostile header in a huge file).
  ByteReader(std::span<const std::byte> data, std::string file);
  explicit ByteReader(const InputFile& file, uint64_t most = UINT64_MAX);
  ByteReader(const ByteReader&) = delete;
  ByteReader& operator=(const ByteReader&) = delete;

  uint64_t position() const { return base_ + at_; }
  uint64_t size() const { return size_; }
  uint64_t remaining() const { return size_ - position(); }

  // In front of the field in messages: set_context("key", "general.name") gives key 'general.name'.
  // `kind` is a literal; building the text waits for the error, so that a million keys stay cheap.
  void set_context(std::string_view kind, std::string_view name = {}) {
    context_kind_ = kind;
    context_name_ = name;
  }

  template <class T>
  T read(std::string_view field) {
    static_assert(std::is_arithmetic_v<T> && !std::is_same_v<T, bool>);
    if (window_.size() - at_ < sizeof(T)) need(sizeof(T), field);
    T value;
    std::memcpy(&value, window_.data() + at_, sizeof(T));
    at_ += sizeof(T);
    return value;
  }
  bool read_bool(std::string_view field);  // one byte, 0 or 1
  void read_bytes(std::span<std::byte> out, std::string_view field);
  std::string string(std::string_view field);                   // a u64 length, then the bytes
  std::string string(std::string_view field, uint64_t length);  // the bytes alone
  template <class T>
  std::vector<T> array(std::string_view field, uint64_t count) {  // count values of T
    check_count(count, sizeof(T), field, position());
    std::vector<T> values(count);
    read_bytes(std::as_writable_bytes(std::span(values)), field);
    return values;
  }
  void skip(uint64_t bytes, std::string_view field);

  // Throws when `count` things of at least `least_bytes` each cannot lie in the rest. Before allocating.
  void check_count(uint64_t count, uint64_t least_bytes, std::string_view field, uint64_t field_at) const;

  // Throws "FILE: CONTEXT: FIELD at byte AT: WHAT".
  [[noreturn]] void fail(std::string_view field, uint64_t at, std::string_view what) const;

 private:
  // Makes the next `bytes` (few) lie in the window, or throws.
  void need(size_t bytes, std::string_view field);
  void check_left(uint64_t bytes, std::string_view field) const;
  std::string where() const;  // the file and the context

  const InputFile* source_ = nullptr;  // null: the window is everything
  std::string file_;
  std::string_view context_kind_;
  std::string context_name_;
  uint64_t size_, most_;
  std::vector<std::byte> buffer_;
  std::span<const std::byte> window_;  // bytes [base_, base_ + window_.size()) of the file
  uint64_t base_ = 0;
  size_t at_ = 0;  // in the window
};

}  // namespace spindle
#endif
