// Products by cooperative matrices of either extension: exact rounding of rows, the product of what was
// rounded, the error against the product in f32, the same bits for any rows, tiles and parts, inputs and
// weights beyond f16, and the switches.
#include "shaders/matmul/matmul_coopmat.h"

#include "shaders/matmul/coopmat_test.h"
#include "shaders/matmul/half_rows.h"
#include "shaders/matmul/matmul.h"
#include "shaders/weight/random_weight.h"

using namespace spindle;
using namespace spindle::test;

namespace {

std::vector<DType> types() {
  if (quick()) return {DType::f16, DType::bf16, DType::q8_0, DType::q4_0, DType::q4_k, DType::q6_k};
  return {std::begin(kWeightTypes) + 1, std::end(kWeightTypes)};
}

// Rows of very different size: every third of 1e6, every third of 1e-6, of inputs spread over 2^8.
std::vector<double> activations(uint32_t rows, uint32_t k) {
  std::vector<double> x = random_values(size_t{rows} * k, rows + k);
  for (size_t i = 0; i < x.size(); i++) {
    const size_t row = i / k;
    x[i] = static_cast<float>(x[i] * std::exp2(static_cast<double>(i * 7 % 9) - 4) *
                              (row % 3 == 1   ? 1e6
                               : row % 3 == 2 ? 1e-6
                                              : 1));
  }
  return x;
}

struct Case {
  DType type;
  uint32_t n, k, rows;
  RandomWeight weight{type, n, k, n + k};
  std::vector<double> x = activations(rows, k), bias = random_values(n, n);

  bool with_bias() const { return n % 3 == 1; }
  std::vector<float> run(Device& device, uint32_t n_rows, const CoopmatTile* tile = nullptr,
                         size_t* n_parts = nullptr) const {
    Stream stream(device);
    Tensors t(stream);
    const LoadedWeight loaded(stream, weight);
    if (n_parts) *n_parts = loaded.weight().parts.size();
    const Tensor y = t.f32(n_rows, n);
    MatmulInput input;
    input.halves = t.u32(n_rows, HALF_WORDS(k));
    pack_rows(stream, input, t.f32(n_rows, k, {x.begin(), x.begin() + static_cast<ptrdiff_t>(n_rows) * k}));
    matmul_coopmat(stream, tile ? *tile : coopmat_tile(device.caps(), n_rows), y, loaded.weight(),
                   input.halves, with_bias() ? t.f32(1, n, bias) : Tensor());
    stream.run();
    return t.read(y);
  }

  struct Expected {
    std::vector<double> rounded, magnitude;  // of what was rounded; the sums of the absolute values
    std::vector<double> f32, error;          // of x and w themselves; the most that rounding may have changed
  };
  Expected reference() const {
    std::vector<float> halves(x.size()), scales(rows);
    spindle::reference::half_rows(halves, scales, floats(x));
    std::vector<double> w16;
    for (double w : weight.values) w16.push_back(spindle::reference::round_to_f16(static_cast<float>(w)));
    Expected e;
    for (uint32_t row = 0; row < rows; row++)
      for (uint32_t i = 0; i < n; i++) {
        double rounded = 0, f32 = with_bias() ? bias[i] : 0, magnitude = 0, error = 0;
        for (uint32_t j = 0; j < k; j++) {
          const double v = x[row * k + j], v16 = double{halves[row * k + j]} * scales[row],
                       w = weight.values[i * k + j];
          rounded += w16[i * k + j] * v16;
          magnitude += std::abs(w16[i * k + j] * v16);
          f32 += w * v;
          // Half a unit of 11 bits, or of 2^-24 where numbers are small, of either factor.
          error += std::abs(v) * std::max(std::abs(w) * kF16, 0x1p-25) +
                   std::abs(w) * std::max(std::abs(v) * kF16, 0x1p-25 * scales[row]);
        }
        e.rounded.push_back(rounded + (with_bias() ? bias[i] : 0));
        e.magnitude.push_back(magnitude + (with_bias() ? std::abs(bias[i]) : 0));
        e.f32.push_back(f32);
        e.error.push_back(error * (1 + 2 * kF16) + e.magnitude.back() * tolerance(k, 2 * kF32));
      }
    return e;
  }
};

std::vector<double> slice(const std::vector<double>& v, size_t n) {
  return {v.begin(), v.begin() + static_cast<ptrdiff_t>(n)};
}

}  // namespace

TEST_CASE("rows are rounded to f16 with the same bits as the reference, for matmul") {
  for (uint32_t k : {33u, 96u, 1004u}) {
    const uint32_t rows = 9;
    std::vector<double> x = activations(rows, k);
    for (uint32_t i = 0; i < k; i++) {
      x[i] = 0;
      x[k + i] = i == 3 ? 2048 : i + 0.5 * (i % 2);   // ties
      x[2 * k + i] = std::ldexp(i % 32, -110);        // too small
      x[3 * k + i] = std::ldexp(i % 32, -104);        // not
      x[4 * k + i] = std::ldexp(i % 32 - 16.0, 123);  // near the largest number
      x[5 * k + i] = i == 0 ? 65504 : std::ldexp(1 + i, -20);
    }
    std::vector<float> halves(x.size()), scales(rows);
    reference::half_rows(halves, scales, floats(x));
    CHECK(scales[0] == 0);
    CHECK(scales[3] > 0);

    Stream stream(device());
    Tensors t(stream);
    MatmulInput to;
    to.halves = t.u32(rows, HALF_WORDS(k));
    pack_rows(stream, to, t.f32(rows, k, x));
    stream.run();
    const std::vector<uint32_t> words = t.read_u32(to.halves);
    for (uint32_t row = 0; row < rows; row++) {
      const uint32_t* own = words.data() + size_t{row} * HALF_WORDS(k);
      CHECK(std::bit_cast<float>(own[HALF_SCALE_AT(k)]) == scales[row]);
      uint32_t n_other = 0;
      for (uint32_t i = 0; i < HALF_SCALE_AT(k) * 2; i++) {
        const auto half = static_cast<uint16_t>(own[i / 2] >> i % 2 * 16);
        std::vector<std::byte> bytes(2);
        std::memcpy(bytes.data(), &half, 2);
        n_other += reference::decode(DType::f16, bytes)[0] != (i < k ? double{halves[row * k + i]} : 0);
      }
      CHECK_MESSAGE(n_other == 0, n_other, " others in row ", row, " of ", k);
    }
  }
}

TEST_CASE("matmul by cooperative matrices equals that of rounded inputs and comes near that in f32") {
  const auto device = coopmat_device();
  if (!device) return;
  const std::vector<uint32_t> ns =
      quick() ? std::vector<uint32_t>{100} : std::vector<uint32_t>{16, 17, 100, 257};
  const std::vector<uint32_t> ks = quick() ? std::vector<uint32_t>{33, 96, 256}
                                           : std::vector<uint32_t>{32, 33, 64, 96, 172, 256, 768, 1000};
  const std::vector<uint32_t> row_counts =
      quick() ? std::vector<uint32_t>{67, 1} : std::vector<uint32_t>{67, 64, 33, 32, 5, 1};
  double worst = 0;
  for (DType type : types())
    for (uint32_t k : ks)
      for (uint32_t n : ns) {
        if (k % info(type).block_elements != 0) continue;
        const Case c{type, n, k, row_counts.front()};
        const Case::Expected expected = c.reference();
        std::vector<float> most;
        for (uint32_t rows : row_counts) {
          const std::vector<float> got = c.run(*device, rows);
          const std::string what = fmt::format("matmul_coopmat {} [{}, {}, {}]", info(type).name, rows, n, k);
          // Matrices may be added up by circuits that truncate.
          worst =
              std::max(worst, check_close(got, slice(expected.rounded, got.size()), tolerance(k, 2 * kF32),
                                          slice(expected.magnitude, got.size()), what)
                                  .share());
          check_close(got, slice(expected.f32, got.size()), 1, slice(expected.error, got.size()),
                      what + " against f32");
          if (most.empty()) most = got;
          CHECK_MESSAGE(std::equal(got.begin(), got.end(), most.begin()), what,
                        ": other bits than with more rows");
        }
      }
  fmt::print("  cooperative matrices{} {} x {} x {}: at most {:.2g} of the error allowed\n",
             uses_coopmat2(device->caps()) ? " of the second extension" : "", device->caps().coopmat_m,
             device->caps().coopmat_n, device->caps().coopmat_k, worst);
}

TEST_CASE("matmul by cooperative matrices has the same bits for any tile and number of parts") {
  const auto device = coopmat_device();
  if (!device) return;
  DeviceOptions options = device->options();
  options.limit_binding = 16384;
  Device limited(options);
  for (DType type : types()) {
    if (quick() && type != DType::f16 && type != DType::q4_k) continue;
    const Case c{type, 208, info(type).block_elements == 256 ? 512u : 288u, 67};
    size_t n_parts = 0;
    const std::vector<float> whole = c.run(*device, 67), cut = c.run(limited, 67, nullptr, &n_parts);
    CHECK(n_parts > 1);
    CHECK_MESSAGE(whole == cut, info(type).name);
    for (const CoopmatTile& tile :
         {CoopmatTile{32, 32, 32, 1}, {32, 64, 64, 2}, {128, 32, 128, 1}, {64, 64, 256, 2}})
      CHECK_MESSAGE(c.run(*device, 67, &tile) == whole, info(type).name, " tile ", tile.rows, " x ",
                    tile.outputs);
  }
}

TEST_CASE("matmul by cooperative matrices has the same bits in several tensors and added to a residual") {
  const auto device = coopmat_device();
  if (!device) return;
  constexpr uint32_t kRows = 37, kCols[] = {48, 16, 36};
  const Case c{DType::q8_0, 100, 96, kRows};
  REQUIRE(c.with_bias());
  const std::vector<float> plain = c.run(*device, kRows);
  const std::vector<double> before = random_values(size_t{kRows} * c.n, 7, 1e3);
  Stream stream(*device);
  Tensors t(stream);
  const LoadedWeight loaded(stream, c.weight);
  const Tensor bias = t.f32(1, c.n, c.bias), all = t.f32(kRows, 3 * 64), y = t.f32(kRows, c.n),
               added = t.f32(kRows, c.n, before);
  MatmulInput input;
  input.halves = t.u32(kRows, HALF_WORDS(c.k));
  pack_rows(stream, input, t.f32(kRows, c.k, c.x));
  std::vector<Tensor> parts;
  uint64_t at = all.offset_bytes;
  for (uint32_t cols : kCols) {
    parts.emplace_back(*all.buffer, DType::f32, kRows, cols, at);
    at += align_tensor(parts.back().bytes());
  }
  const CoopmatTile tile = coopmat_tile(device->caps(), kRows);
  matmul_coopmat(stream, tile, MatmulOutput(parts), loaded.weight(), input.halves, bias);
  matmul_coopmat(stream, tile, MatmulOutput(y, added, 1), loaded.weight(), input.halves, bias);
  matmul_coopmat(stream, tile, MatmulOutput(added, added, 0.5f), loaded.weight(), input.halves, bias);
  stream.run();
  const std::vector<float> sum = t.read(y), in_place = t.read(added);
  size_t n_other = 0, i = 0;
  std::vector<std::vector<float>> own;
  for (const Tensor& part : parts) own.push_back(t.read(part));
  for (uint32_t row = 0; row < kRows; row++)
    for (uint32_t part = 0; part < 3; part++)
      for (uint32_t col = 0; col < kCols[part]; col++, i++)
        n_other += own[part][row * kCols[part] + col] != plain[i] ||
                   sum[i] != static_cast<float>(before[i]) + plain[i] ||
                   in_place[i] != static_cast<float>(before[i]) + 0.5f * plain[i];
  CHECK(n_other == 0);
}

TEST_CASE("what is not finite stays visible in products by cooperative matrices, in its row (matmul)") {
  const auto device = coopmat_device();
  if (!device) return;
  for (double bad : {double{NAN}, HUGE_VAL}) {
    Case c{DType::q8_0, 16, 64, 2};
    c.x[5] = bad;
    const std::vector<float> got = c.run(*device, 2);
    CHECK(std::none_of(got.begin(), got.begin() + 16, [](float f) { return std::isfinite(f); }));
    CHECK(std::all_of(got.begin() + 16, got.end(), [](float f) { return std::isfinite(f); }));
  }
}

TEST_CASE("weights beyond f16 are known, for matmul") {
  for (DType type : kWeightTypes) {
    RandomWeight w(type, 16, 256, 1);
    if (type == DType::f32 || type == DType::f16) {
      CHECK(fits_f16(type, w.bytes) == (type == DType::f16));
      continue;
    }
    CHECK_MESSAGE(fits_f16(type, w.bytes), info(type).name);
    CHECK(largest(w.values) <= 65504);
    std::byte* last = w.bytes.data() + w.bytes.size() - info(type).block_bytes;
    const uint16_t half = 0x7bff;  // 65504
    const float value = 1e6f;
    if (type == DType::bf16) std::memcpy(last, reinterpret_cast<const char*>(&value) + 2, 2);
    else if (type == DType::mxfp4) last[0] = std::byte{150};
    else std::memcpy(last + RandomWeight::scales_of(type).first, &half, 2);
    CHECK_MESSAGE(!fits_f16(type, w.bytes), info(type).name);
  }
}

TEST_CASE("matmul takes cooperative matrices where it is told to, and f32 for weights beyond f16") {
  const auto device = coopmat_device();
  if (!device) return;
  const Caps& caps = device->caps();
  CHECK(matmul_uses_coopmat(caps, Phase::prefill, DType::q4_0));
  CHECK(!matmul_uses_coopmat(caps, Phase::decode, DType::q4_0));
  CHECK(!matmul_uses_coopmat(caps, Phase::prefill, DType::f32));
  const uint32_t n = 48, k = 64, rows = 35;
  const Case c{DType::q8_0, n, k, rows};
  RandomWeight large = c.weight, plain(DType::f32, n, k, 1);
  large.bytes[0] = std::byte{0xff}, large.bytes[1] = std::byte{0x7b};
  large.values = reference::decode(DType::q8_0, large.bytes);
  Stream stream(*device);
  Tensors t(stream);
  const LoadedWeight a(stream, c.weight), b(stream, large), f(stream, plain);
  CHECK(a.weight().fits_f16);
  CHECK(!b.weight().fits_f16);
  const Tensor x = t.f32(rows, k, c.x),
               y[] = {t.f32(rows, n), t.f32(rows, n), t.f32(rows, n), t.f32(rows, n)};
  const Tensor scratch = t.u32(1, static_cast<uint32_t>(matmul_scratch_bytes(caps, rows, k) / 4));
  CHECK(matmul_scratch_bytes(caps, rows, k) >= 4 * rows * HALF_WORDS(k));
  CHECK(!matmul_input(stream, Phase::prefill, x, {&f.weight()}, scratch).halves);
  CHECK(!matmul_input(stream, Phase::prefill, x, {&b.weight()}, scratch).halves);
  CHECK(!matmul_input(stream, Phase::prefill, x, {&a.weight()}, {}).halves);
  CHECK(!matmul_input(stream, Phase::prefill, x, {&a.weight()}, scratch, false).halves);
  const MatmulInput input =
      matmul_input(stream, Phase::prefill, x, {&a.weight(), &b.weight(), &f.weight()}, scratch);
  CHECK(static_cast<bool>(input.halves));
  matmul(stream, Phase::prefill, y[0], a.weight(), input);
  matmul(stream, Phase::prefill, y[1], b.weight(), input);
  matmul(stream, Phase::prefill, y[2], b.weight(), x);
  matmul(stream, Phase::prefill, y[3], f.weight(), input);
  stream.run();
  CHECK(t.read(y[0]) == c.run(*device, rows));
  CHECK(t.read(y[1]) == t.read(y[2]));
  std::vector<double> of_f32(size_t{rows} * n), magnitude = of_f32;
  reference::matmul(of_f32, plain.values, c.x, {}, rows);
  for (size_t i = 0; i < of_f32.size(); i++)
    for (uint32_t j = 0; j < k; j++)
      magnitude[i] += std::abs(plain.values[i % n * k + j] * c.x[i / n * k + j]);
  check_close(t.read(y[3]), of_f32, tolerance(k), magnitude, "f32 beside cooperative matrices");
}

TEST_CASE("matmul's cooperative matrices are switched off") {
  for (const char* how : {"precision", "coopmat", "fp16", "subgroup"}) {
    DeviceOptions options = DeviceOptions::from_environment();
    options.prefer = {"coopmat", "coopmat2"};
    if (how == std::string("precision")) options.precision_f32 = true;
    else options.disable.insert(how);
    Device off(options);
    CHECK(!off.caps().coopmat);
    CHECK(!off.caps().coopmat2);
    CHECK(!uses_coopmat2(off.caps()));
    CHECK(!matmul_uses_coopmat(off.caps(), Phase::prefill, DType::f16));
    CHECK(matmul_coopmat_kernels(off.caps()).empty());
  }
  DeviceOptions options = DeviceOptions::from_environment();
  options.prefer = {"speed"};
  CHECK_THROWS_WITH_AS(
      Device{options},
      doctest::Contains("--prefer speed: no such fast path; there are: dot, coopmat, coopmat2"), Error);
}

TEST_CASE("matmul_coopmat bench" * doctest::skip(!bench())) {
  const auto device = coopmat_device();
  if (!device) return;
  Stream stream(*device);
  const uint32_t size = stream.caps().software ? 512 : 4096, rows = stream.caps().software ? 128 : 512;
  for (DType type : {DType::f16, DType::q8_0, DType::q4_0, DType::q4_k, DType::q6_k}) {
    Tensors t(stream);
    const LoadedWeight w(stream, RandomWeight(type, size, size, 1));
    const Tensor x = t.f32(rows, size, random_values(size_t{rows} * size, 1)), y = t.f32(rows, size);
    const Tensor scratch =
        t.u32(1, static_cast<uint32_t>(matmul_scratch_bytes(stream.caps(), rows, size) / 4) + 1);
    MatmulInput input;
    input.halves = t.u32(rows, HALF_WORDS(size));
    for (const CoopmatTile& tile : {CoopmatTile{}, {64, 64, 128, 2}, {128, 128, 256, 1}, {32, 64, 32, 1}})
      print_bench(
          stream,
          fmt::format("coopmat{} {} [{}, {}, {}] {} x {} / {} x {}", uses_coopmat2(stream.caps()) ? "2" : "",
                      info(type).name, rows, size, size, tile.rows, tile.outputs, tile.lanes, tile.blocks),
          [&] {
            pack_rows(stream, input, x);
            matmul_coopmat(stream, tile, y, w.weight(), input.halves, {});
          });
    print_bench(stream, fmt::format("own {} [{}, {}, {}]", info(type).name, rows, size, size), [&] {
      matmul(stream, Phase::prefill, y, w.weight(),
             matmul_input(stream, Phase::prefill, x, {&w.weight()}, scratch, false));
    });
  }
}
