// Looking things up in a GGUF file that gguf_parser.cpp has read and checked.
#include "models/gguf.h"

#include <cassert>
#include <cmath>
#include <limits>
#include <type_traits>
#include <utility>

#include "models/utf8.h"
#include "runtime/error.h"

namespace spindle {
namespace {

constexpr std::array<std::string_view, 12> kGgufTypeNames = {"u8",  "i8",   "u16",    "i16", "u32", "i32",
                                                             "f32", "bool", "string", "u64", "i64", "f64"};

template <class T>
struct ElementOf {
  using type = T;
  static constexpr bool is_vector = false;
};
template <class T>
struct ElementOf<std::vector<T>> {
  using type = T;
  static constexpr bool is_vector = true;
};

template <class T>
constexpr bool is_integer = std::is_integral_v<T> && !std::is_same_v<T, bool>;

// A value of type From may be asked for as a To.
template <class To, class From>
constexpr bool converts = std::is_same_v<To, From> || (is_integer<To> && is_integer<From>) ||
                          (std::is_floating_point_v<To> && std::is_floating_point_v<From>);

template <class T>
std::string expected_name() {
  using Element = typename ElementOf<T>::type;
  const std::string_view name = is_integer<Element>                 ? "integer"
                                : std::is_floating_point_v<Element> ? "float"
                                : std::is_same_v<Element, bool>     ? "bool"
                                                                    : "string";
  return (ElementOf<T>::is_vector ? "array of " : "") + std::string(name);
}

template <class To, class From>
bool fits(const From& value) {
  if constexpr (is_integer<To> && is_integer<From>) return std::in_range<To>(value);
  else if constexpr (std::is_same_v<To, float> && std::is_same_v<From, double>)
    return !std::isfinite(value) || std::abs(value) <= double{std::numeric_limits<float>::max()};
  else return true;
}

template <class To, class From>
To convert(const Gguf& file, std::string_view key, const From& value) {
  if (!fits<To>(value)) {
    if constexpr (std::is_arithmetic_v<To>)
      file.fail_value(key, fmt::format("{}, allowed {} to {}", value, std::numeric_limits<To>::lowest(),
                                       std::numeric_limits<To>::max()));
  }
  if constexpr (std::is_arithmetic_v<To>) return static_cast<To>(value);
  else return value;
}

}  // namespace

std::string type_name(const GgufValue& value) {
  const size_t i = value.index();
  return (i >= kGgufTypeNames.size() ? "array of " : "") +
         std::string(kGgufTypeNames[i % kGgufTypeNames.size()]);
}

uint64_t Gguf::size_bytes() const {
  uint64_t bytes = 0;
  for (const InputFile& source : sources_) bytes += source.size();
  return bytes;
}

const GgufEntry* Gguf::find_entry(std::string_view key) const {
  const auto found = key_index_.find(key);
  return found == key_index_.end() ? nullptr : &metadata_[found->second];
}

template <class T>
std::optional<T> Gguf::find(std::string_view key) const {
  const GgufEntry* entry = find_entry(key);
  if (entry == nullptr) return std::nullopt;
  using ToElement = typename ElementOf<T>::type;
  return std::visit(
      [&](const auto& value) -> T {
        using From = std::decay_t<decltype(value)>;
        using FromElement = typename ElementOf<From>::type;
        if constexpr (ElementOf<T>::is_vector == ElementOf<From>::is_vector &&
                      converts<ToElement, FromElement>) {
          if constexpr (std::is_same_v<T, From>) {
            return value;
          } else if constexpr (ElementOf<T>::is_vector) {
            T all;
            all.reserve(value.size());
            for (const FromElement element : value) all.push_back(convert<ToElement>(*this, key, element));
            return all;
          } else {
            return convert<T>(*this, key, value);
          }
        } else {
          fail_value(key, fmt::format("expected {}, got {}", expected_name<T>(), type_name(entry->value)));
        }
      },
      entry->value);
}

template std::optional<int32_t> Gguf::find(std::string_view) const;
template std::optional<uint32_t> Gguf::find(std::string_view) const;
template std::optional<int64_t> Gguf::find(std::string_view) const;
template std::optional<uint64_t> Gguf::find(std::string_view) const;
template std::optional<float> Gguf::find(std::string_view) const;
template std::optional<double> Gguf::find(std::string_view) const;
template std::optional<bool> Gguf::find(std::string_view) const;
template std::optional<std::string> Gguf::find(std::string_view) const;
template std::optional<std::vector<int32_t>> Gguf::find(std::string_view) const;
template std::optional<std::vector<uint32_t>> Gguf::find(std::string_view) const;
template std::optional<std::vector<int64_t>> Gguf::find(std::string_view) const;
template std::optional<std::vector<uint64_t>> Gguf::find(std::string_view) const;
template std::optional<std::vector<float>> Gguf::find(std::string_view) const;
template std::optional<std::vector<double>> Gguf::find(std::string_view) const;
template std::optional<std::vector<bool>> Gguf::find(std::string_view) const;
template std::optional<std::vector<std::string>> Gguf::find(std::string_view) const;

void Gguf::fail_missing(std::string_view key) const {
  fail(ErrorKind::model_file, "{}: key '{}' is missing", printable(file(), 4096), printable(key));
}

void Gguf::fail_value(std::string_view key, std::string_view what) const {
  const GgufEntry* entry = find_entry(key);
  if (entry == nullptr) fail_missing(key);
  fail(ErrorKind::model_file, "{}: key '{}': value at byte {}: {}", printable(file(), 4096), printable(key),
       entry->offset, what);
}

const GgufTensor* Gguf::find_tensor(std::string_view name) const {
  const auto found = tensor_index_.find(name);
  return found == tensor_index_.end() ? nullptr : &tensors_[found->second];
}

const GgufTensor& Gguf::get_tensor(std::string_view name) const {
  const GgufTensor* tensor = find_tensor(name);
  require(tensor != nullptr, ErrorKind::model_file, "{}: tensor '{}' is missing", printable(file(), 4096),
          printable(name));
  return *tensor;
}

void Gguf::read_tensor(const GgufTensor& tensor, std::span<std::byte> out, uint64_t first_byte) const {
  assert(first_byte <= tensor.bytes && out.size() <= tensor.bytes - first_byte);
  sources_.at(tensor.shard).read(tensor.offset + first_byte, out);
}

}  // namespace spindle
