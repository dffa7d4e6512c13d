// Routing to experts against its reference: sizes, ties, equal zeros, and logits that are not finite.
#include "shaders/experts/expert_route.h"

#include "tests/compare.h"
#include "tests/device.h"

using namespace spindle;
using namespace spindle::test;

namespace {

struct Routed {
  std::vector<uint32_t> ids;
  std::vector<float> weights;
};

Routed route(const std::vector<double>& logits, uint32_t experts, uint32_t used, bool renormalise,
             float scale = 1) {
  Stream stream(device());
  Tensors t(stream);
  const auto rows = static_cast<uint32_t>(logits.size() / experts);
  const Tensor ids = t.u32(rows, used), weights = t.f32(rows, used);
  expert_route(stream, ids, weights, t.f32(rows, experts, logits), renormalise, scale);
  stream.run();
  return {t.read_u32(ids), t.read(weights)};
}

void check(const std::vector<double>& logits, uint32_t experts, uint32_t used, bool renormalise,
           float scale = 1) {
  const Routed got = route(logits, experts, used, renormalise, scale);
  std::vector<uint32_t> ids(got.ids.size());
  std::vector<double> weights(got.ids.size()), magnitude;
  reference::expert_route(ids, weights, logits, used, renormalise, scale);
  // exp may be off by (3 + 2 |x|) units (Vulkan's precision table), above and below the line.
  for (double w : weights) magnitude.push_back(w * (16 + 4 * std::abs(std::log(w / scale))) + 1e-20);
  const std::string what = fmt::format("expert_route {} of {}", used, experts);
  CHECK_MESSAGE(got.ids == ids, what);
  check_close(got.weights, weights, tolerance(experts), magnitude, what);
}

}  // namespace

TEST_CASE("expert_route equals its reference") {
  const std::vector<std::pair<uint32_t, uint32_t>> sizes =
      quick() ? std::vector<std::pair<uint32_t, uint32_t>>{{8, 2}, {60, 4}}
              : std::vector<std::pair<uint32_t, uint32_t>>{{1, 1},   {2, 2},    {4, 2},   {8, 2},   {33, 16},
                                                           {60, 4},  {64, 8},   {128, 8}, {160, 6}, {384, 8},
                                                           {512, 1}, {512, 10}, {512, 32}};
  for (const auto& [experts, used] : sizes)
    for (uint32_t rows : {1u, 3u, 33u})
      for (bool renormalise : {false, true})
        check(random_values(size_t{rows} * experts, rows + experts, 2), experts, used, renormalise,
              rows == 3 ? 2.5f : 1);
}

TEST_CASE("expert_route of Mixtral's example") {
  // Eight logits, two experts: 4 and 7, softmax of the two.
  const std::vector<double> logits = {.1, 1.2, -.5, .9, 2, .3, -1, 1.5};
  const Routed got = route(logits, 8, 2, true);
  CHECK(got.ids == std::vector<uint32_t>{4, 7});
  CHECK(got.weights[0] == doctest::Approx(0.62245933).epsilon(1e-6));
  CHECK(got.weights[1] == doctest::Approx(0.37754067).epsilon(1e-6));
}

TEST_CASE("expert_route takes the lower of equal experts, and large logits") {
  std::vector<double> equal(100, 0.25);
  check(equal, 50, 7, true);
  for (size_t i = 0; i < equal.size(); i++) equal[i] = i % 3 == 0 ? 1 : -1;
  check(equal, 100, 32, false);
  check({0.0, -0.0, 0.0, -1}, 4, 3, true);
  check({-0.0, 0.0, -0.0, -1}, 4, 2, true);
  check({1e30f, -1e30f, 3e38f, -3e38f, 90, 80}, 6, 1, false);
  check({5, 4, 3, -3e38f}, 4, 3, false);
}

TEST_CASE("expert_route of logits that are not finite gives NaN and valid experts") {
  const uint32_t experts = 9, used = 4;
  for (double bad : {double{NAN}, -double{NAN}, HUGE_VAL, -HUGE_VAL})
    for (uint32_t count : {1u, experts}) {
      std::vector<double> logits = random_values(3 * experts, 5);
      for (uint32_t i = 0; i < count; i++) logits[experts + experts - 1 - i] = bad;
      const Routed got = route(logits, experts, used, count == 1);
      for (uint32_t row = 0; row < 3; row++)
        for (uint32_t s = 0; s < used; s++) {
          CHECK(got.ids[row * used + s] < experts);
          CHECK(std::isnan(got.weights[row * used + s]) == (row == 1));
          for (uint32_t other = 0; other < s; other++)
            CHECK(got.ids[row * used + s] != got.ids[row * used + other]);
        }
    }
}

TEST_CASE("expert_route bench" * doctest::skip(!bench())) {
  Stream stream(device());
  for (uint32_t rows : {1u, 512u}) {
    Tensors t(stream);
    const Tensor ids = t.u32(rows, 8), weights = t.f32(rows, 8),
                 logits = t.f32(rows, 128, random_values(rows * 128, 1));
    print_bench(stream, fmt::format("8 of 128, {} rows", rows),
                [&] { expert_route(stream, ids, weights, logits, true, 1); });
  }
}
