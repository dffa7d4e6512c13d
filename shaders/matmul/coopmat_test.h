// Devices for tests of what is computed by cooperative matrices.
#ifndef SPINDLE_SHADERS_COOPMAT_TEST_H
#define SPINDLE_SHADERS_COOPMAT_TEST_H
#include "shaders/matmul/matmul_coopmat.h"
#include "tests/compare.h"
#include "tests/device.h"

namespace spindle::test {

// A device that takes the kernels of one extension, or nothing. A test that asks for it runs once for each.
inline std::unique_ptr<Device> coopmat_device() {
  DeviceOptions options = DeviceOptions::from_environment();
  bool second = false;
  SUBCASE("VK_KHR_cooperative_matrix") {
    options.prefer.insert("coopmat");
    options.disable.insert("coopmat2");
  }
  SUBCASE("VK_NV_cooperative_matrix2") {
    options.prefer.insert("coopmat2");
    second = true;
  }
  auto device = std::make_unique<Device>(options);
  const bool built = second ? coopmat2_built() : coopmat_built();
  if (built && (second ? device->caps().coopmat2 : device->caps().coopmat)) return device;
  fmt::print(stderr, "SKIPPED: cooperative matrices{}: {}\n", second ? " of the second extension" : "",
             built ? "the device has none" : "glslc did not know them");
  return {};
}

}  // namespace spindle::test
#endif
