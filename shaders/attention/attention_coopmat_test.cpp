// Attention by cooperative matrices of either extension: against its reference in f32, and the same bits for
// every tile; what is not finite; and the switches. Beside it, every test of attention's runs by them with
// --prefer coopmat or coopmat2.
#include "shaders/attention/attention_coopmat.h"

#include <cstring>

#include "shaders/attention/attention_test.h"
#include "shaders/matmul/coopmat_test.h"

using namespace spindle;
using namespace spindle::test;

namespace {

bool same(const Result& a, const Result& b) {
  return a.y.size() == b.y.size() && std::memcmp(a.y.data(), b.y.data(), a.y.size() * 4) == 0 &&
         std::memcmp(a.lse.data(), b.lse.data(), a.lse.size() * 4) == 0;
}

}  // namespace

TEST_CASE("attention by cooperative matrices comes near that in f32, for every cache and head size") {
  const auto device = coopmat_device();
  if (!device) return;
  Stream stream(*device);
  struct Shape {
    uint32_t n_heads, n_kv_heads, head_dim, value_dim;
    DType k, v;
  };
  const std::vector<Shape> shapes = {
      {4, 2, 64, 64, DType::f16, DType::f16},     {6, 2, 40, 40, DType::q8_0, DType::q4_0},
      {8, 1, 128, 128, DType::q4_0, DType::f16},  {3, 3, 8, 24, DType::f16, DType::q8_0},
      {2, 1, 192, 128, DType::q8_0, DType::q8_0}, {4, 1, 256, 256, DType::f16, DType::f16}};
  double worst = 0, worst_f32 = 0;
  for (const Shape& s : shapes) {
    const CacheShape cache{s.n_kv_heads, s.head_dim, 64, s.k, s.v, s.value_dim};
    const AttentionShape shape{s.n_heads, static_cast<float>(1 / std::sqrt(s.head_dim))};
    AttentionWorld w(stream, cache, shape, {150});
    // Rows of very different size, of which some see one key alone.
    for (size_t i = 0; i < w.q[0].size(); i++)
      w.q[0][i] = static_cast<float>(w.q[0][i] * std::exp2(static_cast<double>(i / s.head_dim % 7) * 3 - 15));
    w.lay_out(16, {48});  // the second segment begins within a block
    const Result r = w.prefill(0, 150);
    const std::string what = fmt::format("heads {}/{} of {}/{}, {} {}", s.n_heads, s.n_kv_heads, s.head_dim,
                                         s.value_dim, info(s.k).name, info(s.v).name);
    if (!r.halves) {
      fmt::print("  attention by cooperative matrices: not {}\n", what);
      CHECK(s.head_dim > 128);
      continue;
    }
    worst = std::max(worst, w.check(r, positions(0, 0, 150), what));

    // Against q, keys and values as they are: the rounding of a score's factors moves each weight by up to
    // exp(2 error), that of a value and of its weight add to it.
    const size_t width = size_t{s.n_heads} * s.value_dim;
    const auto error_of = [](DType type, double x) {
      return type == DType::f16 ? 0 : std::max(std::abs(x) * kF16, 0x1p-25);
    };
    std::vector<double> y(150 * width), lse(size_t{150} * s.n_heads), magnitude = y, ignored = lse;
    std::vector<double> positive = w.v[0];
    std::vector<uint32_t> at(150);
    std::iota(at.begin(), at.end(), 0);
    for (double& x : positive) x = std::abs(x);
    reference::attention({y, lse, w.q[0], w.k[0], w.v[0], {}, at}, w.cache, w.shape);
    reference::attention({magnitude, {}, w.q[0], w.k[0], positive, {}, at}, w.cache, w.shape);
    std::vector<double> allowed_y = y, allowed_lse = lse;
    for (uint32_t i = 0; i < 150; i++)
      for (uint32_t head = 0; head < s.n_heads; head++) {
        double score = 0;  // the most that rounding changes one of the row's
        const double* q = &w.q[0][(size_t{i} * s.n_heads + head) * s.head_dim];
        const double small = 0x1p-28 * largest({q, s.head_dim});
        for (uint32_t j = 0; j <= i; j++) {
          const double* k =
              &w.k[0][(size_t{j} * s.n_kv_heads + head / (s.n_heads / s.n_kv_heads)) * s.head_dim];
          double sum = 0;
          for (uint32_t e = 0; e < s.head_dim; e++)
            sum += std::abs(k[e]) * (std::max(std::abs(q[e]) * kF16, small) + std::abs(q[e]) * 2e-6) +
                   std::abs(q[e]) * error_of(s.k, k[e]) * (1 + kF16);
          score = std::max(score, sum * static_cast<double>(w.shape.scale));
        }
        const size_t row = size_t{i} * s.n_heads + head;
        allowed_lse[row] = score + 1e-5;
        for (uint32_t e = 0; e < s.value_dim; e++) {
          double& a = allowed_y[row * s.value_dim + e];
          a = magnitude[row * s.value_dim + e] *
                  (std::expm1(2 * score) + (1 + (s.v == DType::f16 ? 0 : 1)) * kF16 * (1 + score) + 1e-5) +
              0x1p-25;
        }
      }
    worst_f32 = std::max(worst_f32, check_close(r.y, y, 1, allowed_y, what + " against f32").share());
    check_close(r.lse, lse, 1, allowed_lse, what + " against f32, lse");
  }
  fmt::print("  attention by cooperative matrices: at most {:.2g} of the error allowed, {:.2g} against f32\n",
             worst, worst_f32);
}

TEST_CASE("attention by cooperative matrices: what is not finite stays in the rows that see it") {
  const auto device = coopmat_device();
  if (!device) return;
  Stream stream(*device);
  for (DType type : {DType::f16, DType::q8_0}) {
    AttentionWorld w(stream, 2, 1, 32, type, {60});
    w.lay_out(64, {});
    const Result before = w.prefill(0, 60);
    CHECK(before.halves);
    std::fill(w.v[0].begin() + 25 * 32, w.v[0].begin() + 26 * 32, NAN);
    std::fill(w.k[0].begin() + 41 * 32, w.k[0].begin() + 42 * 32, NAN);
    w.lay_out(64, {});
    const Result after = w.prefill(0, 60);
    CHECK(std::memcmp(before.y.data(), after.y.data(), size_t{25} * 2 * 32 * 4) == 0);
    CHECK(std::none_of(after.y.begin() + 25 * 64, after.y.end(), [](float y) { return std::isfinite(y); }));
    CHECK(same(after, w.prefill(0, 7)));
    w.q[0][64 * 3] = HUGE_VAL;  // a query that is not finite: its row and head
    const Result queried = w.prefill(0, 60);
    CHECK(!std::isfinite(queried.y[64 * 3]));
    CHECK(std::memcmp(&before.y[64 * 3 + 32], &queried.y[64 * 3 + 32], size_t{4} * 32 * 21) == 0);
  }
}

TEST_CASE("attention by cooperative matrices has the same bits for any tile that fits") {
  const auto device = coopmat_device();
  if (!device) return;
  const Caps& caps = device->caps();
  Stream stream(*device);
  // Smaller tiles where a device has less shared memory.
  AttentionWorld w(stream, 4, 2, 64, DType::f16, {200});
  w.lay_out(64, {});
  const Result whole = w.prefill(0, 200);
  w.lay_out(16, {48, 32});  // with states between dispatches
  CHECK(same(whole, w.prefill(0, 200)));
  CHECK(same(whole, w.prefill(0, 37)));
  for (uint32_t shared : {16384u, 12288u}) {
    Device other(device->options());
    const_cast<Caps&>(other.caps()).shared_memory_bytes = shared;
    const auto a = find_coopmat_attention(caps, w.cache, w.shape),
               b = find_coopmat_attention(other.caps(), w.cache, w.shape);
    REQUIRE(a.has_value());
    if (!b) continue;
    CHECK((a->clusters() != b->clusters() || a->keys != b->keys));
    Stream its(other);
    AttentionWorld smaller(its, 4, 2, 64, DType::f16, {200});
    smaller.lay_out(64, {});
    CHECK(same(whole, smaller.prefill(0, 200)));
  }
}

TEST_CASE(
    "attention takes cooperative matrices in prefill, of caches that are not f32, and is switched off") {
  const AttentionShape plain{.n_heads = 8, .scale = 1};
  const CacheShape f16{2, 64, 64, DType::f16, DType::f16};
  const auto preferring = coopmat_device();
  if (!preferring) return;
  const bool second = preferring->caps().coopmat2;
  for (const char* how : {"precision", "coopmat", "fp16", "subgroup", "coopmat2", ""}) {
    DeviceOptions options = preferring->options();
    if (how == std::string("precision")) options.precision_f32 = true;
    else if (*how) options.disable.insert(how);
    Device device(options);
    const Caps& caps = device.caps();
    // Without the second extension that is preferred, there is none.
    const bool expected = !*how || (!second && how == std::string("coopmat2"));
    CHECK(uses_coopmat2(caps) == (expected && second));
    if (expected) CHECK(find_coopmat_attention(caps, f16, plain)->second == second);
    CHECK(attention_uses_coopmat(caps, Phase::prefill, f16, plain) == expected);
    CHECK(find_coopmat_attention(caps, f16, plain).has_value() == caps.coopmat);
    CHECK(!attention_uses_coopmat(caps, Phase::decode, f16, plain));
    CHECK(!attention_uses_coopmat(caps, Phase::prefill, {2, 64, 64, DType::f32, DType::f16}, plain));
    CHECK(!attention_uses_coopmat(caps, Phase::prefill, {2, 64, 64, DType::f16, DType::f32}, plain));
    CHECK(attention_uses_coopmat(caps, Phase::prefill, {2, 80, 64, DType::q4_0, DType::q8_0}, plain) ==
          expected);
    AttentionShape listed = plain;
    listed.passes = pattern::longformer(24, 3, true);
    listed.listed = {5};
    CHECK(!attention_uses_coopmat(caps, Phase::prefill, f16, listed));
  }
}

TEST_CASE("attention_coopmat bench" * doctest::skip(!bench())) {
  const auto device = coopmat_device();
  if (!device) return;
  DeviceOptions options = device->options();
  options.disable.insert("coopmat");
  Device without(options);
  for (DType type : {DType::f16, DType::q8_0, DType::q4_0})
    for (uint32_t head_dim : {64u, 128u})
      for (Device* d : {device.get(), &without}) {
        Stream stream(*d);
        const uint32_t keys = d->caps().software ? 512 : 8192, n = d->caps().software ? 64 : 512;
        AttentionWorld w(stream, 32, 8, head_dim, type, {keys});
        w.lay_out(64, {});
        Tensors t(stream);
        const uint32_t width = 32 * head_dim;
        const Tensor y = t.f32(n, width), q = t.f32(n, width, random_values(size_t{n} * width, 1)),
                     rows = AttentionWorld::rows(t, positions(0, keys - n, n));
        const auto words =
            attention_scratch_bytes(stream.caps(), Phase::prefill, n, w.cache, w.shape, keys) / 4;
        const Tensor scratch = t.u32(1, static_cast<uint32_t>(words));
        print_bench(stream,
                    fmt::format("{} x {} keys of {}, {}{}", n, keys, head_dim, info(type).name,
                                uses_coopmat2(d->caps()) ? ", second" : ""),
                    [&] {
                      attention(stream, Phase::prefill, y, {}, q, rows, w.pages(), w.segments(), w.cache,
                                w.shape, keys, scratch);
                    });
      }
}
