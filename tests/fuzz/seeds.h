// Where a fuzz target writes the inputs that it starts from: call it in LLVMFuzzerInitialize.
#ifndef SPINDLE_TESTS_FUZZ_SEEDS_H
#define SPINDLE_TESTS_FUZZ_SEEDS_H
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>

namespace spindle::test {

// Into the folder that SPINDLE_FUZZ_SEEDS names, if any.
inline void write_seed(const std::string& name, std::span<const std::byte> bytes) {
  const char* folder = std::getenv("SPINDLE_FUZZ_SEEDS");
  if (!folder) return;
  std::filesystem::create_directories(folder);
  std::ofstream(std::filesystem::path(folder) / name, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

}  // namespace spindle::test
#endif
