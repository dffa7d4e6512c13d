// Opening and reading a regular file, and noticing that it changed.
#include "models/input_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstring>
#include <utility>

#include "models/utf8.h"
#include "runtime/error.h"

namespace spindle {
namespace {

std::string kind_of(const struct stat& s) {
  if (S_ISDIR(s.st_mode)) return "a directory";
  if (S_ISFIFO(s.st_mode)) return "a pipe";
  if (S_ISSOCK(s.st_mode)) return "a socket";
  return "a device";
}

[[noreturn]] void fail_changed(const std::string& name, const std::string& how) {
  fail(ErrorKind::model_file, "{}: file changed while in use: {}", printable(name, 4096), how);
}

}  // namespace

InputFile InputFile::open(const std::string& path) {
  InputFile file;
  file.name_ = path;
  struct stat s = {};
  // Looked at before it is opened: opening some devices has effects.
  const bool found = ::stat(path.c_str(), &s) == 0;
  require(found || errno != ENOENT || ::lstat(path.c_str(), &s) != 0, ErrorKind::model_file,
          "{}: not a regular file: a link to something absent", printable(path, 4096));
  require(found, ErrorKind::model_file, "{}: cannot be opened: {}", printable(path, 4096),
          std::strerror(errno));
  require(S_ISREG(s.st_mode), ErrorKind::model_file, "{}: not a regular file: {}", printable(path, 4096),
          kind_of(s));
  file.fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  require(file.fd_ >= 0, ErrorKind::model_file, "{}: cannot be opened: {}", printable(path, 4096),
          std::strerror(errno));
  require(::fstat(file.fd_, &s) == 0 && S_ISREG(s.st_mode), ErrorKind::model_file, "{}: not a regular file",
          printable(path, 4096));
  file.size_ = static_cast<uint64_t>(s.st_size);
  file.mtime_s_ = s.st_mtim.tv_sec;
  file.mtime_ns_ = s.st_mtim.tv_nsec;
  return file;
}

InputFile InputFile::from_memory(std::vector<std::byte> bytes, std::string name) {
  InputFile file;
  file.name_ = std::move(name);
  file.size_ = bytes.size();
  file.bytes_ = std::move(bytes);
  return file;
}

InputFile::InputFile(InputFile&& other) noexcept { *this = std::move(other); }

InputFile& InputFile::operator=(InputFile&& other) noexcept {
  std::swap(name_, other.name_);
  std::swap(size_, other.size_);
  std::swap(fd_, other.fd_);
  std::swap(mtime_s_, other.mtime_s_);
  std::swap(mtime_ns_, other.mtime_ns_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

InputFile::~InputFile() {
  if (fd_ >= 0) ::close(fd_);
}

void InputFile::read(uint64_t offset, std::span<std::byte> out) const {
  assert(offset <= size_ && out.size() <= size_ - offset);
  if (out.empty()) return;
  if (fd_ < 0) {
    std::memcpy(out.data(), bytes_.data() + offset, out.size());
    return;
  }
  constexpr size_t kMostAtOnce = size_t{1} << 30;  // Linux reads at most 2 GiB a call
  uint64_t at = offset;
  for (std::span<std::byte> left = out; !left.empty();) {
    const ssize_t n = ::pread(fd_, left.data(), std::min(left.size(), kMostAtOnce), static_cast<off_t>(at));
    if (n < 0 && errno == EINTR) continue;
    require(n >= 0, ErrorKind::model_file, "{}: cannot read at byte {}: {}", printable(name_, 4096), at,
            std::strerror(errno));
    if (n == 0) fail_changed(name_, fmt::format("it ends at byte {}, and had {} bytes", at, size_));
    left = left.subspan(static_cast<size_t>(n));
    at += static_cast<uint64_t>(n);
  }
  check_unchanged();
}

void InputFile::check_unchanged() const {
  if (fd_ < 0) return;
  struct stat s = {};
  require(::fstat(fd_, &s) == 0, ErrorKind::model_file, "{}: {}", printable(name_, 4096),
          std::strerror(errno));
  const auto size = static_cast<uint64_t>(s.st_size);
  if (size != size_) fail_changed(name_, fmt::format("it had {} bytes and now has {}", size_, size));
  if (s.st_mtim.tv_sec != mtime_s_ || s.st_mtim.tv_nsec != mtime_ns_)
    fail_changed(name_, "it was written to since it was opened");
}

}  // namespace spindle
