// Attention maps against their reference: every kind of cache, score and pattern, every size of cell.
#include "shaders/attention_map/attention_map_test.h"

#include "shaders/attention/attention_variant.h"

using namespace spindle;
using namespace spindle::test;

namespace {

struct Case {
  std::string name;
  CacheShape cache;
  AttentionShape shape;
  uint32_t n = 150;
  double bias = 0;  // what scores grow by
};

std::vector<Case> cases() {
  const auto f16 = [](uint32_t kv, uint32_t dim) { return CacheShape{kv, dim, 16, DType::f16, DType::f16}; };
  const AttentionShape four{.n_heads = 4, .scale = 0.125f};
  const auto with = [&](auto&& change) {
    AttentionShape s = four;
    change(s);
    return s;
  };
  std::vector<Case> list = {
      {"f32", {2, 64, 16, DType::f32, DType::f32}, four},
      {"q8_0", {4, 40, 16, DType::q8_0, DType::q8_0}, four},
      {"q4_0", {1, 96, 32, DType::q4_0, DType::f16}, four},
      {"f16 head of 8", f16(2, 8), four, 300},
      {"f16 head of 256", f16(1, 256), {.n_heads = 2, .scale = 0.0625f}, 70},
      {"window, soft cap", f16(2, 64), with([](auto& s) {
         s.passes = pattern::window(40);
         s.soft_cap = 3;
       })},
      {"slopes", f16(2, 64), with([](auto& s) {
         s.slopes = {0.5f, 0.25f, 0.125f, 1};
       }),
       150, 150},
      {"bias", f16(4, 16), with([](auto& s) {
         s.bias = std::vector<float>(4 * 9);
         for (size_t i = 0; i < s.bias.size(); i++) s.bias[i] = 0.3f * static_cast<float>(i % 7) - 1;
       }),
       150, 2},
      {"learned sinks", f16(2, 64), with([](auto& s) {
         s.passes = pattern::window(30);
         s.sinks = {1, -1, 0, 2};
       })},
      {"sinks and window", f16(2, 64), with([](auto& s) {
         s.passes = pattern::sinks(4, 50);
         s.slopes = {0.5f, 0.25f, 0.125f, 1};
       }),
       150, 60},
      {"two forms", f16(2, 64), with([](auto& s) { s.passes = pattern::far_and_near(33); })},
      {"dual chunk", f16(2, 64), with([](auto& s) { s.passes = pattern::dual_chunk(24); })},
      {"longformer", f16(2, 64), with([](auto& s) {
         s.passes = pattern::longformer(20, 3, true);
         s.listed = {5, 17, 64, 90};
       })},
      {"bigbird", f16(2, 64), with([](auto& s) { s.passes = pattern::bigbird(8, 1, 2, 2); })},
      {"shifted groups", f16(2, 64), with([](auto& s) { s.passes = pattern::shifted_groups(32); })},
      {"dilated", f16(2, 64), with([](auto& s) {
         s.passes = pattern::dilated({{16, 1}, {64, 4}});
       })},
      {"decay", f16(2, 16), with([](auto& s) {
         s.decay = std::vector<double>(16, 0.998);
         s.decay_depth = 300;
       }),
       300},
      {"both ways", f16(2, 16), with([](auto& s) {
         s.passes = {{.to = edge::everything}};
         s.bias = std::vector<float>(4 * 9, 0.5f);
         s.bias_both_ways = true;
       }),
       60, 1}};
  return list;
}

double check_image(MapWorld& w, const MapImage& m, const std::vector<float>& got, double bias,
                   const std::string& what) {
  const double scores = 1 + 0.64 * std::sqrt(w.world.cache.head_dim) + bias;
  // A log-sum-exp by cooperative matrices is of rounded q, and of rounded keys where those are quantised.
  const bool halves = attention_uses_coopmat(device().caps(), Phase::prefill, w.world.cache, w.world.shape);
  const double share =
      3 * scores * tolerance(w.world.cache.head_dim + w.length()) + (halves ? scores * 2 * kF16 : 0);
  const auto expected = reference::attention_map(w.probabilities(), w.world.shape.n_heads, w.length(), m);
  std::vector<double> magnitudes(expected);
  if (m.value == MapValue::statistics)  // -p ln p is as uncertain as p
    for (double& x : magnitudes) x = std::abs(x) + 1 + m.n_queries;
  return check_close(got, expected, share, magnitudes, what).share();
}

}  // namespace

TEST_CASE("attention maps equal their reference for every cache, score and pattern") {
  Stream stream(device());
  double worst = 0;
  size_t turn = 0;
  for (const Case& c : cases()) {
    if (passes_over(turn++)) continue;
    MapWorld w(stream, c.cache, c.shape, {20, c.n}, 1, 64, {48, 32});
    const uint32_t n = c.n, heads = c.shape.n_heads;
    uint32_t pieces = 0;
    const auto check = [&](const MapImage& m, double cost, uint64_t bytes, const std::string& what) {
      worst =
          std::max(worst, check_image(w, m, w.image(m, cost, bytes, &pieces), c.bias, c.name + ", " + what));
    };
    MapImage every{.n_heads = heads, .n_queries = n, .n_keys = n, .width = n, .height = n, .n_lines = n};
    check(every, 1e9, 1 << 20, "a cell each");
    every.value = MapValue::sum;
    check(every, 1e5, 1 << 14, "a cell each in small pieces");
    for (MapValue value : {MapValue::max, MapValue::sum}) {
      check({.first_head = heads - 1,
             .n_queries = n,
             .n_keys = n,
             .width = 7,
             .height = 5,
             .n_lines = 5,
             .value = value},
            1e9, 1 << 20, "7 x 5");
      check({.n_heads = 2,
             .n_queries = n,
             .n_keys = n,
             .width = 3,
             .height = 2,
             .first_line = 1,
             .n_lines = 1,
             .value = value,
             .hidden_keys = 4},
            3e5, 1 << 12, "the lower line of 3 x 2");
      check({.first_head = 1,
             .first_query = n / 2,
             .n_queries = n / 3,
             .first_key = 9,
             .n_keys = n / 2,
             .width = 1,
             .height = 11,
             .n_lines = 11,
             .value = value},
            1e9, 1 << 20, "a part in 1 x 11");
    }
    check({.n_heads = heads,
           .first_query = 3,
           .n_queries = n - 3,
           .n_keys = n,
           .width = 1,
           .height = 4,
           .n_lines = 4,
           .value = MapValue::statistics,
           .n_sinks = 4,
           .window = 10},
          1e9, 1 << 20, "statistics");
    CHECK(pieces > 20);
    CHECK(w.largest_cost <= 2);  // at borders of parts and segments few rows share the keys that are read
    // Single rows.
    Tensors t(stream);
    const Tensor row = t.f32(1, n);
    for (uint32_t query : {0u, 63u, 64u, n - 1}) {
      if (query >= n) continue;
      attention_map_row(stream, row, w.source(), MapValue::sum, heads / 2, query);
      stream.run();
      const MapImage m{.first_head = heads / 2,
                       .first_query = query,
                       .n_queries = 1,
                       .n_keys = n,
                       .width = n,
                       .height = 1,
                       .n_lines = 1};
      check_image(w, m, t.read(row), c.bias, c.name + ", a row");
      attention_map_row(stream, row, w.source(), MapValue::score, heads / 2, query);
      stream.run();
      const std::vector<float> scores = t.read(row);
      CHECK((scores[n - 1] == -1e30f) ==
            (w.probabilities()[(size_t{query} * heads + heads / 2) * n + n - 1] == 0));
    }
  }
  fmt::print("  attention map: worst error {:.3f} of the tolerance\n", worst);
}

TEST_CASE("coarse attention maps look at few pairs and show the first keys and the diagonal") {
  Stream stream(device());
  const uint32_t n = 2000;
  MapWorld w(stream, {1, 32, 64, DType::f16, DType::f16}, {.n_heads = 1, .scale = 0.17f}, {n}, 0, 512);
  MapImage m{.n_queries = n, .n_keys = n, .width = 20, .height = 20, .n_lines = 20, .value = MapValue::sum};
  const std::vector<float> exact = w.image(m);
  m.samples = 16;
  const std::vector<float> some = w.image(m);
  double all = 0, sampled = 0;
  for (size_t i = 0; i < exact.size(); i++) {
    all += exact[i];
    sampled += some[i];
    CHECK((some[i] > 0) == (exact[i] > 0));
  }
  CHECK(all == doctest::Approx(n).epsilon(1e-4));  // probabilities of n rows
  CHECK(sampled == doctest::Approx(n).epsilon(0.3));
  m.value = MapValue::max;
  const std::vector<float> highest = w.image(m);
  m.samples = 0;
  const std::vector<float> true_highest = w.image(m);
  for (size_t i = 0; i < highest.size(); i++) CHECK(highest[i] <= true_highest[i]);
  // Work: 16 pairs of 100 x 100.
  MapImage sampling = m;
  sampling.samples = 16;
  MapWork few(stream.caps(), w.source(), sampling, 1e9, 1 << 20);
  // The tile decides how many of the 16 lie in one row.
  const uint32_t keys =
      choose_attention(stream.caps(), Phase::prefill, {1, 32, 64, DType::f16, DType::f16, 0}, w.world.shape)
          .keys;
  CHECK(few.row_list().size() == 20 * std::max(1u, 16 / keys));
}

TEST_CASE("one key that a query sees alone among 32,768 stays visible under max, in memory that is linear") {
  Stream stream(device());
  const uint32_t n = quick() ? 8192 : 32768, query = n / 4 * 3 + 17, key = n / 3, side = 128;
  MapWorld w(stream, {1, 16, 64, DType::f16, DType::f16}, {.n_heads = 1, .scale = 0.25f}, {n}, 0, 8192, {},
             [&](AttentionWorld& world) {
               for (double& x : world.q[0]) x *= 0.5;
               for (uint32_t e = 0; e < 16; e++) {  // one pair of equal vectors, longer than all others
                 world.q[0][query * 16 + e] = e % 2 ? 8 : -8;
                 world.k[0][key * 16 + e] = e % 2 ? 2 : -2;
               }
             });
  const MapImage m{.n_queries = n, .n_keys = n, .width = side, .height = side, .n_lines = side};
  const std::vector<float> image = w.image(m);
  const size_t cell = size_t{query} * side / n * side + size_t{key} * side / n;
  CHECK(image[cell] > 0.9f);
  uint32_t brighter = 0;  // away from the first rows, which have few keys to share between
  for (size_t i = side; i < image.size(); i++) brighter += image[i] > image[cell] / 2 && i != cell;
  CHECK(brighter == 0);
  uint64_t kept = 0;
  for (const MapSource::Part& part : w.source().parts) kept += part.q.bytes() + part.lse.bytes();
  const uint64_t keys = w.source().segments[0].k.bytes(),
                 cells = MapWork(stream.caps(), w.source(), m, 1e9, 1 << 20).units_bytes() + 4 * side * side;
  fmt::print("  {} tokens, one head of 16: keys {} KiB, kept {} KiB, map {} KiB\n", n, keys / 1024,
             kept / 1024, cells / 1024);
  CHECK(keys + kept + cells < uint64_t{n} * 256);
}

TEST_CASE("attention map bench" * doctest::skip(!bench())) {
  Stream stream(device());
  const AttentionShape shape{.n_heads = 4, .scale = 0.088f};
  for (DType type : {DType::f16, DType::q8_0}) {
    MapWorld w(stream, {1, 128, 64, type, type}, shape, {4096}, 0, 2048);
    const auto run = [&](MapImage m, const std::string& what) {
      MapWork work(stream.caps(), w.source(), m, 1e12, 64 << 20);
      Tensors t(stream);
      const Tensor image = t.f32(m.planes(), m.n_lines * m.width), units = t.u32(1, work.units_bytes() / 4);
      const Tensor list =
          work.row_list().empty() ? Tensor{} : t.u32(1, work.row_list().size(), work.row_list());
      print_bench(stream, fmt::format("{} {}", what, info(type).name), [&] {
        MapWork again(stream.caps(), w.source(), m, 1e12, 64 << 20);
        while (!again.done()) again.next(stream, image, units, list);
      });
    };
    MapImage m{.n_queries = 4096, .n_keys = 4096, .width = 128, .height = 128, .n_lines = 128};
    run(m, "4096 x 4096 in 128 x 128");
    m.samples = 16;
    run(m, "... coarse");
    run({.first_query = 3584,
         .n_queries = 512,
         .first_key = 3072,
         .n_keys = 512,
         .width = 512,
         .height = 512,
         .n_lines = 512},
        "512 x 512 one by one");
    run({.n_heads = 4,
         .n_queries = 1024,
         .n_keys = 1024,
         .width = 1,
         .height = 4,
         .n_lines = 4,
         .value = MapValue::statistics,
         .n_sinks = 4,
         .window = 64},
        "statistics of 4 heads, 1024 rows");
  }
}
