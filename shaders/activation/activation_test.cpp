// Activations against their references: shapes, in place, extreme values.
#include "shaders/activation/activation.h"

#include "shaders/matmul/matmul_input_test.h"
#include "tests/compare.h"
#include "tests/device.h"

using namespace spindle;
using namespace spindle::test;

namespace {

constexpr Activation kAll[] = {Activation::silu,       Activation::gelu, Activation::gelu_erf,
                               Activation::gelu_quick, Activation::relu, Activation::relu_squared};

// Units in the last place that the exponential of such an argument may be off: it was rounded a few times
// itself, and exp may add (3 + 2 |argument|) (Vulkan's precision table). Plus the division by 2.5 and sums.
double units(Activation f, double x) {
  switch (f) {
    case Activation::silu:
    case Activation::gelu_quick:
      return 16 + 6 * std::abs(x);
    case Activation::gelu:
      return 16 + 10 * std::min(std::abs(x) + 0.045 * std::abs(x * x * x), 100.0);
    case Activation::gelu_erf:
      return 64 + 5 * std::min(x * x, 200.0);
    default:
      return 4;
  }
}

void check(std::span<const float> y, Activation f, const std::vector<double>& gate,
           const std::vector<double>& up, const std::string& what) {
  std::vector<double> expected(gate.size()), magnitude(gate.size());
  reference::activation(expected, f, gate, up);
  for (size_t i = 0; i < gate.size(); i++)
    magnitude[i] = std::abs(expected[i]) * units(f, gate[i]) + 1e-20 * (up.empty() ? 1 : std::abs(up[i]));
  check_close(y, expected, kF32, magnitude, what);
}

}  // namespace

TEST_CASE("activation equals its reference") {
  Stream stream(device());
  const std::vector<uint32_t> widths =
      quick() ? std::vector<uint32_t>{70} : std::vector<uint32_t>{1, 3, 4, 64, 173, 1000, 11008};
  for (Activation f : kAll)
    for (uint32_t n : widths)
      for (uint32_t rows : {1u, 3u, 17u}) {
        Tensors t(stream);
        const auto gate = random_values(size_t{rows} * n, n, 3), up = random_values(size_t{rows} * n, rows);
        const Tensor y = t.f32(rows, n), in_place = t.f32(rows, n, gate), u = t.f32(rows, n, up);
        const Tensor alone = t.f32(rows, n);
        activation(stream, y, f, in_place, u);
        activation(stream, alone, f, in_place);
        activation(stream, in_place, f, in_place, u);
        stream.run();
        const std::string what = fmt::format("activation {} [{}, {}]", static_cast<int>(f), rows, n);
        check(t.read(y), f, gate, up, what + " with a gate");
        check(t.read(alone), f, gate, {}, what);
        CHECK(t.read(in_place) == t.read(y));
      }
}

TEST_CASE("activation packs rows for products as pack_rows does") {
  Stream stream(device());
  for (Activation f : kAll)
    for (uint32_t n : quick() ? std::vector<uint32_t>{70, 96} : std::vector<uint32_t>{33, 70, 96, 2816})
      for (uint32_t rows : {1u, 5u})
        for (bool gated : {true, false}) {
          Tensors t(stream);
          const Tensor gate = t.f32(rows, n, random_values(size_t{rows} * n, n, 3)),
                       up = gated ? t.f32(rows, n, random_values(size_t{rows} * n, rows)) : Tensor();
          check_packings(
              stream, rows, n, [&](const MatmulInput& y) { activation(stream, y, f, gate, up); },
              fmt::format("activation {}", static_cast<int>(f)));
        }
}

TEST_CASE("activation from -14 to 14 in small steps") {
  Stream stream(device());
  std::vector<double> x;
  for (int i = -14 * 256; i <= 14 * 256; i++) x.push_back(i / 256.0);
  for (Activation f : kAll) {
    Tensors t(stream);
    const Tensor y = t.f32(1, static_cast<uint32_t>(x.size()));
    activation(stream, y, f, t.f32(1, y.cols, x));
    stream.run();
    check(t.read(y), f, x, {}, fmt::format("activation {}", static_cast<int>(f)));
  }
}

TEST_CASE("activation has the same bits wherever an element lies") {
  Stream stream(device());
  constexpr uint32_t n = 173, rows = 3;
  const auto gate = random_values(size_t{rows} * n, 1, 3), up = random_values(size_t{rows} * n, 2);
  for (Activation f : kAll)
    for (bool gated : {true, false}) {
      Tensors t(stream);
      const Tensor y = t.f32(rows, n), g = t.f32(rows, n, gate), u = gated ? t.f32(rows, n, up) : Tensor();
      activation(stream, y, f, g, u);
      stream.run();
      const std::vector<float> all = t.read(y);
      for (uint32_t row = 0; row < rows; row++) {  // alone, a row ends with other elements
        const auto part = [&](const std::vector<double>& v) {
          return t.f32(1, n, {v.begin() + row * n, v.begin() + (row + 1) * n});
        };
        const Tensor alone = t.f32(1, n);
        activation(stream, alone, f, part(gate), gated ? part(up) : Tensor());
        CAPTURE(static_cast<int>(f));
        stream.run();
        CHECK(t.read(alone) == std::vector<float>(all.begin() + row * n, all.begin() + (row + 1) * n));
      }
    }
}

TEST_CASE("activation of large gates is finite") {
  Stream stream(device());
  Tensors t(stream);
  const std::vector<double> gate = {0,  -0.0, 20,   -20,   80,    -80,    88.7f, -88.7f,
                                    89, -89,  1000, -1000, 1e30f, -1e30f, 3e38f, -3e38f};
  const std::vector<double> up(gate.size(), 0.5);
  for (Activation f : kAll) {
    if (f == Activation::relu_squared) continue;  // overflows as it should
    const Tensor y = t.f32(1, static_cast<uint32_t>(gate.size()));
    activation(stream, y, f, t.f32(1, y.cols, gate), t.f32(1, y.cols, up));
    stream.run();
    const std::vector<float> got = t.read(y);
    for (size_t i = 0; i < got.size(); i++) {
      CAPTURE(static_cast<int>(f));
      CAPTURE(gate[i]);
      CHECK(std::isfinite(got[i]));
      if (std::abs(gate[i]) < 1000) continue;
      if (gate[i] > 0) CHECK(got[i] == static_cast<float>(gate[i] / 2));  // the identity
      else CHECK(std::abs(got[i]) <= std::abs(gate[i]) * 1e-32);          // nothing
    }
  }
}

TEST_CASE("activation bench" * doctest::skip(!bench())) {
  Stream stream(device());
  Tensors t(stream);
  const Tensor gate = t.f32(512, 11008, random_values(512 * 11008, 1)), up = t.f32(512, 11008),
               y = t.f32(512, 11008);
  print_bench(stream, "silu, gated [512, 11008]", [&] { activation(stream, y, Activation::silu, gate, up); });
  print_bench(stream, "gelu, gated [512, 11008]", [&] { activation(stream, y, Activation::gelu, gate, up); });
  print_bench(stream, "gelu [512, 11008]", [&] { activation(stream, y, Activation::gelu, gate); });
  print_bench(stream, "gelu_erf [512, 11008]", [&] { activation(stream, y, Activation::gelu_erf, gate); });
  const Tensor a = t.f32(1, 172), b = t.f32(1, 172);
  print_bench(stream, "silu, gated [1, 172]", [&] { activation(stream, a, Activation::silu, a, b); });
  for (const MatmulInput& packed : packings(stream, t, 512, 11008))
    print_bench(stream,
                packed.halves ? "silu, gated [512, 11008] as halves" : "silu, gated [512, 11008] quantised",
                [&] { activation(stream, packed, Activation::silu, gate, up); });
  const Tensor g = t.f32(1, 2816), u = t.f32(1, 2816);
  const std::vector<MatmulInput> one = packings(stream, t, 1, 2816);
  print_bench(stream, "silu, gated [1, 2816] quantised",
              [&] { activation(stream, one[1], Activation::silu, g, u); });
  print_bench(stream, "silu, gated [1, 2816], then quantised", [&] {
    activation(stream, g, Activation::silu, g, u);
    pack_rows(stream, one[1], g);
  });
}
