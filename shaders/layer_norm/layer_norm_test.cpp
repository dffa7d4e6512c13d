// Layer norm against its reference, over rows, widths, and what is left out.
#include "shaders/layer_norm/layer_norm.h"

#include "shaders/matmul/matmul_input_test.h"
#include "tests/compare.h"
#include "tests/device.h"

using namespace spindle;
using namespace spindle::test;

TEST_CASE("layer_norm equals its reference") {
  Stream stream(device());
  const std::vector<uint32_t> widths =
      quick() ? std::vector<uint32_t>{72} : std::vector<uint32_t>{1, 8, 63, 64, 257, 1000, 4096};
  for (uint32_t dim : widths)
    for (uint32_t rows : {1u, 3u, 18u})
      for (bool weighted : {true, false})
        for (bool biased : {true, false})
          for (uint32_t weight_rows : {1u, 3u}) {  // 3: heads with a weight of their own
            if (rows % weight_rows != 0) continue;
            Tensors t(stream);
            auto x = random_values(size_t{rows} * dim, dim + rows);
            for (double& v : x) v = static_cast<float>(v + 2);  // a mean to take away
            const std::vector<double> none;
            const auto weight = weighted ? random_values(size_t{weight_rows} * dim, 7) : none;
            const auto bias = biased ? random_values(size_t{weight_rows} * dim, 8) : none;
            const Tensor y = t.f32(rows, dim), in_place = t.f32(rows, dim, x);
            const Tensor w = weighted ? t.f32(weight_rows, dim, weight) : Tensor();
            const Tensor b = biased ? t.f32(weight_rows, dim, bias) : Tensor();
            layer_norm(stream, y, in_place, w, b, 1e-5f);
            layer_norm(stream, in_place, in_place, w, b, 1e-5f);
            stream.run();
            std::vector<double> expected(x.size()), magnitude(x.size());
            reference::layer_norm(expected, x, dim, weight, bias, 1e-5f);
            std::vector<double> plain(x.size());
            reference::layer_norm(plain, x, dim, {}, {}, 1e-5f);
            for (size_t i = 0; i < x.size(); i++) {
              // Differences keep the rounding of x and the mean: their size, scaled as the differences are.
              const size_t far = (i + 1) % dim + i / dim * dim;
              const double scale = x[i] == x[far] ? 0 : (plain[i] - plain[far]) / (x[i] - x[far]);
              magnitude[i] =
                  std::abs(expected[i]) + (biased ? std::abs(bias[i % bias.size()]) : 0) +
                  (std::abs(x[i]) + 2) * scale * (weighted ? std::abs(weight[i % weight.size()]) : 1);
            }
            check_close(t.read(y), expected, tolerance(dim), magnitude,
                        fmt::format("layer_norm [{}, {}]", rows, dim));
            CHECK(t.read(in_place) == t.read(y));
          }
}

TEST_CASE("layer_norm packs rows for products as pack_rows does") {
  Stream stream(device());
  for (uint32_t dim : {63u, 64u, 288u, 1024u})
    for (uint32_t rows : {1u, 9u})
      for (uint32_t parts : {0u, 1u, 2u, 3u}) {  // weight and bias
        Tensors t(stream);
        const Tensor x = t.f32(rows, dim, random_values(size_t{rows} * dim, dim, 30)),
                     w = parts & 1 ? t.f32(1, dim, random_values(dim, 7)) : Tensor(),
                     b = parts & 2 ? t.f32(1, dim, random_values(dim, 8)) : Tensor();
        check_packings(
            stream, rows, dim, [&](const MatmulInput& y) { layer_norm(stream, y, x, w, b, 1e-5f); },
            "layer_norm");
      }
}

TEST_CASE("layer_norm of a constant row is the bias") {
  Stream stream(device());
  Tensors t(stream);
  const std::vector<double> bias = random_values(96, 1);
  const Tensor y = t.f32(2, 96);
  layer_norm(stream, y, t.f32(2, 96, std::vector<double>(192, 0.5)), t.f32(1, 96, random_values(96, 2)),
             t.f32(1, 96, bias), 1e-5f);
  stream.run();
  const std::vector<float> got = t.read(y);
  for (size_t i = 0; i < got.size(); i++) CHECK(got[i] == static_cast<float>(bias[i % 96]));
}

TEST_CASE("layer_norm bench" * doctest::skip(!bench())) {
  Stream stream(device());
  Tensors t(stream);
  const Tensor x = t.f32(512, 4096, random_values(512 * 4096, 1)), y = t.f32(512, 4096),
               w = t.f32(1, 4096, random_values(4096, 2));
  print_bench(stream, "layer_norm [512, 4096]", [&] { layer_norm(stream, y, x, w, w, 1e-5f); });
}
