// The measuring kernels compute what they say, so that none of it was optimised away.
#include "shaders/device_limits/device_limits.h"

#include <cmath>

#include "tests/compare.h"
#include "tests/device.h"

using namespace spindle;
using namespace spindle::test;

TEST_CASE("device limits: multiply-adds and reads add up") {
  Stream stream(device());
  Tensors t(stream);
  const uint32_t lanes = device_limits_lanes(stream.caps());
  const Tensor sums = t.f32(3, lanes);
  multiply_adds(stream, sums, 3, 7, 0.5f, 1.5f);  // exact: towards 3
  stream.run();
  const std::vector<float> chains = t.read(sums);
  for (uint32_t i = 0; i < chains.size(); i++) {
    double sum = 0;
    for (uint32_t c = 0; c < LIMITS_CHAINS; c++)
      sum += 3 + std::ldexp(static_cast<double>(i % lanes + c) - 3, -7 * LIMITS_STEPS);
    CHECK(chains[i] == doctest::Approx(sum).epsilon(1e-6));
  }
  std::vector<double> values = random_values(size_t{3} * lanes * 5 * 32, 1);
  for (double& v : values) v = std::round(v * 16);  // sums of integers are exact in any order
  const Tensor x = t.f32(1, static_cast<uint32_t>(values.size()), values);
  read_all(stream, sums, x, 5);
  stream.run();
  double all = 0, expected = 0;
  for (float s : t.read(sums)) all += s;
  for (double v : values) expected += v;
  CHECK(all == expected);
}

TEST_CASE("device limits are finite and positive") {
  Stream stream(device());
  const DeviceLimits l = measure_device_limits(stream);
  for (double rate : {l.copy, l.read, l.multiply}) CHECK((rate > 1e6 && rate < 1e16));
  fmt::print("  device limits: copy {:.1f} GB/s, read {:.1f} GB/s, multiply-add {:.1f} GFLOP/s\n",
             l.copy * 1e-9, l.read * 1e-9, l.multiply * 1e-9);
}
