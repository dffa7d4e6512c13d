// Matrix product against its reference, over types, sizes and phases; the same bits for any rows and parts.
#include "shaders/matmul/matmul.h"

#include <map>

#include "runtime/specialize.h"
#include "shaders/weight/random_weight.h"
#include "tests/compare.h"
#include "tests/device.h"

using namespace spindle;
using namespace spindle::test;

namespace {

constexpr Phase kPhases[] = {Phase::prefill, Phase::decode};

// One of each kind where time is short.
std::vector<DType> types() {
  if (quick()) return {DType::f32, DType::q8_0, DType::q4_0, DType::q4_k, DType::q6_k};
  return {std::begin(kWeightTypes), std::end(kWeightTypes)};
}

std::vector<double> slice(const std::vector<double>& v, size_t n) {
  return {v.begin(), v.begin() + static_cast<ptrdiff_t>(n)};
}

struct Case {
  DType type;
  uint32_t n, k;
  RandomWeight weight{type, n, k, n + k};
  std::vector<double> x = random_values(size_t{64} * k, k), bias = random_values(n, n);

  std::vector<float> run(Device& device, Phase phase, uint32_t rows, bool with_bias,
                         size_t* n_parts = nullptr, const MatmulTile* tile = nullptr) const {
    Stream stream(device);
    Tensors t(stream);
    const LoadedWeight loaded(stream, weight);
    if (n_parts) *n_parts = loaded.weight().parts.size();
    const Tensor y = t.f32(rows, n);
    const Tensor input = t.f32(rows, k, slice(x, size_t{rows} * k)),
                 b = with_bias ? t.f32(1, n, bias) : Tensor();
    if (tile) matmul(stream, *tile, phase, y, loaded.weight(), input, b);
    else matmul(stream, phase, y, loaded.weight(), input, b);
    stream.run();
    return t.read(y);
  }
  std::vector<double> reference(uint32_t rows, bool with_bias) const {
    std::vector<double> y(size_t{rows} * n);
    spindle::reference::matmul(y, weight.values, slice(x, size_t{rows} * k),
                               with_bias ? bias : std::vector<double>(), rows);
    return y;
  }
  // What the errors are measured by: the sums of the absolute values.
  std::vector<double> magnitude(uint32_t rows, bool with_bias) const {
    Case absolute = *this;
    // Integers and minimum of a block may be added up apart.
    for (size_t i = 0; i < weight.values.size(); i++)
      absolute.weight.values[i] = std::abs(weight.values[i]) + 2 * std::abs(weight.minima[i]);
    for (auto* v : {&absolute.weight.values, &absolute.x, &absolute.bias})
      for (double& d : *v) d = std::abs(d);
    return absolute.reference(rows, with_bias);
  }
};

}  // namespace

TEST_CASE("matmul equals its reference") {
  const std::vector<uint32_t> ns =
      quick() ? std::vector<uint32_t>{100} : std::vector<uint32_t>{16, 17, 64, 100, 512};
  const std::vector<uint32_t> ks = quick() ? std::vector<uint32_t>{96, 172, 256}
                                           : std::vector<uint32_t>{32, 33, 64, 96, 172, 256, 768, 1000};
  const std::vector<uint32_t> row_counts =
      quick() ? std::vector<uint32_t>{1, 33} : std::vector<uint32_t>{1, 2, 5, 8, 33, 64};
  for (DType type : kWeightTypes)
    for (uint32_t k : ks)
      for (uint32_t n : ns) {
        if (k % info(type).block_elements != 0) continue;
        const Case c{type, n, k};
        const bool with_bias = n % 3 == 1;
        const std::vector<double> expected = c.reference(64, with_bias),
                                  magnitude = c.magnitude(64, with_bias);
        for (Phase phase : kPhases) {
          std::vector<float> most;
          for (auto rows = row_counts.rbegin(); rows != row_counts.rend(); ++rows) {
            const std::vector<float> got = c.run(device(), phase, *rows, with_bias);
            const std::string what =
                fmt::format("matmul {} {} [{}, {}, {}]", phase == Phase::prefill ? "prefill" : "decode",
                            info(type).name, *rows, n, k);
            check_close(got, slice(expected, got.size()), tolerance(k), slice(magnitude, got.size()), what);
            if (most.empty()) most = got;
            CHECK_MESSAGE(std::equal(got.begin(), got.end(), most.begin()), what,
                          ": other bits than with more rows");
          }
        }
      }
}

TEST_CASE("matmul gives the same bits for any number of parts and slices") {
  DeviceOptions options = DeviceOptions::from_environment();
  options.limit_binding = 16384;
  Device limited(options);
  for (DType type : types()) {
    const Case c{type, 192, type == DType::f32 ? 172u : 512u};
    for (Phase phase : kPhases) {
      size_t n_parts = 0;
      const std::vector<float> whole = c.run(device(), phase, 33, true),
                               cut = c.run(limited, phase, 33, true, &n_parts);
      CHECK(n_parts > 1);
      CHECK_MESSAGE(whole == cut, info(type).name);
    }
  }
}

TEST_CASE("matmul's tiles agree with each other") {
  // Other devices' tiles run here too; those with as many slices give the same bits.
  const uint32_t lanes = device().caps().subgroup_size;
  const bool shuffle = device().caps().wide_loads();
  const std::vector<MatmulTile> tiles = {{32, 4, 1, 6, 4, 2, false},      {64, 4, 1, 8, 2, 2, false},
                                         {lanes, 1, 1, 4, 2, 4, shuffle}, {lanes, 1, 1, 1, 1, 8, shuffle},
                                         {16, 1, 16, 1, 1, 8, false},     {16, 1, 16, 8, 1, 2, false},
                                         {16, 2, 4, 2, 2, 4, false}};
  for (DType type : types()) {
    if (quick() && type != DType::f32 && type != DType::q4_k) continue;
    const Case c{type, 100, type == DType::f32 ? 172u : info(type).block_elements == 256 ? 512u : 288u};
    for (Phase phase : kPhases) {
      std::map<uint32_t, std::vector<float>> by_slices;
      std::vector<float> any = c.run(device(), phase, 33, true);
      for (const MatmulTile& tile : tiles) {
        if (device().caps().max_workgroup_invocations < tile.lanes * tile.row_groups * tile.slices) continue;
        const std::vector<float> got = c.run(device(), phase, 33, true, nullptr, &tile);
        const auto [first, inserted] = by_slices.try_emplace(tile.slices, got);
        CHECK_MESSAGE(got == first->second, info(type).name, " tm ", tile.tm, " tn ", tile.tn, " slices ",
                      tile.slices);
        std::vector<double> expected(any.begin(), any.end()), magnitude(c.magnitude(33, true));
        check_close(got, expected, 2 * tolerance(c.k), magnitude,
                    fmt::format("matmul {} with {} slices", info(type).name, tile.slices));
      }
    }
  }
}

TEST_CASE("matmul ignores what lies beyond a row's end") {
  // Rows of 33: the padding of a row's last block is the next row's, here not a number.
  const Case c{DType::f32, 20, 33};
  for (Phase phase : kPhases) {
    Stream stream(device());
    Tensors t(stream);
    const LoadedWeight loaded(stream, c.weight);
    std::vector<double> x = slice(c.x, 66);
    std::fill(x.begin() + 33, x.end(), NAN);
    const Tensor y = t.f32(2, 20);
    matmul(stream, phase, y, loaded.weight(), t.f32(2, 33, x));
    stream.run();
    const std::vector<float> got = t.read(y), alone = c.run(device(), phase, 1, false);
    CHECK(std::equal(alone.begin(), alone.end(), got.begin()));
  }
}

TEST_CASE("a product in several tensors or added to a residual has the bits of a plain one") {
  constexpr uint32_t kRows = 5, kK = 64, kCols[] = {48, 16, 40};
  for (DType type : {DType::f32, DType::q4_0})
    for (Phase phase : kPhases) {
      const Case c{type, 104, kK};
      const std::vector<float> plain = c.run(device(), phase, kRows, true);
      Stream stream(device());
      Tensors t(stream);
      const LoadedWeight loaded(stream, c.weight);
      const Tensor x = t.f32(kRows, kK, slice(c.x, size_t{kRows} * kK)), b = t.f32(1, c.n, c.bias),
                   all = t.f32(kRows, 3 * 64), y = t.f32(kRows, c.n);
      std::vector<Tensor> parts;
      uint64_t at = all.offset_bytes;
      for (uint32_t cols : kCols) {
        parts.emplace_back(*all.buffer, DType::f32, kRows, cols, at);
        at += align_tensor(parts.back().bytes());
      }
      const std::vector<double> before = random_values(size_t{kRows} * c.n, 7);
      const Tensor added = t.f32(kRows, c.n, before);
      matmul(stream, phase, MatmulOutput(parts), loaded.weight(), x, b);
      matmul(stream, phase, MatmulOutput(y, added, 1), loaded.weight(), x, b);
      matmul(stream, phase, MatmulOutput(added, added, 0.5f), loaded.weight(), x, b);
      stream.run();
      const std::vector<float> sum = t.read(y), in_place = t.read(added);
      for (uint32_t row = 0, i = 0; row < kRows; row++)
        for (uint32_t part = 0; part < 3; part++) {
          const std::vector<float> own = t.read(parts[part]);
          for (uint32_t col = 0; col < kCols[part]; col++, i++) {
            CHECK(own[row * kCols[part] + col] == plain[i]);
            CHECK(sum[i] == static_cast<float>(before[i]) + plain[i]);
            CHECK(in_place[i] == static_cast<float>(before[i]) + 0.5f * plain[i]);
          }
        }
    }
}

TEST_CASE("matmul has the same bits where its loops are unrolled before the driver compiles it") {
  if (!specialize_built()) {
    fmt::print(stderr, "SKIPPED: unrolled programs: SPIRV-Tools were not there when this was built\n");
    return;
  }
  const auto unrolled = unrolled_device(true), plain = unrolled_device(false);
  CHECK(unrolled->caps().unroll);
  CHECK(!plain->caps().unroll);
  for (DType type : {DType::f32, DType::f16, DType::q4_0, DType::q4_k})
    for (Phase phase : kPhases)
      for (uint32_t rows : {33u, 1u}) {
        const Case c{type, 100, info(type).block_elements == 256 ? 512u : 288u};
        CHECK_MESSAGE(c.run(*unrolled, phase, rows, true) == c.run(*plain, phase, rows, true),
                      info(type).name, " rows ", rows);
      }
}

TEST_CASE("matmul's kernels are known before they are needed") {
  constexpr uint32_t kRows = 64, kK = 256;
  for (DType type : {DType::f32, DType::f16, DType::q4_0, DType::q6_k})
    for (bool with_bias : {false, true}) {
      Device own(DeviceOptions::from_environment());
      const Caps& caps = own.caps();
      const Case c{type, 48, kK};
      Stream stream(own);
      Tensors t(stream);
      const LoadedWeight loaded(stream, c.weight);
      const Tensor b = with_bias ? t.f32(1, c.n, c.bias) : Tensor(), x = t.f32(kRows, kK, c.x),
                   one = t.f32(1, kK, slice(c.x, kK)), y = t.f32(kRows, c.n), y1 = t.f32(1, c.n);
      const Tensor scratch = t.u32(1, static_cast<uint32_t>(matmul_scratch_bytes(caps, kRows, kK) / 4) + 1);
      own.compile(pack_rows_kernels(caps));
      own.compile(matmul_kernels(caps, type, kK, with_bias));
      const size_t n = own.n_kernels();
      matmul(stream, Phase::prefill, y, loaded.weight(),
             matmul_input(stream, Phase::prefill, x, {&loaded.weight()}, scratch), b);
      stream.run();
      matmul(stream, Phase::decode, y1, loaded.weight(),
             matmul_input(stream, Phase::decode, one, {&loaded.weight()}, scratch), b);
      stream.run();
      CHECK_MESSAGE(own.n_kernels() == n, info(type).name);
    }
}

TEST_CASE("matmul bench" * doctest::skip(!bench())) {
  Stream stream(device());
  for (DType type : kWeightTypes) {
    Tensors t(stream);
    const LoadedWeight square(stream, RandomWeight(type, 4096, 4096, 1));
    for (uint32_t rows : {1u, 2u, 8u, 32u}) {
      const Tensor x = t.f32(rows, 4096, random_values(rows * 4096, 1)), y = t.f32(rows, 4096);
      print_bench(stream, fmt::format("decode {} [{}, 4096, 4096]", info(type).name, rows),
                  [&] { matmul(stream, Phase::decode, y, square.weight(), x); });
    }
    const uint32_t size = stream.caps().software ? 1024 : 4096;
    const LoadedWeight smaller(stream, RandomWeight(type, size, size, 1));
    const Tensor x = t.f32(512, size, random_values(512 * size, 1)), y = t.f32(512, size);
    print_bench(stream, fmt::format("prefill {} [512, {}, {}]", info(type).name, size, size),
                [&] { matmul(stream, Phase::prefill, y, smaller.weight(), x); });
  }
}
