// RMS norm against its reference, over rows and widths.
#include "shaders/rms_norm/rms_norm.h"

#include "shaders/matmul/matmul_input_test.h"
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

TEST_CASE("rms_norm packs rows for products as pack_rows does") {
  Stream stream(device());
  for (uint32_t dim : {63u, 64u, 288u, 1024u})
    for (const auto& [rows, weight_rows] : {std::pair{1u, 1u}, {12u, 4u}}) {
      Tensors t(stream);
      const auto values = random_values(size_t{rows} * dim, dim + rows, 30);
      const Tensor x = t.f32(rows, dim, values),
                   w = t.f32(weight_rows, dim, random_values(size_t{weight_rows} * dim, 7));
      check_packings(
          stream, rows, dim, [&](const MatmulInput& y) { rms_norm(stream, y, x, w, 1e-5f); }, "rms_norm");
      for (MatmulInput in_place : packings(stream, t, rows, dim)) {
        const Tensor y = t.f32(rows, dim);
        in_place.x = t.f32(rows, dim, values);
        rms_norm(stream, y, x, w, 1e-5f);
        rms_norm(stream, in_place, in_place.x, w, 1e-5f);
        stream.run();
        CHECK(t.read(in_place.x) == t.read(y));
      }
    }
}

TEST_CASE("rms_norm bench" * doctest::skip(!bench())) {
  Stream stream(device());
  Tensors t(stream);
  const Tensor x = t.f32(512, 4096, random_values(512 * 4096, 1)), y = t.f32(512, 4096),
               w = t.f32(1, 4096, random_values(4096, 2));
  print_bench(stream, "rms_norm [512, 4096]", [&] { rms_norm(stream, y, x, w, 1e-5f); });
  for (const MatmulInput& packed : packings(stream, t, 512, 4096))
    print_bench(stream, packed.halves ? "rms_norm [512, 4096] as halves" : "rms_norm [512, 4096] quantised",
                [&] { rms_norm(stream, packed, x, w, 1e-5f); });
  const Tensor row = t.f32(1, 1024, random_values(1024, 1)), weight = t.f32(1, 1024, random_values(1024, 2));
  const std::vector<MatmulInput> one = packings(stream, t, 1, 1024);
  print_bench(stream, "rms_norm [1, 1024] quantised", [&] { rms_norm(stream, one[1], row, weight, 1e-5f); });
  print_bench(stream, "rms_norm [1, 1024], then quantised", [&] {
    rms_norm(stream, row, row, weight, 1e-5f);
    pack_rows(stream, one[1], row);
  });
}
