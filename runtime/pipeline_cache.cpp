// Pipeline cache file: Header, then the driver's data.
#include "runtime/pipeline_cache.h"

#include <fmt/core.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <fstream>

namespace spindle {
namespace {

struct Header {
  char magic[8] = {'S', 'P', 'N', 'D', 'P', 'C', '0', '1'};
  uint32_t vendor_id = 0, device_id = 0;
  uint8_t driver_uuid[16] = {}, pipeline_cache_uuid[16] = {};
  uint64_t bytes = 0;
  uint64_t hash = 0;  // FNV-1a of the data
};
static_assert(sizeof(Header) == 64);

Header header_for(const DeviceInfo& device, const std::vector<std::byte>& data) {
  Header h;
  h.vendor_id = device.vendor_id;
  h.device_id = device.device_id;
  std::memcpy(h.driver_uuid, device.driver_uuid, 16);
  std::memcpy(h.pipeline_cache_uuid, device.pipeline_cache_uuid, 16);
  h.bytes = data.size();
  h.hash = 0xcbf29ce484222325u;
  for (std::byte b : data) h.hash = (h.hash ^ static_cast<uint8_t>(b)) * 0x100000001b3u;
  return h;
}

std::filesystem::path file_for(const std::filesystem::path& directory, const DeviceInfo& device) {
  return directory / fmt::format("pipelines-{:04x}-{:04x}.bin", device.vendor_id, device.device_id);
}

}  // namespace

std::filesystem::path cache_directory() {
  if (const char* own = std::getenv("SPINDLE_CACHE_DIR")) return own;
  if (const char* xdg = std::getenv("XDG_CACHE_HOME"); xdg && *xdg)
    return std::filesystem::path(xdg) / "spindle";
  if (const char* home = std::getenv("HOME"); home && *home)
    return std::filesystem::path(home) / ".cache/spindle";
  return {};
}

std::vector<std::byte> load_pipeline_cache(const std::filesystem::path& directory, const DeviceInfo& device) {
  if (directory.empty()) return {};
  std::ifstream in(file_for(directory, device), std::ios::binary | std::ios::ate);
  const std::streamoff size = in ? static_cast<std::streamoff>(in.tellg()) : 0;
  constexpr std::streamoff header_bytes = sizeof(Header), max_bytes = 256 << 20;
  if (size <= header_bytes || size > max_bytes) return {};
  Header found;
  std::vector<std::byte> data(static_cast<size_t>(size - header_bytes));
  in.seekg(0);
  in.read(reinterpret_cast<char*>(&found), sizeof found);
  in.read(reinterpret_cast<char*>(data.data()), static_cast<std::streamsize>(data.size()));
  const Header expected = header_for(device, data);
  if (!in || std::memcmp(&found, &expected, sizeof found) != 0) return {};
  return data;
}

void save_pipeline_cache(const std::filesystem::path& directory, const DeviceInfo& device,
                         const std::vector<std::byte>& data) {
  if (directory.empty() || data.empty()) return;
  std::error_code ignored;
  std::filesystem::create_directories(directory, ignored);
  const auto target = file_for(directory, device);
  const auto temporary = target.string() + fmt::format(".{}", ::getpid());
  const Header header = header_for(device, data);
  std::ofstream out(temporary, std::ios::binary);
  out.write(reinterpret_cast<const char*>(&header), sizeof header);
  out.write(reinterpret_cast<const char*>(data.data()), static_cast<std::streamsize>(data.size()));
  out.close();
  if (out) std::filesystem::rename(temporary, target, ignored);
  if (!out || ignored) std::filesystem::remove(temporary, ignored);
}

}  // namespace spindle
