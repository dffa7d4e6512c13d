// Cache append: every kind of value, the bands of segments, and the rounding to f16.
#include "shaders/attention/cache_append.h"

#include <array>
#include <cstring>

#include "tests/compare.h"
#include "tests/device.h"

using namespace spindle;
using namespace spindle::test;

namespace {

// To nearest even, clamped, by the definition of the format.
double as_f16(double x) {
  if (x == 0 || std::isnan(x)) return x;
  const double unit = std::ldexp(1, std::max(std::ilogb(std::isinf(x) ? 1.0 : x), -14) - 10);
  return std::isinf(x) ? std::copysign(65504, x)
                       : std::clamp(std::nearbyint(x / unit) * unit, -65504.0, 65504.0);
}

double decode_f16(uint32_t h) {
  const double sign = h & 0x8000 ? -1 : 1;
  const int exponent = static_cast<int>(h >> 10 & 31), mantissa = static_cast<int>(h & 1023);
  if (exponent == 31) return mantissa ? NAN : sign * INFINITY;
  return sign * (exponent ? std::ldexp(1024 + mantissa, exponent - 25) : std::ldexp(mantissa, -24));
}

}  // namespace

TEST_CASE("cache_append rounds to the nearest f16, ties to even, clamped") {
  Stream stream(device());
  std::vector<float> values;
  for (uint32_t h = 0; h < 0x7c00; h += 3)  // each value, and its neighbourhood halfway to the next
    for (double share : {0.0, 0.4999, 0.5, 0.5001})
      values.push_back(static_cast<float>((1 - share) * decode_f16(h) +
                                          share * (h == 0x7bff ? 65536 : decode_f16(h + 1))));
  for (float x :
       {65519.9f, 65520.f, 1e30f, INFINITY, 1e-40f, 0x1p-25f, 0x1.000002p-25f, 0x1p-24f, 0x1.8p-24f, NAN})
    values.push_back(x);
  const size_t n = values.size();
  for (size_t i = 0; i < n; i++) values.push_back(-values[i]);
  values.resize(values.size() / 64 * 64 + 64);

  const uint32_t n_rows = static_cast<uint32_t>(values.size() / 64);
  const CacheShape shape{1, 64, 64, DType::f16, DType::f32};
  const uint32_t n_pages = ceil_div(n_rows, 64u);
  Tensors t(stream);
  const CacheSegment segment{t.u32(n_pages, 64 * 32), t.u32(n_pages, 64 * 64), 0, n_pages * 64};
  std::vector<uint32_t> rows, pages;
  for (uint32_t i = 0; i < n_rows; i++) rows.insert(rows.end(), {0, 0, i, 1});
  for (uint32_t i = 0; i < n_pages; i++) pages.push_back(i);
  const Tensor x = t.f32(n_rows, 64);
  stream.upload(x, std::as_bytes(std::span(values)));
  cache_append(stream, {&segment, 1}, shape, x, x, t.u32(n_rows, 4, rows), t.u32(1, n_pages, pages));
  stream.run();
  const std::vector<uint32_t> k = t.read_u32(segment.k), v = t.read_u32(segment.v);
  CHECK(std::memcmp(v.data(), values.data(), values.size() * 4) == 0);
  size_t wrong = 0;
  for (size_t i = 0; i < values.size(); i++) {
    const double got = decode_f16(k[i / 2] >> 16 * (i % 2) & 0xffff), expected = as_f16(values[i]);
    if (std::isnan(expected) ? std::isnan(got)
                             : got == expected && std::signbit(got) == std::signbit(expected))
      continue;
    if (wrong++ == 0) fmt::print("  f16 of {:.9g}: got {:.9g}, expected {:.9g}\n", values[i], got, expected);
  }
  CHECK(wrong == 0);
}

TEST_CASE("cache_append writes to the page of slot and position, and nowhere else") {
  Stream stream(device());
  for (uint32_t head_dim : {8u, 24u, 128u}) {
    const CacheShape shape{3, head_dim, 16, DType::f32, DType::f32};
    const uint32_t width = 3 * head_dim, page = 16 * width;
    Tensors t(stream);
    const CacheSegment segments[] = {{t.u32(3, page), t.u32(3, page), 0, 32},
                                     {t.u32(2, page), t.u32(2, page), 32, 16}};
    for (const CacheSegment& s : segments) stream.fill(s.k, 0), stream.fill(s.v, 0);
    const std::vector<uint32_t> pages = {2, 0, 1, 1, 99, 99};  // slot 0 has three pages, slot 1 has one
    const std::vector<uint32_t> rows = {0, 0, 33, 1, 0, 1, 5, 1,
                                        0, 0, 17, 1, 0, 1, 6, 0};  // the last one is not in use
    const auto k = random_values(size_t{4} * width, 1), v = random_values(size_t{4} * width, 2);
    cache_append(stream, segments, shape, t.f32(4, width, k), t.f32(4, width, v), t.u32(4, 4, rows),
                 t.u32(2, 3, pages));
    stream.run();
    std::vector<float> expected[2] = {std::vector<float>(3 * page), std::vector<float>(2 * page)};
    const auto put = [&](uint32_t segment, uint32_t number, uint32_t token, uint32_t row) {
      for (uint32_t i = 0; i < width; i++)
        expected[segment][number * page + (i / head_dim * 16 + token) * head_dim + i % head_dim] =
            static_cast<float>(k[row * width + i]);
    };
    put(1, 1, 1, 0);
    put(0, 1, 5, 1);
    put(0, 0, 1, 2);
    for (int i = 0; i < 2; i++) CHECK(t.read(segments[i].k) == expected[i]);
    CHECK(t.read(segments[1].v)[page + head_dim] == static_cast<float>(v[0]));
  }
}

TEST_CASE("cache_append quantises bit by bit as the encoders are defined") {
  // The specification's check: D3.
  std::vector<float> check(32);
  std::copy_n(std::array{.1f, -.7f, .35f, 1.f}.begin(), 4, check.begin());
  std::vector<double> decoded(4);
  reference::decode(decoded, DType::q8_0, reference::cache_block(DType::q8_0, check));
  CHECK(reference::cache_block(DType::q8_0, check).words[0] == 0x7f2ca70du);  // 13 -89 44 127
  for (size_t i = 0; i < 4; i++)
    CHECK(decoded[i] == doctest::Approx(std::array{0.10235596, -0.70074463, 0.34643555, 0.99993896}[i]));
  reference::decode(decoded, DType::q4_0, reference::cache_block(DType::q4_0, check));
  for (size_t i = 0; i < 4; i++) CHECK(decoded[i] == std::array{0.125, -0.75, 0.375, 1.0}[i]);

  Stream stream(device());
  for (uint32_t dim : {32u, 40u, 64u, 96u, 128u}) {
    // Blocks of every size, with ties, equal extremes of both signs, zeros, and what does not fit.
    const uint32_t n_rows = 512, n_heads = 2;
    std::vector<float> x;
    std::mt19937 engine(dim);
    std::normal_distribution<float> normal;
    for (uint32_t i = 0; i < n_rows * n_heads * dim; i++) {
      const uint32_t block = i / 8;
      float value = std::ldexp(normal(engine), static_cast<int>(block * 7 % 60) - 38);
      if (block % 5 == 1)
        value = std::ldexp(std::round(normal(engine) * 16) / 2, static_cast<int>(block % 9) - 4);
      if (block % 5 == 2) value = i % 2 ? 1.5f : -1.5f;
      if (block % 41 == 0) value = 0;
      if (block % 97 == 3) value *= 1e33f;
      if (i % 4099 == 0) value = INFINITY;
      if (i % 9001 == 77) value = NAN;
      x.push_back(value);
    }
    for (const auto& [k_type, v_type] : {std::pair{DType::q8_0, DType::q4_0}, {DType::q4_0, DType::q8_0}}) {
      const CacheShape shape{n_heads, dim, 64, k_type, v_type};
      Tensors t(stream);
      const auto words = [](uint64_t bytes) { return static_cast<uint32_t>(bytes / 4); };
      const CacheSegment segment{t.u32(n_rows / 64, words(shape.k_page_bytes())),
                                 t.u32(n_rows / 64, words(shape.v_page_bytes())), 0, n_rows};
      stream.fill(segment.k, 0xabababab);
      stream.fill(segment.v, 0xabababab);
      std::vector<uint32_t> rows, pages;
      for (uint32_t i = 0; i < n_rows; i++) rows.insert(rows.end(), {0, 0, i, 1});
      for (uint32_t i = 0; i < n_rows / 64; i++) pages.push_back(i);
      const Tensor values = t.f32(n_rows, n_heads * dim);
      stream.upload(values, std::as_bytes(std::span(x)));
      cache_append(stream, {&segment, 1}, shape, values, values, t.u32(n_rows, 4, rows),
                   t.u32(1, n_rows / 64, pages));
      stream.run();
      const auto differences = [&](Tensor cache, DType type) {
        const std::vector<uint32_t> got = t.read_u32(cache);
        std::vector<uint32_t> expected(got.size(), 0);
        const uint32_t blocks = ceil_div(dim, 32u), n_words = type == DType::q8_0 ? 8 : 4,
                       scales = ceil_div(blocks, 2u);
        const size_t page_words = size_t{64} * n_heads * (blocks * n_words + scales);
        for (uint32_t row = 0; row < n_rows; row++)
          for (uint32_t head = 0; head < n_heads; head++)
            for (uint32_t b = 0; b < blocks; b++) {
              const reference::CacheBlock block = reference::cache_block(
                  type,
                  std::span(x).subspan((row * n_heads + head) * dim + b * 32, std::min(32u, dim - b * 32)));
              const size_t page = row / 64 * page_words, token = head * 64 + row % 64;
              for (uint32_t w = 0; w < n_words; w++)
                expected[page + (token * blocks + b) * n_words + w] = block.words[w];
              expected[page + size_t{64} * n_heads * blocks * n_words + token * scales + b / 2] |=
                  block.scale << (b % 2 * 16);
            }
        size_t wrong = 0;
        for (size_t i = 0; i < got.size(); i++)
          if (got[i] != expected[i] && wrong++ == 0)
            fmt::print("  {} of {}: word {}: got {:08x}, expected {:08x}\n", info(type).name, dim, i, got[i],
                       expected[i]);
        return wrong;
      };
      CHECK(differences(segment.k, k_type) == 0);
      CHECK(differences(segment.v, v_type) == 0);
    }
  }
}

TEST_CASE("cache_append rotates keys to the bits of rope, for every type, layout and form") {
  Stream stream(device());
  const std::vector<uint32_t> positions = {0, 1, 9, 63, 64, 4095, 4096, 100000};
  const uint32_t n_rows = static_cast<uint32_t>(positions.size()), heads = 3, page_tokens = 16;
  std::vector<uint32_t> rows, pages(100000 / page_tokens + 1);
  for (uint32_t i = 0; i < n_rows; i++) {
    rows.insert(rows.end(), {0, 0, positions[i], i == 2 ? 0u : 1u});
    pages[positions[i] / page_tokens] = i;  // the last one of those that share a page
  }
  const uint32_t n_positions = static_cast<uint32_t>(pages.size()) * page_tokens;
  for (uint32_t dim : quick() ? std::vector<uint32_t>{40, 64} : std::vector<uint32_t>{8, 40, 64, 96, 128})
    for (uint32_t n_rot : {dim, dim / 2, dim - 2})
      for (RopeLayout layout : {RopeLayout::interleaved, RopeLayout::half_split})
        for (DType type : kCacheTypes) {
          const CacheShape shape{heads, dim, page_tokens, type, DType::f32};
          const RopeShape turned{heads, dim, n_rot, layout};
          Tensors t(stream);
          std::vector<double> inv_freq;
          for (uint32_t pair = 0; pair < n_rot / 2; pair++)
            inv_freq.push_back(std::pow(1e4, -2.0 * pair / n_rot));
          const auto table = [&](double phase) {
            const std::vector<float> values = make_rope_table(inv_freq, 1.25, 100000, 1, phase);
            return t.f32(rope_table_rows(100000), n_rot, {values.begin(), values.end()});
          };
          const KeyRotation rotation{n_rot, layout, {{table(0)}, {table(0.5), {.divide = 8, .offset = 896}}}};
          const auto words = [](uint64_t bytes) { return static_cast<uint32_t>(bytes / 4); };
          const auto segment = [&] {
            const CacheSegment s{t.u32(n_rows, words(shape.k_page_bytes())),
                                 t.u32(n_rows, words(shape.v_page_bytes())), 0, n_positions,
                                 t.u32(n_rows, words(shape.k_page_bytes()))};
            for (const Tensor& cache : {s.k, s.v, s.k2}) stream.fill(cache, 0);
            return s;
          };
          const auto values = random_values(size_t{n_rows} * heads * dim, dim + n_rot);
          const Tensor k = t.f32(n_rows, heads * dim, values), v = t.f32(n_rows, heads * dim, values),
                       in_use = t.u32(n_rows, 4, rows),
                       table_of_pages = t.u32(1, static_cast<uint32_t>(pages.size()), pages);
          const CacheSegment both = segment(), first = segment(), apart = segment();
          cache_append(stream, {&both, 1}, shape, k, v, in_use, table_of_pages, rotation);
          KeyRotation alone = rotation;
          alone.forms.resize(1);
          cache_append(stream, {&first, 1}, shape, k, v, in_use, table_of_pages, alone);
          for (uint32_t form = 0; form < 2; form++) {
            const Tensor y = t.f32(n_rows, heads * dim, values);
            rope(stream, y, y, in_use, rotation.forms[form].table, turned, rotation.forms[form].form);
            CacheSegment s = apart;
            if (form == 1) s.k = s.k2;
            cache_append(stream, {&s, 1}, shape, y, v, in_use, table_of_pages);
          }
          stream.run();
          const std::string what =
              fmt::format("cache_append {} dim {} n_rot {} {}", info(type).name, dim, n_rot,
                          layout == RopeLayout::interleaved ? "interleaved" : "half split");
          CHECK_MESSAGE(t.read_u32(both.k) == t.read_u32(apart.k), what);
          CHECK_MESSAGE(t.read_u32(both.k2) == t.read_u32(apart.k2), what, ", second form");
          CHECK_MESSAGE(t.read_u32(both.v) == t.read_u32(apart.v), what, ", values");
          CHECK_MESSAGE(t.read_u32(first.k) == t.read_u32(apart.k), what, ", one form");
          if (type != DType::f32) continue;
          std::vector<double> expected = values;
          reference::rope(expected, positions, inv_freq, 1.25, turned);
          const std::vector<float> cache = t.read(both.k);
          std::vector<float> got;
          std::vector<double> of_rows;
          for (uint32_t i = 0; i < n_rows; i++) {
            if (i == 2) continue;  // not in use
            for (uint32_t e = 0; e < heads * dim; e++) {
              const uint32_t page = pages[positions[i] / page_tokens];
              got.push_back(
                  cache[((page * heads + e / dim) * page_tokens + positions[i] % page_tokens) * dim +
                        e % dim]);
              of_rows.push_back(expected[i * heads * dim + e]);
            }
          }
          check_close(got, of_rows, tolerance(8), std::vector<double>{5}, what);
        }
}

TEST_CASE("cache_append bench" * doctest::skip(!bench())) {
  Stream stream(device());
  Tensors t(stream);
  const CacheShape shape{8, 128, 64, DType::f16, DType::f16};
  const CacheSegment segment{t.u32(8, 8 * 64 * 64), t.u32(8, 8 * 64 * 64), 0, 512};
  std::vector<uint32_t> rows;
  for (uint32_t i = 0; i < 512; i++) rows.insert(rows.end(), {0, 0, i, 1});
  const Tensor k = t.f32(512, 1024, random_values(512 * 1024, 1)), r = t.u32(512, 4, rows),
               pages = t.u32(1, 8, {0, 1, 2, 3, 4, 5, 6, 7});
  print_bench(stream, "cache_append 512 x 8x128 f16", [&] {
    cache_append(stream, {&segment, 1}, shape, k, k, r, pages);
  });
  const std::vector<float> values = make_rope_table(std::vector<double>(64, 0.1), 1, 511);
  const Tensor table = t.f32(rope_table_rows(511), 128, {values.begin(), values.end()});
  for (RopeLayout layout : {RopeLayout::interleaved, RopeLayout::half_split}) {
    const char* name = layout == RopeLayout::interleaved ? "interleaved" : "half split";
    print_bench(stream, fmt::format("cache_append 512 x 8x128 f16, {}", name), [&] {
      cache_append(stream, {&segment, 1}, shape, k, k, r, pages, {128, layout, {{table}}});
    });
    print_bench(stream, fmt::format("rope, then cache_append 512 x 8x128 f16, {}", name), [&] {
      rope(stream, k, r, table, {8, 128, 128, layout});
      cache_append(stream, {&segment, 1}, shape, k, k, r, pages);
    });
  }
}
