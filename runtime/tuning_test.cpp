// Tuning files: what was written is read, and anything else is left alone.
#include "runtime/tuning.h"

#include <doctest/doctest.h>

#include "tests/command_line.h"

using namespace spindle;
using namespace spindle::test;

TEST_CASE("a tuning file is read as it was written, and never when a byte of it is another") {
  const Folder parent("tuning");
  const std::string folder = parent / "cache";
  DeviceInfo device;
  device.vendor_id = 0x10005;
  device.driver_uuid[3] = 7;
  CHECK(load_tuning(folder, device).empty());
  const Tuning tuning{{"matmul prefill", {32, 4, 6, 4}}, {"something else", {}}};
  save_tuning(folder, device, tuning);
  CHECK(load_tuning(folder, device) == tuning);

  DeviceInfo other = device;
  other.driver_uuid[3] = 8;
  CHECK(load_tuning(folder, other).empty());

  const std::string file = tuning_file(folder, device).string(), text = read_file(file);
  const auto write = [&](const std::string& damaged) {
    std::ofstream(file, std::ios::binary) << damaged;
    return load_tuning(folder, device);
  };
  for (size_t i = 0; i < text.size(); i += 11) {
    std::string damaged = text;
    damaged[i] ^= 4;
    CHECK(write(damaged).empty());
    CHECK(write(text.substr(0, i)).empty());
  }
  CHECK(write(text + "x").empty());
  CHECK(write(text) == tuning);
}
