// Products with experts against their reference and against products with each expert's matrix alone; the
// same bits for any rows, tiles and parts.
#include "shaders/experts/expert_matmul.h"

#include "shaders/matmul/quantize_rows.h"
#include "shaders/weight/format.h"
#include "shaders/weight/random_weight.h"
#include "tests/compare.h"
#include "tests/device.h"

using namespace spindle;
using namespace spindle::test;

namespace {

constexpr DType kBenchTypes[] = {DType::f32, DType::f16, DType::q8_0, DType::q4_0, DType::q4_k};
constexpr Phase kPhases[] = {Phase::prefill, Phase::decode};

struct LoadedExperts {
  LoadedExperts(Stream& stream, const RandomWeight& all, uint32_t experts) {
    const uint32_t n = all.n / experts;
    const WeightShape shape = expert_shape(all.type, experts, n, all.k);
    store = WeightStore(stream.device(), {&shape, 1});
    const uint64_t bytes = all.bytes.size() / experts;
    store.load_matrix(
        stream, 0,
        padded_experts(all.type, n, all.k, [&](uint32_t expert, uint64_t at, std::span<std::byte> to) {
          std::copy_n(all.bytes.data() + expert * bytes + at, to.size(), to.data());
        }));
    weight = {store.matrix(0), experts, n};
  }
  WeightStore store;
  ExpertWeight weight;
};

// Some experts have many rows, some none.
std::vector<uint32_t> random_ids(uint32_t pairs, uint32_t experts) {
  std::mt19937 engine(pairs);
  std::vector<uint32_t> ids(pairs);
  for (uint32_t& id : ids) id = std::min(engine() % experts, engine() % experts) | (experts > 4 ? 1 : 0);
  for (uint32_t& id : ids) id = std::min(id, experts - 1);
  return ids;
}

struct Case {
  DType type;
  uint32_t experts, n, k, rows, used;
  bool row_a_pair, with_bias;
  RandomWeight weight{type, experts* n, k, n + k};
  std::vector<double> x = random_values(size_t{rows} * used * k, k), bias = random_values(experts * n, n);
  std::vector<uint32_t> ids = random_ids(rows * used, experts);

  size_t x_rows(uint32_t n_rows) const { return row_a_pair ? n_rows * used : n_rows; }
  std::vector<double> x_of(uint32_t n_rows) const {
    return {x.begin(), x.begin() + static_cast<ptrdiff_t>(x_rows(n_rows) * k)};
  }
  std::vector<float> run(Device& device, Phase phase, uint32_t n_rows, bool dot = false,
                         uint32_t tile_rows = 0, size_t* n_parts = nullptr) const {
    Stream stream(device);
    Tensors t(stream);
    const LoadedExperts loaded(stream, weight, experts);
    if (n_parts) *n_parts = loaded.weight.weight.parts.size();
    const uint32_t pairs = n_rows * used;
    const Tensor y = t.f32(pairs, n), b = with_bias ? t.f32(experts, n, bias) : Tensor();
    MatmulInput input(t.f32(static_cast<uint32_t>(x_rows(n_rows)), k, x_of(n_rows)));
    if (dot) {
      input.quantized = t.u32(input.x.rows, QUANTIZED_WORDS(k));
      pack_rows(stream, input, input.x);
    }
    const Tensor of = t.u32(n_rows, used, {ids.begin(), ids.begin() + pairs}),
                 scratch = t.u32(1, static_cast<uint32_t>(expert_rows_scratch_bytes(pairs, experts) / 4));
    const ExpertRows by_expert = tile_rows ? expert_rows(stream, of, experts, tile_rows, scratch)
                                           : expert_rows(stream, phase, of, experts, scratch);
    expert_matmul(stream, phase, y, loaded.weight, input, by_expert, b);
    stream.run();
    return t.read(y);
  }
  std::vector<double> reference() const {
    std::vector<double> y(size_t{rows} * used * n);
    spindle::reference::expert_matmul(y, weight.values, x_of(rows), with_bias ? bias : std::vector<double>(),
                                      ids, experts, k);
    return y;
  }
  std::vector<double> magnitude() const {
    Case absolute = *this;
    for (auto* v : {&absolute.weight.values, &absolute.x, &absolute.bias})
      for (double& d : *v) d = std::abs(d);
    return absolute.reference();
  }
  // The products with one expert's matrix, which must be the same to the bit.
  std::vector<float> one_by_one(Phase phase, bool dot) const {
    Stream stream(device());
    std::vector<float> y(size_t{rows} * used * n);
    for (uint32_t e = 0; e < experts; e++) {
      Tensors t(stream);
      RandomWeight own(type, n, k, 1);
      std::copy_n(weight.bytes.data() + e * own.bytes.size(), own.bytes.size(), own.bytes.data());
      const LoadedWeight loaded(stream, own);
      MatmulInput input(t.f32(static_cast<uint32_t>(x_rows(rows)), k, x_of(rows)));
      if (dot) {
        input.quantized = t.u32(input.x.rows, QUANTIZED_WORDS(k));
        pack_rows(stream, input, input.x);
      }
      const Tensor out = t.f32(input.x.rows, n);
      const std::vector<double> b(bias.begin() + e * n, bias.begin() + (e + 1) * n);
      matmul(stream, phase, out, loaded.weight(), input, with_bias ? t.f32(1, n, b) : Tensor());
      stream.run();
      const std::vector<float> got = t.read(out);
      for (size_t pair = 0; pair < ids.size(); pair++)
        if (ids[pair] == e)
          std::copy_n(got.begin() + static_cast<ptrdiff_t>((row_a_pair ? pair : pair / used) * n), n,
                      y.begin() + static_cast<ptrdiff_t>(pair * n));
    }
    return y;
  }
  std::string what(Phase phase) const {
    return fmt::format("expert_matmul {} {} {} x [{}, {}], {} rows of {}",
                       phase == Phase::prefill ? "prefill" : "decode", info(type).name, experts, n, k, rows,
                       used);
  }
};

// Quick sweeps: one of each way that a lane decodes.
std::vector<DType> types() {
  if (quick()) return {DType::f16, DType::q4_0, DType::q6_k};
  return {std::begin(kWeightTypes), std::end(kWeightTypes)};
}

bool dot_products(DType type, uint32_t k) {
  return device().caps().dot && k % QUANTIZED_BLOCK == 0 &&
         matmul_uses_dot(device().caps(), Phase::prefill, type, k) &&
         matmul_uses_dot(device().caps(), Phase::decode, type, k);
}

}  // namespace

TEST_CASE("expert_matmul equals its reference and the products with each expert") {
  struct Size {
    uint32_t experts, n, k, rows, used;
  };
  const std::vector<Size> sizes =
      quick() ? std::vector<Size>{{6, 40, 64, 9, 3}}
              : std::vector<Size>{{4, 40, 48, 33, 2}, {6, 24, 33, 7, 3},   {3, 100, 64, 64, 2},
                                  {1, 16, 32, 5, 1},  {60, 17, 96, 20, 4}, {8, 130, 256, 90, 2}};
  for (DType type : types())
    for (const Size& s : sizes) {
      const bool quantised = info(type).block_elements > 1;  // their decoding has its tests in shaders/matmul
      if (quantised && &s != &sizes.front() && &s != &sizes.back()) continue;
      const uint32_t k = round_up(s.k, info(type).block_elements);
      for (bool row_a_pair : {false, true}) {
        const Case c{type, s.experts, s.n, k, s.rows, s.used, row_a_pair, s.n % 3 == 1};
        const std::vector<double> expected = c.reference(), magnitude = c.magnitude();
        for (Phase phase : kPhases) {
          const std::vector<float> got = c.run(device(), phase, s.rows);
          check_close(got, expected, tolerance(k), magnitude, c.what(phase));
          CHECK_MESSAGE(got == c.one_by_one(phase, false), c.what(phase), ": other bits than one expert's");
          for (uint32_t rows : {1u, s.rows / 2}) {
            if (rows == 0) continue;
            const std::vector<float> few = c.run(device(), phase, rows);
            CHECK_MESSAGE(std::equal(few.begin(), few.end(), got.begin()), c.what(phase),
                          ": other bits than with more rows");
          }
          if (dot_products(type, k))
            CHECK_MESSAGE(c.run(device(), phase, s.rows, true) == c.one_by_one(phase, true), c.what(phase),
                          " by dot products: other bits than one expert's");
        }
      }
    }
}

TEST_CASE("expert_matmul gives the same bits for any tiles and parts") {
  DeviceOptions options = DeviceOptions::from_environment();
  options.limit_binding = 16384;
  Device limited(options);
  for (DType type : types()) {
    // Parts begin within experts: an expert has three groups of outputs.
    const Case c{type, 9, 40, type == DType::f32 ? 172u : 256u, 6, 2, false, true};
    for (Phase phase : kPhases) {
      size_t n_parts = 0;
      const std::vector<float> whole = c.run(device(), phase, c.rows);
      for (uint32_t tile_rows : {1u, 2u, 4u, 8u}) {
        if (quick() && (tile_rows == 1 || tile_rows == 4)) continue;
        CHECK_MESSAGE(whole == c.run(device(), phase, c.rows, false, tile_rows), info(type).name,
                      " tiles of ", tile_rows);
      }
      CHECK_MESSAGE(whole == c.run(limited, phase, c.rows, false, 0, &n_parts), info(type).name, " in parts");
      CHECK(n_parts > 1);
    }
  }
}

TEST_CASE("expert_matmul bench" * doctest::skip(!bench())) {
  // Qwen3-30B-A3B's sizes with a quarter of its experts: 8 of 32, 2048 to 768; and Mixtral's number, 2 of 8.
  Stream stream(device());
  for (DType type : kBenchTypes)
    for (const auto& [experts, used] : {std::pair{32u, 8u}, {8u, 2u}})
      for (const auto& [phase, rows] : {std::pair{Phase::decode, 1u},
                                        {Phase::decode, 8u},
                                        {Phase::decode, 32u},
                                        {Phase::prefill, 128u}}) {
        Tensors t(stream);
        const LoadedExperts loaded(stream, RandomWeight(type, experts * 768, 2048, 1), experts);
        std::mt19937 engine(1);
        std::vector<uint32_t> ids(size_t{rows} * used);
        for (size_t i = 0; i < ids.size(); i++)
          ids[i] = i % used == 0 ? engine() % experts : (ids[i - 1] + 1) % experts;
        const uint32_t pairs = rows * used;
        const Tensor of = t.u32(rows, used, ids), x = t.f32(rows, 2048, random_values(rows * 2048, 1)),
                     y = t.f32(pairs, 768),
                     scratch = t.u32(1, static_cast<uint32_t>(expert_rows_scratch_bytes(pairs, experts) / 4));
        print_bench(stream,
                    fmt::format("{} {} {} of {}, {} rows", phase == Phase::decode ? "decode" : "prefill",
                                info(type).name, used, experts, rows),
                    [&, p = phase] {
                      expert_matmul(stream, p, y, loaded.weight, x,
                                    expert_rows(stream, p, of, loaded.weight.experts, scratch));
                    });
      }
}
