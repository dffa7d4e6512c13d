// The driver's pipeline cache on disk, behind our own header and hash: a driver never sees a damaged one.
#ifndef SPINDLE_RUNTIME_PIPELINE_CACHE_H
#define SPINDLE_RUNTIME_PIPELINE_CACHE_H
#include <cstddef>
#include <filesystem>
#include <vector>

#include "runtime/instance.h"

namespace spindle {

// $SPINDLE_CACHE_DIR, else $XDG_CACHE_HOME/spindle, else ~/.cache/spindle; empty: no cache is kept.
std::filesystem::path cache_directory();

// Empty when there is none, or when it is cut, flipped, or of another device or driver.
std::vector<std::byte> load_pipeline_cache(const std::filesystem::path& directory, const DeviceInfo& device);

// Writes a new file and renames it over the old one; failures are silent, since it is only a cache.
void save_pipeline_cache(const std::filesystem::path& directory, const DeviceInfo& device,
                         const std::vector<std::byte>& data);

}  // namespace spindle
#endif
