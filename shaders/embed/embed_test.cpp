// Embedding against its reference: every type, several parts, inactive rows, by token and by position.
#include "shaders/embed/embed.h"

#include "shaders/weight/random_weight.h"
#include "tests/compare.h"
#include "tests/device.h"

using namespace spindle;
using namespace spindle::test;

TEST_CASE("embed equals its reference, whatever the parts") {
  const auto run = [](Device& device, DType type, uint32_t dim, bool several) {
    Stream stream(device);
    Tensors t(stream);
    constexpr uint32_t vocabulary = 300, n_rows = 9;
    const RandomWeight table(type, vocabulary, dim, dim);
    const LoadedWeight loaded(stream, table);
    CHECK((loaded.weight().parts.size() > 1) == several);
    std::vector<Row> rows;
    std::vector<uint32_t> words;
    for (uint32_t i = 0; i < n_rows; i++) {
      rows.push_back({i == 0 ? 0 : i == 1 ? vocabulary - 1 : i * 97 % vocabulary, 0, i * 37, i != 4});
      words.insert(words.end(), {rows[i].token, rows[i].slot, rows[i].position, rows[i].in_use});
    }
    for (EmbedBy by : {EmbedBy::token, EmbedBy::position}) {
      const float factor = by == EmbedBy::token ? 1 : 0.5f;    // exact, either way
      std::vector<double> expected(size_t{n_rows} * dim, -7);  // what an inactive row keeps
      const Tensor x = t.f32(n_rows, dim, expected);
      embed(stream, x, loaded.weight(), t.u32(n_rows, 4, words), factor, by);
      stream.run();
      reference::embed(expected, table.values, rows, factor, by);
      const std::vector<float> got = t.read(x);
      for (double& e : expected) e = static_cast<float>(e);  // the one rounding of a minimum
      CHECK_MESSAGE(std::vector<double>(got.begin(), got.end()) == expected,
                    fmt::format("{} [{}]", info(type).name, dim));
    }
  };
  DeviceOptions options = DeviceOptions::from_environment();
  options.limit_binding = 32768;
  Device limited(options);
  for (DType type : kWeightTypes)
    for (uint32_t dim : {32u, 64u, 172u, 33u, 96u, 512u, 768u}) {
      if (dim % info(type).block_elements != 0) continue;
      run(device(), type, dim, false);
      if (dim == 512) run(limited, type, dim, true);
    }
}

TEST_CASE("embed bench" * doctest::skip(!bench())) {
  Stream stream(device());
  for (DType type : kWeightTypes) {
    Tensors t(stream);
    const LoadedWeight table(stream, RandomWeight(type, 4096, 2048, 1));
    std::vector<uint32_t> words;
    for (uint32_t i = 0; i < 512; i++) words.insert(words.end(), {i * 7, 0, i, 1});
    const Tensor x = t.f32(512, 2048), rows = t.u32(512, 4, words);
    print_bench(stream, fmt::format("embed {} [512, 2048]", info(type).name),
                [&] { embed(stream, x, table.weight(), rows); });
  }
}
