// Products by integer dot products: exact quantisation, the product of what was quantised, the error against
// the product in f32, the same bits for any rows, tiles and parts, and the switches.
#include <map>

#include "shaders/matmul/matmul.h"
#include "shaders/matmul/quantize_rows.h"
#include "shaders/weight/random_weight.h"
#include "tests/compare.h"
#include "tests/device.h"

using namespace spindle;
using namespace spindle::test;

namespace {

constexpr DType kTypes[] = {DType::q8_0, DType::q4_0, DType::q4_1, DType::q5_0, DType::q5_1, DType::q2_k,
                            DType::q3_k, DType::q4_k, DType::q5_k, DType::q6_k, DType::mxfp4};
constexpr Phase kPhases[] = {Phase::prefill, Phase::decode};
constexpr uint32_t kBlock = QUANTIZED_BLOCK;

// Blocks of very different size in one row, outliers among them.
std::vector<double> activations(uint32_t rows, uint32_t k) {
  std::vector<double> x = random_values(size_t{rows} * k, rows + k);
  for (size_t i = 0; i < x.size(); i++)
    x[i] = static_cast<float>(x[i] * std::exp2(static_cast<double>(i / kBlock * 7 % 9) - 4) *
                              (i % 61 == 0 ? 10 : 1));
  return x;
}

struct Case {
  DType type;
  uint32_t n, k, rows;
  RandomWeight weight{type, n, k, n + k};
  std::vector<double> x = activations(rows, k), bias = random_values(n, n);

  // How the products are made: rows of x, a tile or the device's own, with or without dot products.
  std::vector<float> run(Device& device, Phase phase, uint32_t n_rows, const MatmulTile* tile = nullptr,
                         bool dot = true, size_t* n_parts = nullptr) const {
    Stream stream(device);
    Tensors t(stream);
    const LoadedWeight loaded(stream, weight);
    if (n_parts) *n_parts = loaded.weight().parts.size();
    const Tensor y = t.f32(n_rows, n), b = n % 3 == 1 ? t.f32(1, n, bias) : Tensor();
    MatmulInput input(t.f32(n_rows, k, {x.begin(), x.begin() + static_cast<ptrdiff_t>(n_rows) * k}));
    if (dot) {
      input.quantized = t.u32(n_rows, QUANTIZED_WORDS(k));
      pack_rows(stream, input, input.x);
    }
    const MatmulTile own = matmul_tile(device.caps(), phase, n_rows, dot);
    matmul(stream, tile ? *tile : own, phase, y, loaded.weight(), input, b);
    stream.run();
    return t.read(y);
  }

  struct Expected {
    std::vector<double> exact, magnitude;  // of what was quantised; the sums of the blocks' absolute values
    std::vector<double> f32, error;        // of x itself; what quantising x may add, see below
  };
  Expected reference() const {
    const uint32_t n_blocks = k / kBlock;
    std::vector<int8_t> q(x.size());
    std::vector<float> scales(x.size() / kBlock);
    spindle::reference::quantize_rows(q, scales, floats(x));
    Expected e;
    for (uint32_t row = 0; row < rows; row++)
      for (uint32_t i = 0; i < n; i++) {
        double exact = n % 3 == 1 ? bias[i] : 0, f32 = exact, magnitude = std::abs(exact), variance = 0;
        for (uint32_t block = 0; block < n_blocks; block++) {
          const double scale = scales[row * n_blocks + block];
          double sum = 0, minimum = 0, halves[2] = {};
          for (uint32_t j = block * kBlock; j < (block + 1) * kBlock; j++) {
            const double w = weight.values[i * k + j];
            sum += w * q[row * k + j] * scale;
            halves[j % kBlock / 16] += w * q[row * k + j] * scale;
            minimum += weight.minima[i * k + j] * q[row * k + j] * scale;
            f32 += w * x[row * k + j];
            variance += w * w * scale * scale / 12;
          }
          exact += sum;
          magnitude +=
              std::max(std::abs(sum), std::abs(halves[0]) + std::abs(halves[1])) + 2 * std::abs(minimum);
        }
        e.exact.push_back(exact);
        e.magnitude.push_back(magnitude);
        e.f32.push_back(f32);
        e.error.push_back(std::sqrt(variance));
      }
    return e;
  }
};

std::vector<double> slice(const std::vector<double>& v, size_t n) {
  return {v.begin(), v.begin() + static_cast<ptrdiff_t>(n)};
}

// A step of x is its block's largest / 127, so an input's error is spread evenly over half a step to either
// side: a deviation of largest / 127 / sqrt(12), times the weight. Errors are independent and their
// deviations add up as squares; six deviations are exceeded once in 5e8 results.
constexpr double kDeviations = 6;

}  // namespace

TEST_CASE("rows are quantised to the same bits as the reference") {
  const uint32_t k = 96, rows = 41;  // no multiple of a workgroup's blocks
  std::vector<double> x = activations(rows, k);
  for (uint32_t i = 0; i < kBlock; i++) {
    x[i] = 0;
    x[kBlock + i] = i == 3 ? -127 : i - 15.5;              // ties
    x[2 * kBlock + i] = std::ldexp(i, -110);               // too small
    x[3 * kBlock + i] = std::ldexp(i, -104);               // not, but some of it
    x[4 * kBlock + i] = std::ldexp(i - 20.0, 123);         // near the largest number
    x[5 * kBlock + i] = i == 0 ? 1 : std::ldexp(1, -140);  // subnormal beside normal
  }
  const std::vector<float> values = floats(x);
  std::vector<int8_t> q(x.size());
  std::vector<float> scales(x.size() / kBlock);
  reference::quantize_rows(q, scales, values);
  CHECK(q[kBlock + 3] == -127);
  CHECK(q[kBlock + 15] == 0);  // -0.5
  CHECK(q[kBlock + 17] == 2);  // 1.5

  Stream stream(device());
  Tensors t(stream);
  MatmulInput to;
  to.quantized = t.u32(rows, QUANTIZED_WORDS(k));
  pack_rows(stream, to, t.f32(rows, k, x));
  stream.run();
  const std::vector<uint32_t> words = t.read_u32(to.quantized);
  bool same = true;
  for (uint32_t row = 0; row < rows; row++)
    for (uint32_t i = 0; i < k; i++) {
      const uint32_t* row_words = words.data() + size_t{row} * QUANTIZED_WORDS(k);
      same = same && static_cast<int8_t>(row_words[i / 4] >> i % 4 * 8) == q[row * k + i];
      if (i % kBlock != 0) continue;
      const uint32_t* pair = row_words + k / 4 + i / kBlock * 2;
      int sum = 0;
      for (uint32_t j = i; j < i + kBlock; j++) sum += q[row * k + j];
      same = same && std::bit_cast<float>(pair[0]) == scales[(row * k + i) / kBlock] &&
             static_cast<int>(pair[1]) == sum;
      CHECK_MESSAGE(same, "row ", row, " input ", i);
      if (!same) return;
    }
}

TEST_CASE("products by dot products equal those of the quantised rows and come near those in f32") {
  if (!device().caps().dot) return;
  const std::vector<uint32_t> ns =
      quick() ? std::vector<uint32_t>{100} : std::vector<uint32_t>{16, 17, 100, 512};
  const std::vector<uint32_t> ks =
      quick() ? std::vector<uint32_t>{96, 256} : std::vector<uint32_t>{32, 64, 96, 288, 768, 1024};
  const std::vector<uint32_t> row_counts =
      quick() ? std::vector<uint32_t>{33, 1} : std::vector<uint32_t>{64, 33, 8, 5, 2, 1};
  for (DType type : kTypes)
    for (uint32_t k : ks)
      for (uint32_t n : ns) {
        if (k % info(type).block_elements != 0) continue;
        const Case c{type, n, k, row_counts.front()};
        const Case::Expected expected = c.reference();
        const bool halves = type == DType::q2_k || type == DType::q3_k || type == DType::q6_k;
        const int n_sums =
            (halves ? 2 : 1) * (RandomWeight::scales_of(type).minimum > 0 ? 2 : 1);  // of a block
        for (Phase phase : kPhases) {
          std::vector<float> most;
          for (uint32_t rows : row_counts) {
            const std::vector<float> got = c.run(device(), phase, rows);
            const std::string what =
                fmt::format("matmul_dot {} {} [{}, {}, {}]", phase == Phase::prefill ? "prefill" : "decode",
                            info(type).name, rows, n, k);
            // A scale adds three roundings: of the scales' product, of the product and of the sum; so does a
            // minimum.
            check_close(got, slice(expected.exact, got.size()), tolerance(3.0 * n_sums * k / kBlock),
                        slice(expected.magnitude, got.size()), what);
            check_close(got, slice(expected.f32, got.size()), kDeviations, slice(expected.error, got.size()),
                        what + " against f32");
            if (most.empty()) most = got;
            CHECK_MESSAGE(std::equal(got.begin(), got.end(), most.begin()), what,
                          ": other bits than with more rows");
          }
        }
      }
}

TEST_CASE("products by dot products have the same bits for any tile, form and number of parts") {
  const Caps& caps = device().caps();
  if (!caps.dot) return;
  DeviceOptions options = DeviceOptions::from_environment();
  options.limit_binding = 16384;
  Device limited(options);
  const uint32_t lanes = caps.subgroup_size;
  const bool shuffle = caps.wide_loads();
  std::vector<MatmulTile> tiles = {{32, 4, 1, 6, 4, 4, false},       {64, 4, 1, 8, 2, 8, false},
                                   {lanes, 1, 1, 16, 4, 4, shuffle}, {lanes, 1, 1, 1, 8, 8, shuffle},
                                   {16, 1, 16, 1, 1, 8, false},      {16, 1, 16, 8, 1, 4, false}};
  for (size_t i = 0, n = tiles.size(); i < n; i++) {
    tiles.push_back(tiles[i]);
    tiles.back().mixed = true;
  }
  for (DType type : kTypes) {
    if (quick() && type != DType::q8_0 && type != DType::q4_k) continue;
    // No fewer blocks than slices: lavapipe 26.1 crashes where a whole subgroup does not enter a loop.
    const Case c{type, 592, info(type).block_elements == 256 ? 768u : 544u, 33};
    for (Phase phase : kPhases) {
      size_t n_parts = 0;
      const std::vector<float> whole = c.run(device(), phase, 33),
                               cut = c.run(limited, phase, 33, nullptr, true, &n_parts);
      CHECK(n_parts > 1);
      CHECK_MESSAGE(whole == cut, info(type).name);
      std::map<uint32_t, std::vector<float>> by_slices;
      by_slices[matmul_tile(caps, phase, 33, true).slices] = whole;
      for (const MatmulTile& tile : tiles) {
        if (caps.max_workgroup_invocations < tile.lanes * tile.row_groups * tile.slices) continue;
        const std::vector<float> got = c.run(device(), phase, 33, &tile);
        const auto [first, inserted] = by_slices.try_emplace(tile.slices, got);
        CHECK_MESSAGE(got == first->second, info(type).name, " tm ", tile.tm, " tn ", tile.tn, " slices ",
                      tile.slices, tile.mixed ? " mixed" : " signed");
      }
    }
  }
}

TEST_CASE("one quantisation serves several products, and f32 stays f32") {
  DeviceOptions options = DeviceOptions::from_environment();
  options.disable.insert("coopmat");  // would come first
  Device device(options);
  const Caps& caps = device.caps();
  Stream stream(device);
  Tensors t(stream);
  const uint32_t n = 48, k = 64, rows = 3;
  const Case quantised{DType::q8_0, n, k, rows};
  const RandomWeight plain(DType::f32, n, k, 1);
  const LoadedWeight a(stream, quantised.weight), b(stream, plain);
  const Tensor x = t.f32(rows, k, quantised.x);
  const Tensor scratch = t.u32(1, rows * QUANTIZED_WORDS(k));
  for (Phase phase : kPhases) {
    const bool dot = matmul_uses_dot(caps, phase, DType::q8_0, k);
    if (dot) CHECK(matmul_scratch_bytes(caps, rows, k) == scratch.bytes());
    CHECK(!matmul_uses_dot(caps, phase, DType::f32, k));
    CHECK(!matmul_uses_dot(caps, phase, DType::f16, k));
    CHECK(!matmul_input(stream, phase, x, {&b.weight()}, scratch).quantized);
    CHECK(!matmul_input(stream, phase, x, {&a.weight()}, {}).quantized);
    const MatmulInput input = matmul_input(stream, phase, x, {&a.weight(), &b.weight()}, scratch);
    CHECK(static_cast<bool>(input.quantized) == dot);
    // Who writes x itself is told whether anybody reads its f32.
    CHECK(static_cast<bool>(matmul_input(caps, phase, x, {&a.weight()}, scratch).x) != dot);
    CHECK(matmul_input(caps, phase, x, {&a.weight(), &b.weight()}, scratch).x);
    const Tensor y[] = {t.f32(rows, n), t.f32(rows, n), t.f32(rows, n)};
    matmul(stream, phase, y[0], a.weight(), input);
    matmul(stream, phase, y[1], b.weight(), input);
    matmul(stream, phase, y[2], b.weight(), x);
    stream.run();
    CHECK(t.read(y[0]) == quantised.run(device, phase, rows, nullptr, dot));
    CHECK(t.read(y[1]) == t.read(y[2]));
  }
}

TEST_CASE("dot products are switched off") {
  for (int which = 0; which < 2; which++) {
    DeviceOptions options = DeviceOptions::from_environment();
    if (which == 0) options.precision_f32 = true;
    else options.disable.insert({"dot", "coopmat"});
    Device off(options);
    CHECK(!off.caps().dot_accelerated);
    CHECK(matmul_scratch_bytes(off.caps(), 1, 4096) == 0);
    Stream stream(off);
    Tensors t(stream);
    const Case c{DType::q4_0, 32, 64, 2};
    const LoadedWeight loaded(stream, c.weight);
    const Tensor scratch = t.u32(1, 2 * QUANTIZED_WORDS(64)), x = t.f32(2, 64, c.x);
    for (Phase phase : kPhases) {
      CHECK(!matmul_uses_dot(off.caps(), phase, DType::q4_0, 4096));
      CHECK(!matmul_input(stream, phase, x, {&loaded.weight()}, scratch).quantized);
    }
  }
}

TEST_CASE("what is not finite stays visible in products by dot products") {
  if (!device().caps().dot) return;
  for (double bad : {double{NAN}, HUGE_VAL}) {
    Case c{DType::q8_0, 16, 64, 2};
    c.x[5] = bad;
    const std::vector<float> got = c.run(device(), Phase::decode, 2);
    CHECK(std::none_of(got.begin(), got.begin() + 16, [](float f) { return std::isfinite(f); }));
    CHECK(std::all_of(got.begin() + 16, got.end(), [](float f) { return std::isfinite(f); }));
  }
}

TEST_CASE("matmul_dot bench" * doctest::skip(!bench())) {
  Stream stream(device());
  if (!device().caps().dot) return;
  const uint32_t size = stream.caps().software ? 1024 : 4096;
  for (DType type : kTypes) {
    Tensors t(stream);
    const LoadedWeight square(stream, RandomWeight(type, 4096, 4096, 1)),
        smaller(stream, RandomWeight(type, size, size, 1));
    const auto bench_one = [&](Phase phase, const Weight& w, uint32_t rows) {
      MatmulInput input(t.f32(rows, w.k, random_values(size_t{rows} * w.k, 1)));
      const Tensor y = t.f32(rows, w.n);
      input.quantized = t.u32(rows, QUANTIZED_WORDS(w.k));
      print_bench(stream,
                  fmt::format("dot {} {} [{}, {}, {}]", phase == Phase::prefill ? "prefill" : "decode",
                              info(type).name, rows, w.n, w.k),
                  [&] {
                    pack_rows(stream, input, input.x);
                    matmul(stream, matmul_tile(stream.caps(), phase, rows, true), phase, y, w, input);
                  });
    };
    for (uint32_t rows : {1u, 2u, 8u, 32u}) bench_one(Phase::decode, square.weight(), rows);
    bench_one(Phase::prefill, smaller.weight(), 512);
  }
}
