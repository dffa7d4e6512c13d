// Numbers that were measured to be best on this machine's device, in a small file of the cache directory.
// Which numbers there are is the operations' affair; they change the time that something takes, never its
// result.
#ifndef SPINDLE_RUNTIME_TUNING_H
#define SPINDLE_RUNTIME_TUNING_H
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "runtime/instance.h"

namespace spindle {

using Tuning = std::map<std::string, std::vector<uint32_t>>;

// One file for each device, driver and subgroup size.
std::filesystem::path tuning_file(const std::filesystem::path& directory, const DeviceInfo& device);

// Empty when there is no file; also when it is damaged or of another version, with a warning on standard
// error.
Tuning load_tuning(const std::filesystem::path& directory, const DeviceInfo& device);

// Writes a new file and renames it over the old one.
void save_tuning(const std::filesystem::path& directory, const DeviceInfo& device, const Tuning& tuning);

}  // namespace spindle
#endif
