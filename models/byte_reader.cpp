// The bounded reader: a window on the file, moved forward as reading goes on.
#include "models/byte_reader.h"

#include <algorithm>

#include "models/utf8.h"
#include "runtime/error.h"

namespace spindle {
namespace {
constexpr size_t kWindowBytes = 256 << 10;
}

ByteReader::ByteReader(std::span<const std::byte> data, std::string file)
    : file_(std::move(file)), size_(data.size()), most_(UINT64_MAX), window_(data) {}

ByteReader::ByteReader(const InputFile& file, uint64_t most)
    : source_(&file), file_(file.name()), size_(file.size()), most_(most) {}

std::string ByteReader::where() const {
  std::string text = printable(file_, 4096) + ": ";
  if (context_kind_.empty()) return text;
  text += context_kind_;
  if (!context_name_.empty()) text += " '" + printable(context_name_) + "'";
  return text + ": ";
}

void ByteReader::fail(std::string_view field, uint64_t at, std::string_view what) const {
  spindle::fail(ErrorKind::model_file, "{}{} at byte {}: {}", where(), field, at, what);
}

void ByteReader::check_left(uint64_t bytes, std::string_view field) const {
  if (bytes > remaining())
    spindle::fail(ErrorKind::model_file, "{}truncated reading {} at byte {}: {} bytes needed, {} left",
                  where(), field, position(), bytes, remaining());
  if (position() > most_ || bytes > most_ - position())
    fail(field, position(), fmt::format("{} bytes from here, allowed up to byte {}", bytes, most_));
}

void ByteReader::check_count(uint64_t count, uint64_t least_bytes, std::string_view field,
                             uint64_t field_at) const {
  const uint64_t end = std::min(size_, most_);
  const uint64_t allowed = position() < end ? (end - position()) / least_bytes : 0;
  if (count > allowed)
    fail(field, field_at,
         fmt::format("{} exceeds {}, allowed 0 to {}", count,
                     most_ < size_ ? fmt::format("the first {} bytes of the file", most_) : "the file",
                     allowed));
}

void ByteReader::need(size_t bytes, std::string_view field) {
  check_left(bytes, field);
  const uint64_t from = position();
  buffer_.resize(std::min<uint64_t>(kWindowBytes, size_ - from));
  source_->read(from, buffer_);  // in memory the window is everything, and check_left has thrown
  window_ = buffer_;
  base_ = from;
  at_ = 0;
}

void ByteReader::read_bytes(std::span<std::byte> out, std::string_view field) {
  check_left(out.size(), field);
  const size_t here = std::min(out.size(), window_.size() - at_);
  if (here > 0) std::memcpy(out.data(), window_.data() + at_, here);
  at_ += here;
  out = out.subspan(here);
  if (out.empty()) return;
  if (out.size() < kWindowBytes / 2) {  // strings: through the window
    need(out.size(), field);
    std::memcpy(out.data(), window_.data(), out.size());
    at_ = out.size();
  } else {
    source_->read(position(), out);
    base_ = position() + out.size();
    window_ = {};
    at_ = 0;
  }
}

void ByteReader::skip(uint64_t bytes, std::string_view field) {
  check_left(bytes, field);
  if (bytes <= window_.size() - at_) {
    at_ += bytes;
  } else {
    base_ = position() + bytes;
    window_ = {};
    at_ = 0;
  }
}

bool ByteReader::read_bool(std::string_view field) {
  const uint64_t at = position();
  const auto value = read<uint8_t>(field);
  if (value > 1) fail(field, at, fmt::format("bool is {}, allowed 0 or 1", value));
  return value == 1;
}

std::string ByteReader::string(std::string_view field) {
  const uint64_t at = position();
  const auto length = read<uint64_t>(field);
  check_count(length, 1, field, at);
  return string(field, length);
}

std::string ByteReader::string(std::string_view field, uint64_t length) {
  check_left(length, field);
  std::string text(length, '\0');
  read_bytes(std::as_writable_bytes(std::span(text)), field);
  return text;
}

}  // namespace spindle
