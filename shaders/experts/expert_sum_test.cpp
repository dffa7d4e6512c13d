// Weighted sums of experts against their reference: shapes, shared experts, gates.
#include "shaders/experts/expert_sum.h"

#include "tests/compare.h"
#include "tests/device.h"

using namespace spindle;
using namespace spindle::test;

TEST_CASE("expert_sum equals its reference") {
  Stream stream(device());
  for (uint32_t dim : quick() ? std::vector<uint32_t>{70} : std::vector<uint32_t>{1, 48, 70, 129, 2048})
    for (uint32_t rows : {1u, 3u, 17u})
      for (uint32_t used : {1u, 4u, 16u})
        for (uint32_t kind = 0; kind < 3; kind++) {
          const bool has_shared = kind > 0, has_gate = kind > 1;
          Tensors t(stream);
          const auto values = [&](bool there, uint32_t n, uint32_t seed) {
            return there ? random_values(n, seed) : std::vector<double>();
          };
          const auto experts = random_values(size_t{rows} * used * dim, dim),
                     weights = random_values(size_t{rows} * used, rows),
                     shared = values(has_shared, rows * dim, 3), gate = values(has_gate, rows, 4);
          const Tensor y = t.f32(rows, dim);
          const SharedExpert s{has_shared ? t.f32(rows, dim, shared) : Tensor(),
                               has_gate ? t.f32(rows, 1, gate) : Tensor()};
          expert_sum(stream, y, t.f32(rows * used, dim, experts), t.f32(rows, used, weights), s);
          stream.run();
          std::vector<double> expected(size_t{rows} * dim), magnitude(expected.size()), e(experts),
              w(weights), sh(shared);
          reference::expert_sum(expected, experts, weights, shared, gate);
          for (auto* v : {&e, &w, &sh})
            for (double& x : *v) x = std::abs(x);
          reference::expert_sum(magnitude, e, w, sh, gate);
          check_close(t.read(y), expected, tolerance(used + 8), magnitude,
                      fmt::format("expert_sum [{}, {}, {}] kind {}", rows, used, dim, kind));
        }
}

TEST_CASE("expert_sum of NaN is NaN") {
  Stream stream(device());
  Tensors t(stream);
  const Tensor y = t.f32(2, 5), z = t.f32(3, 5);
  expert_sum(stream, y, t.f32(4, 5, random_values(20, 1)), t.f32(2, 2, {NAN, NAN, 1, 1}), {});
  const SharedExpert shared{t.f32(3, 5, random_values(15, 1)), t.f32(3, 1, {NAN, -1e30f, 1e30f})};
  expert_sum(stream, z, t.f32(3, 5, random_values(15, 1)), t.f32(3, 1, {1, 1, 1}), shared);
  stream.run();
  const std::vector<float> weights = t.read(y), gates = t.read(z);
  for (size_t i = 0; i < weights.size(); i++) CHECK(std::isnan(weights[i]) == (i < 5));
  for (size_t i = 0; i < gates.size(); i++) CHECK(std::isnan(gates[i]) == (i < 5));
}

TEST_CASE("expert_sum bench" * doctest::skip(!bench())) {
  Stream stream(device());
  for (uint32_t rows : {1u, 128u}) {
    Tensors t(stream);
    const Tensor experts = t.f32(rows * 8, 2048, random_values(rows * 8 * 2048, 1)),
                 weights = t.f32(rows, 8, random_values(rows * 8, 2)), y = t.f32(rows, 2048);
    print_bench(stream, fmt::format("8 experts, [{}, 2048]", rows),
                [&] { expert_sum(stream, y, experts, weights, {}); });
  }
}
