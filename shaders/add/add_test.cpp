// Sums against their reference: shapes, and in place.
#include "shaders/add/add.h"

#include "tests/compare.h"
#include "tests/device.h"

using namespace spindle;
using namespace spindle::test;

TEST_CASE("add equals its reference") {
  Stream stream(device());
  const std::vector<uint32_t> widths =
      quick() ? std::vector<uint32_t>{70} : std::vector<uint32_t>{1, 2, 4, 63, 64, 1000, 4096};
  for (uint32_t n : widths)
    for (uint32_t rows : {1u, 3u, 17u}) {
      Tensors t(stream);
      const auto a = random_values(size_t{rows} * n, n), b = random_values(size_t{rows} * n, rows);
      const Tensor y = t.f32(rows, n), scaled = t.f32(rows, n), in_a = t.f32(rows, n, a),
                   in_b = t.f32(rows, n, b);
      add(stream, y, in_a, in_b);
      add(stream, scaled, in_a, in_b, -0.3f);
      add(stream, in_a, in_a, in_b);  // a + b
      add(stream, in_b, in_b, in_b);  // 2 b
      stream.run();
      std::vector<double> expected(a.size()), magnitude(a.size()), twice(a.size());
      reference::add(expected, a, b);
      reference::add(twice, b, b);
      for (size_t i = 0; i < a.size(); i++) magnitude[i] = std::abs(expected[i]);
      check_close(t.read(y), expected, kF32, magnitude, fmt::format("add [{}, {}]", rows, n));
      CHECK(t.read(in_a) == t.read(y));
      reference::add(expected, a, b, -0.3f);
      for (size_t i = 0; i < a.size(); i++) magnitude[i] = 2 * (std::abs(a[i]) + std::abs(b[i]));
      check_close(t.read(scaled), expected, kF32, magnitude,
                  fmt::format("add with a factor [{}, {}]", rows, n));
      CHECK(t.read(in_b) == std::vector<float>(twice.begin(), twice.end()));
    }
}

TEST_CASE("add has the same bits wherever an element lies") {
  Stream stream(device());
  Tensors t(stream);
  constexpr uint32_t n = 173, rows = 3;
  const auto a = random_values(size_t{rows} * n, 1), b = random_values(size_t{rows} * n, 2);
  const Tensor y = t.f32(rows, n);
  add(stream, y, t.f32(rows, n, a), t.f32(rows, n, b), 0.22f);
  stream.run();
  const std::vector<float> all = t.read(y);
  for (uint32_t row = 0; row < rows; row++) {  // alone, a row ends with other elements
    const auto part = [&](const std::vector<double>& v) {
      return t.f32(1, n, {v.begin() + row * n, v.begin() + (row + 1) * n});
    };
    const Tensor alone = t.f32(1, n);
    add(stream, alone, part(a), part(b), 0.22f);
    stream.run();
    CHECK(t.read(alone) == std::vector<float>(all.begin() + row * n, all.begin() + (row + 1) * n));
  }
}

TEST_CASE("add bench" * doctest::skip(!bench())) {
  Stream stream(device());
  Tensors t(stream);
  const Tensor a = t.f32(512, 4096, random_values(512 * 4096, 1)), b = t.f32(512, 4096), y = t.f32(512, 4096);
  print_bench(stream, "add [512, 4096]", [&] { add(stream, y, a, b); });
  const Tensor c = t.f32(1, 64), d = t.f32(1, 64);
  print_bench(stream, "add [1, 64]", [&] { add(stream, c, c, d); });
}
