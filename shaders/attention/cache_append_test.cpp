// Cache append: every kind of value, the bands of segments, and the rounding to f16.
#include "shaders/attention/cache_append.h"

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
}
