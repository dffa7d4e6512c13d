// Weights: decoding as the reference blocks say, packing of every size, parts and loading.
#include "shaders/weight/weight.h"

#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>

#include "shaders/embed/embed.h"
#include "shaders/matmul/matmul.h"
#include "shaders/weight/random_weight.h"
#include "tests/compare.h"
#include "tests/device.h"
#include "tests/shared_data.h"

using namespace spindle;
using namespace spindle::test;

TEST_CASE("weights decode as the reference blocks say") {
  const auto path = shared_or_skip("golden/quant-blocks.json");
  if (!path) return;
  const auto json = nlohmann::json::parse(std::ifstream(*path)).at("types");
  size_t n_types = 0;
  Stream stream(device());
  Tensors t(stream);
  for (const auto& [name, entry] : json.items()) {
    n_types++;
    const std::string hex = entry.at("bytes");
    std::vector<std::byte> bytes;
    for (size_t i = 0; i < hex.size(); i += 2)
      bytes.push_back(std::byte(std::stoi(hex.substr(i, 2), nullptr, 16)));
    const auto type = find_dtype_by_gguf(entry.at("type").get<uint32_t>());
    REQUIRE(type);
    const std::vector<double> expected = entry.at("values");
    const auto n = static_cast<uint32_t>(expected.size());
    bytes.resize(bytes_of(*type, n));  // bf16: more bytes than values
    std::vector<double> decoded = reference::decode(*type, bytes);
    for (double& d : decoded) d = static_cast<float>(d);
    CHECK_MESSAGE(decoded == expected, name);

    // The same on the device: as the only row of a table, and times columns of the unit matrix.
    const WeightShape shape{*type, 1, n};
    WeightStore store(device(), {&shape, 1});
    store.load_matrix(stream, 0, [&](uint64_t at, std::span<std::byte> to) {
      std::copy_n(bytes.data() + at, to.size(), to.data());
    });
    const Tensor x = t.f32(1, n), y[] = {t.f32(n, 1), t.f32(n, 1)};
    embed(stream, x, store.matrix(0), t.u32(1, 4, {0, 0, 0, 1}));
    std::vector<double> unit(size_t{n} * n);
    for (size_t i = 0; i < n; i++) unit[i * n + i] = 1;
    const Tensor ones = t.f32(n, n, unit);
    matmul(stream, Phase::prefill, y[0], store.matrix(0), ones);
    matmul(stream, Phase::decode, y[1], store.matrix(0), ones);
    stream.run();
    const auto check = [&](Tensor got, double units) {
      const std::vector<float> values = t.read(got);
      for (size_t i = 0; i < n; i++)
        if (const double off = std::abs(values[i] - expected[i]);
            off > units * std::abs(expected[i]) * 0x1p-23)
          FAIL_CHECK(fmt::format("{} element {}: got {}, expected {}", name, i, values[i], expected[i]));
    };
    check(x, 0);
    check(y[0], 0);
    // Scale and minimum of a block are added up apart there.
    check(y[1], 1);
  }
  CHECK(n_types == 14);
}

TEST_CASE("half floats decode exactly") {
  const std::pair<uint16_t, double> cases[] = {
      {0x3c00, 1},       {0xc000, -2},    {0x0001, 0x1p-24},    {0x03ff, 0x3ffp-24},
      {0x0400, 0x1p-14}, {0x7bff, 65504}, {0x3555, 0x1.554p-2}, {0, 0}};
  for (const auto& [bits, value] : cases)
    CHECK(reference::decode(DType::f16, std::as_bytes(std::span(&bits, 1))).at(0) == value);
}

TEST_CASE("weights are cut so that no binding and no buffer exceeds its limit") {
  Caps caps;
  caps.max_binding_bytes = 16384;
  caps.max_allocation_bytes = 40000;
  const WeightShape shape{DType::q8_0, 1000, 256};  // 4096 bytes of values a group
  uint32_t next = 0;
  for (const WeightPartShape& p : weight_parts(caps, shape)) {
    CHECK(p.first == next);
    CHECK(p.first % WEIGHT_GROUP == 0);
    CHECK(p.values_bytes <= caps.max_binding_bytes);
    CHECK(p.values_bytes == ceil_div(p.count, 16u) * 4096);
    CHECK(p.scales_bytes == ceil_div(p.count, 16u) * 4 * 64);
    next = p.first + p.count;
  }
  CHECK(next == 1000);
  CHECK(WeightStore::bytes_needed(caps, {&shape, 1}) == weight_bytes(caps, shape));
  CHECK_THROWS_AS(weight_parts(caps, {DType::f32, 16, 1024}), Error);
  CHECK_THROWS_AS(weight_parts(caps, {DType::q4_0, 16, 40}), Error);
}

TEST_CASE("matrices and vectors load in pieces into shared buffers") {
  Stream stream(device());
  const WeightShape shapes[] = {{DType::f32, 48, 20}, {DType::q4_0, 40, 64}};
  const uint32_t lengths[] = {5, 300};
  WeightStore store(device(), shapes, lengths);
  CHECK(store.n_buffers() == 1);
  const RandomWeight a(DType::f32, 32, 20, 1), b(DType::f32, 16, 20, 2), c(DType::q4_0, 40, 64, 3);
  store.load_rows(stream, 0, 0, 32, a.read());
  store.load_rows(stream, 0, 32, 16, b.read());
  store.load_matrix(stream, 1, c.read());
  const RandomWeight v(DType::f16, 1, 300, 4);
  store.load_vector(stream, 1, DType::f16, v.read());

  Tensors t(stream);
  const std::vector<float> floats = t.read(store.vector(1));
  CHECK(std::vector<double>(floats.begin(), floats.end()) == v.values);
  const auto row = [&](const Weight& w, uint32_t token) {
    const Tensor x = t.f32(1, w.k);
    embed(stream, x, w, t.u32(1, 4, {token, 0, 0, 1}));
    stream.run();
    const std::vector<float> got = t.read(x);
    return std::vector<double>(got.begin(), got.end());
  };
  CHECK(row(store.matrix(0), 31) == a.row(31));
  CHECK(row(store.matrix(0), 32) == b.row(0));
  CHECK(row(store.matrix(1), 39) == c.row(39));
}

TEST_CASE("weight loading bench" * doctest::skip(!bench())) {
  Stream stream(device());
  for (DType type : kWeightTypes) {
    const WeightShape shape{type, 4096, 4096};
    WeightStore store(device(), {&shape, 1});
    std::vector<std::byte> bytes(bytes_of(type, 4096 * 4096));
    double seconds = 1e9;
    for (int i = 0; i < 3; i++) {
      const auto start = std::chrono::steady_clock::now();
      store.load_matrix(stream, 0, [&](uint64_t at, std::span<std::byte> to) {
        std::copy_n(bytes.data() + at, to.size(), to.data());
      });
      seconds =
          std::min(seconds, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    }
    fmt::print(
        "  bench load {:<6} [4096, 4096] {:>9.3f} ms {:>7.2f} GB/s, bits a weight: {:.4f} in a file, "
        "{:.4f}\n",
        info(type).name, seconds * 1e3, static_cast<double>(bytes.size()) * 1e-9 / seconds,
        static_cast<double>(bytes.size()) / (1 << 21),
        static_cast<double>(store.matrix(0).bytes()) / (1 << 21));
  }
}
