// RoPE against its reference, the specification's values, and what float32 angles would have given.
#include "shaders/rope/rope.h"

#include "tests/compare.h"
#include "tests/device.h"

using namespace spindle;
using namespace spindle::test;

namespace {

std::vector<double> frequencies(uint32_t n_rot, double base) {
  std::vector<double> f;
  for (uint32_t t = 0; t < n_rot / 2; t++) f.push_back(std::pow(base, -2.0 * t / n_rot));
  return f;
}

std::vector<float> rotate(Stream& stream, const std::vector<double>& x,
                          const std::vector<uint32_t>& positions, const std::vector<double>& inv_freq,
                          double magnitude, const RopeShape& shape) {
  Tensors t(stream);
  const uint32_t last = *std::max_element(positions.begin(), positions.end());
  const std::vector<float> table = make_rope_table(inv_freq, magnitude, last);
  std::vector<uint32_t> rows;
  for (uint32_t p : positions) rows.insert(rows.end(), {0, 0, p, 1});
  const Tensor y = t.f32(static_cast<uint32_t>(positions.size()), shape.n_heads * shape.head_dim, x);
  const Tensor angles =
      t.f32(rope_table_rows(last), shape.n_rot, std::vector<double>(table.begin(), table.end()));
  rope(stream, y, t.u32(y.rows, 4, rows), angles, shape);
  stream.run();
  return t.read(y);
}

}  // namespace

TEST_CASE("rope equals its reference") {
  Stream stream(device());
  for (uint32_t head_dim : quick() ? std::vector<uint32_t>{64} : std::vector<uint32_t>{8, 40, 64, 128, 256})
    for (uint32_t n_rot : {head_dim, head_dim / 2})
      for (RopeLayout layout : {RopeLayout::interleaved, RopeLayout::half_split}) {
        const RopeShape shape{3, head_dim, n_rot, layout};
        const std::vector<uint32_t> positions = {0, 1, 5, 1023, 1024, 131071, 1000000};
        const auto f = frequencies(n_rot, 1e6), x = random_values(positions.size() * 3 * head_dim, head_dim);
        std::vector<double> expected = x;
        reference::rope(expected, positions, f, 1.25, shape);
        check_close(rotate(stream, x, positions, f, 1.25, shape), expected, tolerance(8),
                    std::vector<double>{4}, fmt::format("rope head_dim {} n_rot {}", head_dim, n_rot));
      }
}

TEST_CASE("rope maps positions, shifts phases and scales rows") {
  Stream stream(device());
  const std::vector<uint32_t> positions = {0, 1, 9, 10, 11, 63, 64, 4095, 4096, 100000};
  const struct {
    const char* name;
    RopeForm form;
    double scale, phase;
    RopeTemperature temperature;
  } cases[] = {{"constant", {.cap = 0}, 1, 512, {}},
               {"leaky", {}, 1.0 / 16, 480, {}},
               {"groups", {.divide = 8, .offset = 896}, 1, 0, {}},
               {"chunks", {.modulo = 10, .offset = 10, .cap = 12}, 1, 0, {}},
               {"log-n", {}, 1, 0, {.base = 0, .slope = static_cast<float>(1 / std::log(512.0))}},
               {"log-n of a window",
                {},
                1,
                0,
                {.base = 0, .slope = static_cast<float>(1 / std::log(512.0)), .cap = 1999}},
               {"temperature", {}, 1, 0, {.base = 1, .slope = 0.1f, .offset = 1, .width = 64}}};
  for (const auto& test : cases)
    for (uint32_t n_rot : {64u, 24u})
      for (RopeLayout layout : {RopeLayout::interleaved, RopeLayout::half_split}) {
        const RopeShape shape{3, 64, n_rot, layout};
        const auto f = frequencies(n_rot, 1e4), x = random_values(positions.size() * 3 * 64, n_rot);
        std::vector<double> expected = x, at;
        std::vector<uint32_t> rows;
        for (uint32_t p : positions) {
          at.push_back(reference::rope_position(test.form, p) * test.scale + test.phase);
          rows.insert(rows.end(), {0, 0, p, 1});
        }
        reference::rope(expected, at, f, 1.25, shape);
        for (size_t i = 0; i < expected.size(); i++)
          expected[i] *= reference::rope_temperature(test.temperature, positions[i / (3 * 64)]);
        Tensors t(stream);
        const uint32_t last = positions.back();
        const auto table = make_rope_table(f, 1.25, last, test.scale, test.phase);
        const uint32_t n = static_cast<uint32_t>(positions.size());
        const Tensor input = t.f32(n, 3 * 64, x), output = t.f32(n, 3 * 64), in_use = t.u32(n, 4, rows);
        const Tensor angles = t.f32(rope_table_rows(last), n_rot, {table.begin(), table.end()});
        rope(stream, output, input, in_use, angles, shape, test.form, test.temperature);
        stream.run();
        const std::string name = fmt::format("rope {} n_rot {}", test.name, n_rot);
        check_close(t.read(output), expected, tolerance(10), std::vector<double>{5}, name);
        rope(stream, input, input, in_use, angles, shape, test.form, test.temperature);
        stream.run();
        check_close(t.read(input), expected, tolerance(10), std::vector<double>{5}, name + " in place");
      }
}

TEST_CASE("rope gives the specification's values") {
  Stream stream(device());
  const std::vector<double> x = {1, 2, 3, 4, 5, 6, 7, 8};
  const auto check = [&](const RopeShape& shape, const std::vector<double>& expected) {
    const auto got = rotate(stream, x, {5}, frequencies(shape.n_rot, 1e4), 1, shape);
    for (size_t i = 0; i < 8; i++) CHECK(got[i] == doctest::Approx(expected[i]).epsilon(5e-7));
  };
  check({1, 8, 8, RopeLayout::interleaved},
        {2.2015107, -0.3915999, 0.71504553, 4.9486069, 4.6938763, 6.2423974, 6.9599127, 8.0348999});
  check({1, 8, 8, RopeLayout::half_split},
        {5.0782836, -1.1213881, 2.6463966, 3.9599502, 0.45938665, 6.2243464, 7.1411893, 8.0198999});
  check({1, 8, 4, RopeLayout::half_split}, {3.160435, 1.7975838, -0.10793772, 4.0949594, 5, 6, 7, 8});
}

TEST_CASE("rope angles are exact to a million positions, where float32 angles are not") {
  Stream stream(device());
  const RopeShape shape{1, 128, 128, RopeLayout::interleaved};
  std::vector<uint32_t> positions;
  for (uint32_t p = 1; p <= 1000000; p = p * 3 / 2 + 1) positions.push_back(p);
  positions.push_back(1000000);
  std::vector<double> ones(positions.size() * 128);
  for (size_t i = 0; i < ones.size(); i += 2) ones[i] = 1;  // becomes (cos, sin)
  const auto f = frequencies(128, 1e6);
  const auto got = rotate(stream, ones, positions, f, 1, shape);
  double worst = 0, worst_f32 = 0;
  for (size_t row = 0; row < positions.size(); row++)
    for (size_t pair = 0; pair < 64; pair++) {
      const double angle = positions[row] * f[pair];
      const float f32 =
          static_cast<float>(positions[row]) * std::pow(1e6f, -2.0f * static_cast<float>(pair) / 128);
      const double c = got[row * 128 + 2 * pair], s = got[row * 128 + 2 * pair + 1];
      worst = std::max(worst, std::abs(std::atan2(s * std::cos(angle) - c * std::sin(angle),
                                                  c * std::cos(angle) + s * std::sin(angle))));
      worst_f32 = std::max(worst_f32, std::abs(static_cast<double>(f32) - angle));
    }
  fmt::print("  rope: largest angle error to position 1,000,000: {:.2g} rad; a float32 angle: {:.2g} rad\n",
             worst, worst_f32);
  CHECK(worst < 1e-6);
  CHECK(worst_f32 > 1e-3);
}

TEST_CASE("rope bench" * doctest::skip(!bench())) {
  Stream stream(device());
  Tensors t(stream);
  const RopeShape shape{32, 128, 128, RopeLayout::interleaved};
  const auto table = make_rope_table(frequencies(128, 1e4), 1, 4095);
  std::vector<uint32_t> rows;
  for (uint32_t i = 0; i < 512; i++) rows.insert(rows.end(), {0, 0, i, 1});
  const Tensor x = t.f32(512, 4096), r = t.u32(512, 4, rows),
               a = t.f32(rope_table_rows(4095), 128, {table.begin(), table.end()});
  print_bench(stream, "rope [512, 32, 128]", [&] { rope(stream, x, r, a, shape); });
}
