// A regular file opened read-only, or bytes in memory. Reads are checked: a file that changes is an error.
#ifndef SPINDLE_MODELS_INPUT_FILE_H
#define SPINDLE_MODELS_INPUT_FILE_H
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace spindle {

class InputFile {
 public:
  static InputFile open(const std::string& path);
  static InputFile from_memory(std::vector<std::byte> bytes, std::string name);
  InputFile(InputFile&& other) noexcept;
  InputFile& operator=(InputFile&& other) noexcept;
  ~InputFile();

  const std::string& name() const { return name_; }
  uint64_t size() const { return size_; }

  // Fills `out` from byte `offset` on, or throws; [offset, offset + out.size()) lies inside size().
  // May be called from several threads. pread, not mmap: a file that shrinks must not raise SIGBUS.
  void read(uint64_t offset, std::span<std::byte> out) const;

  // Throws when the size or the time of the last change is no longer what it was when opened.
  void check_unchanged() const;

 private:
  InputFile() = default;

  std::string name_;
  uint64_t size_ = 0;
  int fd_ = -1;                         // -1: in memory
  int64_t mtime_s_ = 0, mtime_ns_ = 0;  // when opened
  std::vector<std::byte> bytes_;
};

}  // namespace spindle
#endif
