// SwiGLU against its reference: shapes, in place, extreme gates.
#include "shaders/swiglu/swiglu.h"

#include "tests/compare.h"
#include "tests/device.h"

using namespace spindle;
using namespace spindle::test;

namespace {

// exp may be off by (3 + 2 |x|) units (Vulkan's precision table), the division by 2.5.
void check(std::span<const float> y, const std::vector<double>& gate, const std::vector<double>& up,
           const std::string& what) {
  std::vector<double> expected(gate.size()), magnitude(gate.size());
  reference::swiglu(expected, gate, up);
  for (size_t i = 0; i < gate.size(); i++)
    magnitude[i] = std::abs(expected[i]) * (16 + 4 * std::abs(gate[i])) + 1e-20 * std::abs(up[i]);
  check_close(y, expected, kF32, magnitude, what);
}

}  // namespace

TEST_CASE("swiglu equals its reference") {
  Stream stream(device());
  const std::vector<uint32_t> widths =
      quick() ? std::vector<uint32_t>{70} : std::vector<uint32_t>{1, 3, 4, 64, 173, 1000, 11008};
  for (uint32_t n : widths)
    for (uint32_t rows : {1u, 3u, 17u}) {
      Tensors t(stream);
      const auto gate = random_values(size_t{rows} * n, n, 4), up = random_values(size_t{rows} * n, rows);
      const Tensor y = t.f32(rows, n), in_place = t.f32(rows, n, gate), u = t.f32(rows, n, up);
      swiglu(stream, y, in_place, u);
      swiglu(stream, in_place, in_place, u);
      stream.run();
      check(t.read(y), gate, up, fmt::format("swiglu [{}, {}]", rows, n));
      CHECK(t.read(in_place) == t.read(y));
    }
}

TEST_CASE("swiglu of large gates is finite") {
  Stream stream(device());
  Tensors t(stream);
  const std::vector<double> gate = {0,  -0.0, 20,   -20,   80,    -80,    88.7f, -88.7f,
                                    89, -89,  1000, -1000, 1e30f, -1e30f, 3e38f, -3e38f};
  const std::vector<double> up(gate.size(), 0.5);
  const Tensor y = t.f32(1, static_cast<uint32_t>(gate.size()));
  swiglu(stream, y, t.f32(1, y.cols, gate), t.f32(1, y.cols, up));
  stream.run();
  const std::vector<float> got = t.read(y);
  for (size_t i = 0; i < got.size(); i++) {
    CHECK(std::isfinite(got[i]));
    if (std::abs(gate[i]) < 1000) continue;
    if (gate[i] > 0) CHECK(got[i] == static_cast<float>(gate[i] / 2));  // the identity
    else CHECK(std::abs(got[i]) < std::abs(gate[i]) * 1e-34);           // nothing
  }
}

TEST_CASE("swiglu bench" * doctest::skip(!bench())) {
  Stream stream(device());
  Tensors t(stream);
  const Tensor gate = t.f32(512, 11008, random_values(512 * 11008, 1)), up = t.f32(512, 11008),
               y = t.f32(512, 11008);
  print_bench(stream, "swiglu [512, 11008]", [&] { swiglu(stream, y, gate, up); });
  const Tensor a = t.f32(1, 172), b = t.f32(1, 172);
  print_bench(stream, "swiglu [1, 172]", [&] { swiglu(stream, a, a, b); });
}
