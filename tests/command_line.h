// Runs the `spindle` program as people do, and files to give it.
#ifndef SPINDLE_TESTS_COMMAND_LINE_H
#define SPINDLE_TESTS_COMMAND_LINE_H
#include <fmt/core.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>
#include <string>

namespace spindle::test {

struct Output {
  int code = 0;
  std::string out, err;
};

inline std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

inline Output spindle_command(const std::string& arguments) {
  const std::string base = fmt::format("{}.test-{}", SPINDLE_EXECUTABLE, ::getpid());
  const int status = std::system(
      fmt::format("'{}' {} >'{}.out' 2>'{}.err'", SPINDLE_EXECUTABLE, arguments, base, base).c_str());
  const Output o{WIFEXITED(status) ? WEXITSTATUS(status) : 128, read_file(base + ".out"),
                 read_file(base + ".err")};
  std::remove((base + ".out").c_str());
  std::remove((base + ".err").c_str());
  return o;
}

// A folder of this test's own beside the program, gone at the end.
class Folder {
 public:
  explicit Folder(const std::string& name)
      : path_(fmt::format("{}.test-{}-{}", SPINDLE_EXECUTABLE, name, ::getpid())) {
    std::filesystem::create_directories(path_);
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  std::string write(const std::string& name, std::span<const std::byte> bytes) const {
    std::ofstream(*this / name, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    return *this / name;
  }

 private:
  std::string path_;
};

}  // namespace spindle::test
#endif
