// Limits against their reference: shapes, in place, extreme values, NaN.
#include "shaders/limit/limit.h"

#include "tests/compare.h"
#include "tests/device.h"

using namespace spindle;
using namespace spindle::test;

TEST_CASE("limit equals its reference") {
  Stream stream(device());
  const std::vector<uint32_t> widths =
      quick() ? std::vector<uint32_t>{70} : std::vector<uint32_t>{1, 2, 4, 63, 64, 1000, 4096};
  for (Limit kind : {Limit::none, Limit::clamp, Limit::soft_cap})
    for (float bound : {0.5f, 5.0f, 30.0f})
      for (uint32_t n : widths)
        for (uint32_t rows : {1u, 3u, 17u}) {
          Tensors t(stream);
          const auto x = random_values(size_t{rows} * n, n, 4);
          const Tensor y = t.f32(rows, n), in_place = t.f32(rows, n, x);
          limit(stream, y, in_place, 1.7f, kind, bound);
          limit(stream, in_place, in_place, 1.7f, kind, bound);
          stream.run();
          std::vector<double> expected(x.size()), magnitude(x.size());
          reference::limit(expected, x, 1.7f, kind, bound);
          // Ten units: the exponential's error reaches tanh with a weight below 1 / 4 where it is used.
          for (size_t i = 0; i < x.size(); i++) magnitude[i] = 10 * std::abs(expected[i]);
          check_close(t.read(y), expected, kF32, magnitude,
                      fmt::format("limit {} of {} [{}, {}]", static_cast<int>(kind), bound, rows, n));
          CHECK(t.read(in_place) == t.read(y));
        }
}

TEST_CASE("limit has the same bits wherever an element lies") {
  Stream stream(device());
  constexpr uint32_t n = 173, rows = 3;
  const auto x = random_values(size_t{rows} * n, 1, 4);
  for (Limit kind : {Limit::none, Limit::clamp, Limit::soft_cap}) {
    Tensors t(stream);
    const Tensor y = t.f32(rows, n);
    limit(stream, y, t.f32(rows, n, x), 0.3f, kind, 1.1f);
    stream.run();
    const std::vector<float> all = t.read(y);
    for (uint32_t row = 0; row < rows; row++) {  // alone, a row ends with other elements
      const Tensor alone = t.f32(1, n);
      limit(stream, alone, t.f32(1, n, {x.begin() + row * n, x.begin() + (row + 1) * n}), 0.3f, kind, 1.1f);
      stream.run();
      CHECK(t.read(alone) == std::vector<float>(all.begin() + row * n, all.begin() + (row + 1) * n));
    }
  }
}

TEST_CASE("limit of extreme values") {
  Stream stream(device());
  Tensors t(stream);
  const double inf = HUGE_VAL;
  const std::vector<double> x = {0,     1e-30f, -1e-30f, 0.6,  -0.7,  9.99, 10.01,
                                 -1000, 1e30f,  3e38f,   -inf, -1e38, inf,  std::nan("")};
  const Tensor in = t.f32(1, static_cast<uint32_t>(x.size()), x), capped = t.f32(1, in.cols),
               clamped = t.f32(1, in.cols);
  limit(stream, capped, in, 1, Limit::soft_cap, 1);
  limit(stream, clamped, in, 1, Limit::clamp, 1);
  stream.run();
  const auto c = t.read(capped), l = t.read(clamped);
  for (size_t i = 0; i + 1 < x.size(); i++) {
    CHECK(c[i] == doctest::Approx(std::tanh(x[i])).epsilon(1e-6));
    CHECK(std::abs(c[i]) <= 1);
    CHECK(l[i] == static_cast<float>(std::clamp(x[i], -1.0, 1.0)));
  }
  CHECK(std::isnan(c.back()));
  CHECK(std::isnan(l.back()));
}

TEST_CASE("limit bench" * doctest::skip(!bench())) {
  Stream stream(device());
  Tensors t(stream);
  const Tensor x = t.f32(8, 256000, random_values(8 * 256000, 1)), y = t.f32(8, 256000);
  print_bench(stream, "factor [8, 256000]", [&] { limit(stream, y, x, 0.25f); });
  print_bench(stream, "soft cap [8, 256000]", [&] { limit(stream, y, x, 1, Limit::soft_cap, 30); });
}
