// Tuning file: a line that says what it is, "name: number number ..." lines, a line with the hash of those
// before it.
#include "runtime/tuning.h"

#include <fmt/core.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <sstream>

#include "runtime/error.h"

namespace spindle {
namespace {

constexpr const char* kFirstLine = "spindle tuning 1\n";
constexpr size_t kMostBytes = 1 << 16;

std::string hash_line(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325u;  // FNV-1a
  for (char c : text) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3u;
  return fmt::format("hash {:016x}\n", hash);
}

}  // namespace

std::filesystem::path tuning_file(const std::filesystem::path& directory, const DeviceInfo& device) {
  std::string driver;
  for (uint8_t byte : device.driver_uuid) driver += fmt::format("{:02x}", byte);
  return directory / fmt::format("tuning-{:04x}-{:04x}-{}-{}.txt", device.vendor_id, device.device_id, driver,
                                 device.caps.subgroup_size);
}

Tuning load_tuning(const std::filesystem::path& directory, const DeviceInfo& device) {
  if (directory.empty()) return {};
  const std::filesystem::path file = tuning_file(directory, device);
  std::ifstream in(file, std::ios::binary);
  if (!in) return {};
  std::string text(kMostBytes, 0);
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(in.gcount()));
  const size_t end = text.rfind("hash ");
  if (!text.starts_with(kFirstLine) || end == std::string::npos ||
      text.substr(end) != hash_line(std::string_view(text).substr(0, end))) {
    fmt::print(stderr,
               "warning: {} is damaged or of another version and is ignored: run spindle bench --tune\n",
               file.string());
    return {};
  }
  Tuning tuning;
  std::istringstream lines(text.substr(0, end));
  std::string line;
  std::getline(lines, line);
  while (std::getline(lines, line)) {
    const size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    std::istringstream numbers(line.substr(colon + 1));
    tuning[line.substr(0, colon)] = {std::istream_iterator<uint32_t>(numbers), {}};
  }
  return tuning;
}

void save_tuning(const std::filesystem::path& directory, const DeviceInfo& device, const Tuning& tuning) {
  require(!directory.empty(), ErrorKind::usage,
          "there is no cache directory to keep the choice in: set SPINDLE_CACHE_DIR");
  std::string text = kFirstLine;
  for (const auto& [name, numbers] : tuning) {
    text += name + ":";
    for (uint32_t n : numbers) text += fmt::format(" {}", n);
    text += "\n";
  }
  text += hash_line(text);
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  const std::filesystem::path file = tuning_file(directory, device);
  const std::string temporary = file.string() + fmt::format(".{}", ::getpid());
  std::ofstream out(temporary, std::ios::binary);
  out << text;
  out.close();
  if (out) std::filesystem::rename(temporary, file, error);
  require(out && !error, "{}: cannot be written", file.string());
}

}  // namespace spindle
