// RMS norm against its reference, over rows and widths.
#include "shaders/rms_norm/rms_norm.h"

#include "tests/compare.h"
#include "tests/device.h"

using namespace spindle;
using namespace spindle::test;

TEST_CASE("rms_norm equals its reference") {
  Stream stream(device());
  const std::vector<uint32_t> widths =
      quick() ? std::vector<uint32_t>{72} : std::vector<uint32_t>{1, 8, 63, 64, 257, 1000, 4096};
  for (uint32_t dim : widths)
    for (const auto& [rows, weight_rows] : {std::pair{1u, 1u}, {3u, 1u}, {17u, 1u}, {12u, 4u}}) {
      Tensors t(stream);
      const auto x = random_values(size_t{rows} * dim, dim + rows),
                 weight = random_values(size_t{weight_rows} * dim, 7);
      const Tensor y = t.f32(rows, dim);
      rms_norm(stream, y, t.f32(rows, dim, x), t.f32(weight_rows, dim, weight), 1e-5f);
      stream.run();
      std::vector<double> expected(x.size()), magnitude(x.size());
      reference::rms_norm(expected, x, dim, weight, 1e-5f);
      for (size_t i = 0; i < x.size(); i++) magnitude[i] = std::abs(expected[i]);
      check_close(t.read(y), expected, tolerance(dim), magnitude,
                  fmt::format("rms_norm [{}, {}]", rows, dim));
    }
}

TEST_CASE("rms_norm bench" * doctest::skip(!bench())) {
  Stream stream(device());
  Tensors t(stream);
  const Tensor x = t.f32(512, 4096, random_values(512 * 4096, 1)), y = t.f32(512, 4096),
               w = t.f32(1, 4096, random_values(4096, 2));
  print_bench(stream, "rms_norm [512, 4096]", [&] { rms_norm(stream, y, x, w, 1e-5f); });
}
