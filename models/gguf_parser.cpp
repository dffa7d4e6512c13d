// Reads and checks the header of a GGUF file: in linear time, and before allocating what a count asks for.
// The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
#include <algorithm>
#include <numeric>
#include <utility>

#include "models/byte_reader.h"
#include "models/gguf.h"
#include "models/utf8.h"
#include "runtime/dtype.h"

namespace spindle {
namespace {

constexpr uint64_t kMostHeaderBytes = 256 << 20;  // the largest vocabularies take about 20 MB
constexpr uint64_t kMostEntries = 1 << 20;        // keys, and tensors
constexpr uint64_t kMostKeyBytes = 65535;         // the format's own limit
constexpr uint64_t kMostTensorNameBytes = 64;     // likewise
constexpr uint64_t kMostAlignment = 1 << 20;
constexpr uint32_t kArrayType = 9;
constexpr uint64_t kLeastEntryBytes = 8 + 1 + 4 + 1;           // length, one byte of key, type, value
constexpr uint64_t kLeastTensorBytes = 8 + 1 + 4 + 8 + 4 + 8;  // length, name, n_dims, one dim, type, offset

// GGUF's numbers; an empty name is a slot no longer or not yet in use.
constexpr std::array<GgufTensorType, 43> kTensorTypes = {{
    {"f32", 1, 4},
    {"f16", 1, 2},
    {"q4_0", 32, 18},
    {"q4_1", 32, 20},
    {},
    {},
    {"q5_0", 32, 22},
    {"q5_1", 32, 24},
    {"q8_0", 32, 34},
    {"q8_1", 32, 36},
    {"q2_k", 256, 84},
    {"q3_k", 256, 110},
    {"q4_k", 256, 144},
    {"q5_k", 256, 176},
    {"q6_k", 256, 210},
    {"q8_k", 256, 292},
    {"iq2_xxs", 256, 66},
    {"iq2_xs", 256, 74},
    {"iq3_xxs", 256, 98},
    {"iq1_s", 256, 50},
    {"iq4_nl", 32, 18},
    {"iq3_s", 256, 110},
    {"iq2_s", 256, 82},
    {"iq4_xs", 256, 136},
    {"i8", 1, 1},
    {"i16", 1, 2},
    {"i32", 1, 4},
    {"i64", 1, 8},
    {"f64", 1, 8},
    {"iq1_m", 256, 56},
    {"bf16", 1, 2},
    {},
    {},
    {},
    {"tq1_0", 256, 54},
    {"tq2_0", 256, 66},
    {},
    {},
    {},
    {"mxfp4", 32, 17},
    {"nvfp4", 64, 36},
    {"q1_0", 128, 18},
    {"q2_0", 64, 18},
}};

bool is_clean(std::string_view text) {
  return is_utf8(text) && std::none_of(text.begin(), text.end(), [](char c) {
           return static_cast<unsigned char>(c) < 0x20 || c == 0x7F;
         });
}

}  // namespace

const GgufTensorType* find_gguf_tensor_type(uint32_t type) {
  return type < kTensorTypes.size() && !kTensorTypes[type].name.empty() ? &kTensorTypes[type] : nullptr;
}

class GgufParser {
 public:
  explicit GgufParser(InputFile source)
      : gguf_(std::move(source)), reader_(gguf_.sources_.front(), kMostHeaderBytes) {}

  Gguf parse() {
    const uint64_t n_tensors = read_head();
    read_metadata();
    read_tensor_infos(n_tensors);
    place_tensors();
    gguf_.sources_.front().check_unchanged();
    return std::move(gguf_);
  }

 private:
  uint64_t read_head();
  void read_metadata();
  GgufValue read_value(uint32_t type);
  GgufValue read_array();
  void read_tensor_infos(uint64_t n_tensors);
  void read_shape(GgufTensor& tensor);
  void place_tensors();
  uint64_t read_count(std::string_view field, uint64_t least_bytes);
  uint64_t alignment() const;

  Gguf gguf_;
  ByteReader reader_;
  uint64_t n_keys_ = 0;
};

uint64_t GgufParser::read_count(std::string_view field, uint64_t least_bytes) {
  const uint64_t at = reader_.position();
  const auto count = reader_.read<uint64_t>(field);
  reader_.check_count(count, least_bytes, field, at);
  if (count > kMostEntries)
    reader_.fail(field, at, fmt::format("{} are too many, allowed 0 to {}", count, kMostEntries));
  return count;
}

uint64_t GgufParser::read_head() {
  constexpr uint64_t kHeadBytes = 24;
  if (reader_.size() < kHeadBytes) reader_.set_context("not GGUF");
  std::array<char, 4> magic = {};
  reader_.read_bytes(std::as_writable_bytes(std::span(magic)), "magic");
  const std::string_view found(magic.data(), magic.size());
  if (found != "GGUF") {
    reader_.set_context("not GGUF");
    reader_.fail(
        "magic", 0,
        fmt::format("'{}', expected 'GGUF'{}", printable(found), found == "FUGG" ? " (byte-swapped)" : ""));
  }
  gguf_.version_ = reader_.read<uint32_t>("version");
  if (gguf_.version_ != 2 && gguf_.version_ != 3)
    reader_.fail("version", 4,
                 fmt::format("{}, allowed 2 to 3{}", gguf_.version_,
                             (gguf_.version_ & 0xFFFF) == 0 && gguf_.version_ != 0
                                 ? " (the file is byte-swapped: big-endian files are not supported)"
                                 : ""));
  const uint64_t n_tensors = read_count("tensor count", kLeastTensorBytes);
  n_keys_ = read_count("key count", kLeastEntryBytes);
  return n_tensors;
}

void GgufParser::read_metadata() {
  gguf_.metadata_.reserve(n_keys_);
  gguf_.key_index_.reserve(n_keys_);
  for (uint64_t i = 0; i < n_keys_; i++) {
    reader_.set_context("metadata");
    const uint64_t at = reader_.position();
    const auto length = reader_.read<uint64_t>("key length");
    reader_.check_count(length, 1, "key length", at);
    if (length == 0 || length > kMostKeyBytes)
      reader_.fail("key length", at,
                   fmt::format("bad key of {} bytes, allowed 1 to {}", length, kMostKeyBytes));
    GgufEntry entry;
    entry.key = reader_.string("key", length);
    if (!is_clean(entry.key))
      reader_.fail(
          "key", at + 8,
          fmt::format("bad key '{}', allowed is UTF-8 without control characters", printable(entry.key)));
    reader_.set_context("key", entry.key);
    const uint64_t type_at = reader_.position();
    const auto type = reader_.read<uint32_t>("value type");
    if (type > 12) reader_.fail("value type", type_at, fmt::format("unknown type {}, allowed 0 to 12", type));
    entry.offset = reader_.position();
    entry.value = type == kArrayType ? read_array() : read_value(type);
    gguf_.metadata_.push_back(std::move(entry));
    if (!gguf_.key_index_.emplace(gguf_.metadata_.back().key, i).second)
      reader_.fail("key", at + 8, "duplicate, allowed once");
  }
  reader_.set_context("");
}

GgufValue GgufParser::read_value(uint32_t type) {
  switch (type) {
    case 0:
      return reader_.read<uint8_t>("value");
    case 1:
      return reader_.read<int8_t>("value");
    case 2:
      return reader_.read<uint16_t>("value");
    case 3:
      return reader_.read<int16_t>("value");
    case 4:
      return reader_.read<uint32_t>("value");
    case 5:
      return reader_.read<int32_t>("value");
    case 6:
      return reader_.read<float>("value");
    case 7:
      return reader_.read_bool("value");
    case 8:
      return reader_.string("value");
    case 10:
      return reader_.read<uint64_t>("value");
    case 11:
      return reader_.read<int64_t>("value");
    default:
      return reader_.read<double>("value");
  }
}

GgufValue GgufParser::read_array() {
  const uint64_t type_at = reader_.position();
  const auto type = reader_.read<uint32_t>("array element type");
  if (type == kArrayType)
    reader_.fail("array element type", type_at, "an array of arrays, which is not supported");
  if (type > 12)
    reader_.fail("array element type", type_at, fmt::format("unknown type {}, allowed 0 to 12", type));
  const uint64_t count_at = reader_.position();
  const auto count = reader_.read<uint64_t>("array count");
  constexpr uint64_t kLeastBytes[13] = {1, 1, 2, 2, 4, 4, 4, 1, 8, 1, 8, 8, 8};
  reader_.check_count(count, kLeastBytes[type], "array count", count_at);
  switch (type) {
    case 0:
      return reader_.array<uint8_t>("array", count);
    case 1:
      return reader_.array<int8_t>("array", count);
    case 2:
      return reader_.array<uint16_t>("array", count);
    case 3:
      return reader_.array<int16_t>("array", count);
    case 4:
      return reader_.array<uint32_t>("array", count);
    case 5:
      return reader_.array<int32_t>("array", count);
    case 6:
      return reader_.array<float>("array", count);
    case 7: {
      std::vector<bool> values(count);
      for (uint64_t i = 0; i < count; i++) values[i] = reader_.read_bool("array element");
      return values;
    }
    case 8: {
      std::vector<std::string> values;
      for (uint64_t i = 0; i < count; i++) values.push_back(reader_.string("array element"));
      return values;
    }
    case 10:
      return reader_.array<uint64_t>("array", count);
    case 11:
      return reader_.array<int64_t>("array", count);
    default:
      return reader_.array<double>("array", count);
  }
}

uint64_t GgufParser::alignment() const {
  const uint64_t value = gguf_.find<uint64_t>("general.alignment").value_or(32);
  if (value == 0 || value > kMostAlignment || !std::has_single_bit(value))
    gguf_.fail_value("general.alignment",
                     fmt::format("{}, allowed a power of two from 1 to {}", value, kMostAlignment));
  return value;
}

void GgufParser::read_tensor_infos(uint64_t n_tensors) {
  gguf_.tensors_.reserve(n_tensors);
  gguf_.tensor_index_.reserve(n_tensors);
  for (uint64_t i = 0; i < n_tensors; i++) {
    reader_.set_context("tensor list");
    GgufTensor tensor;
    tensor.info_offset = reader_.position();
    const auto length = reader_.read<uint64_t>("name length");
    reader_.check_count(length, 1, "name length", tensor.info_offset);
    if (length == 0 || length > kMostTensorNameBytes)
      reader_.fail("name length", tensor.info_offset,
                   fmt::format("bad tensor name of {} bytes, allowed 1 to {}", length, kMostTensorNameBytes));
    tensor.name = reader_.string("name", length);
    if (!is_clean(tensor.name))
      reader_.fail("name", tensor.info_offset + 8,
                   fmt::format("bad tensor name '{}', allowed is UTF-8 without control characters",
                               printable(tensor.name)));
    reader_.set_context("tensor", tensor.name);
    read_shape(tensor);
    tensor.offset = reader_.read<uint64_t>("offset");  // in the data section, for now
    gguf_.tensors_.push_back(std::move(tensor));
    if (!gguf_.tensor_index_.emplace(gguf_.tensors_.back().name, i).second)
      reader_.fail("name", gguf_.tensors_.back().info_offset + 8, "bad tensor name: duplicate, allowed once");
  }
  reader_.set_context("");
}

void GgufParser::read_shape(GgufTensor& tensor) {
  const uint64_t n_dims_at = reader_.position();
  tensor.n_dims = reader_.read<uint32_t>("dimension count");
  if (tensor.n_dims < 1 || tensor.n_dims > 4)
    reader_.fail("dimension count", n_dims_at, fmt::format("bad shape: {}, allowed 1 to 4", tensor.n_dims));
  const uint64_t dims_at = reader_.position();
  std::optional<uint64_t> elements = 1;
  for (uint32_t d = 0; d < tensor.n_dims; d++) {
    const uint64_t at = reader_.position();
    tensor.dims[d] = reader_.read<uint64_t>("dimension");
    if (tensor.dims[d] == 0 || tensor.dims[d] > INT64_MAX)
      reader_.fail("dimension", at,
                   fmt::format("bad shape: dimension {} is {}, allowed 1 to {}", d,
                               static_cast<int64_t>(tensor.dims[d]), INT64_MAX));
    if (elements) elements = checked_mul(*elements, tensor.dims[d]);
  }
  const auto shape = [&] {
    return fmt::format("[{}, {}, {}, {}]", tensor.dims[0], tensor.dims[1], tensor.dims[2], tensor.dims[3]);
  };
  const uint64_t type_at = reader_.position();
  tensor.type = reader_.read<uint32_t>("type");
  const GgufTensorType* type = find_gguf_tensor_type(tensor.type);
  if (type == nullptr)
    reader_.fail("type", type_at,
                 fmt::format("unsupported type {}, no type that is in use; supported are: {}",
                             static_cast<int32_t>(tensor.type), file_dtype_names()));
  if (!elements || *elements > INT64_MAX)
    reader_.fail("shape", dims_at,
                 fmt::format("{} overflows, allowed up to {} elements", shape(), INT64_MAX));
  if (tensor.dims[0] % type->block_elements != 0)
    reader_.fail("shape", dims_at,
                 fmt::format("bad shape: rows of {} elements, allowed multiples of {}, the block of {}",
                             tensor.dims[0], type->block_elements, type->name));
  const std::optional<uint64_t> bytes = checked_mul(*elements / type->block_elements, type->block_bytes);
  if (!bytes || *bytes > INT64_MAX)
    reader_.fail("shape", dims_at,
                 fmt::format("{} of {} overflows, allowed up to {} bytes", shape(), type->name, INT64_MAX));
  tensor.bytes = *bytes;
}

void GgufParser::place_tensors() {
  const uint64_t align = alignment();
  const uint64_t data = *align_up(reader_.position(), align);
  for (GgufTensor& tensor : gguf_.tensors_) {
    reader_.set_context("tensor", tensor.name);
    const uint64_t at = tensor.info_offset + 8 + tensor.name.size() + 4 + 8 * tensor.n_dims + 4;
    if (tensor.offset % align != 0)
      reader_.fail("offset", at,
                   fmt::format("bad offset: {} is no multiple of the alignment {}", tensor.offset, align));
    const std::optional<uint64_t> begin = checked_add(data, tensor.offset);
    const std::optional<uint64_t> end = begin ? checked_add(*begin, tensor.bytes) : std::nullopt;
    if (!end || *end > reader_.size())
      reader_.fail(
          "offset", at,
          fmt::format(
              "bad offset or truncated file: {} and the {} bytes of data end behind the file, which has "
              "{} bytes, {} of them data",
              tensor.offset, tensor.bytes, reader_.size(), reader_.size() - std::min(reader_.size(), data)));
    tensor.offset = *begin;
  }
  if (gguf_.tensors_.empty() && reader_.size() > data)
    reader_.fail("data", data,
                 fmt::format("{} bytes behind the header, of a file without tensors: wrong counts?",
                             reader_.size() - data));
  std::vector<size_t> order(gguf_.tensors_.size());
  std::iota(order.begin(), order.end(), size_t{0});
  const auto before = [&](size_t a, size_t b) { return gguf_.tensors_[a].offset < gguf_.tensors_[b].offset; };
  if (!std::is_sorted(order.begin(), order.end(), before)) std::sort(order.begin(), order.end(), before);
  // Nothing may lie between two tensors but padding: then a wrong size, type or count does not go unnoticed.
  uint64_t expected = data;
  for (size_t i = 0; i < order.size(); i++) {
    const GgufTensor& tensor = gguf_.tensors_[order[i]];
    reader_.set_context("tensor", tensor.name);
    const auto previous = [&] {
      return i == 0 ? "the header" : fmt::format("tensor '{}'", printable(gguf_.tensors_[order[i - 1]].name));
    };
    if (tensor.offset < expected)
      reader_.fail("data", tensor.offset,
                   fmt::format("bad offset: overlaps {}, which ends at byte {}", previous(), expected));
    if (tensor.offset > *align_up(expected, align))
      reader_.fail(
          "data", tensor.offset,
          fmt::format("bad offset: a gap of {} bytes behind {}, allowed is padding to a multiple of {}",
                      tensor.offset - expected, previous(), align));
    expected = tensor.offset + tensor.bytes;
  }
}

Gguf Gguf::read(InputFile file) { return GgufParser(std::move(file)).parse(); }

}  // namespace spindle
