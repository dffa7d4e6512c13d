// Flash attention against its reference, and the same bits however the work is divided.
#include "shaders/attention/attention_test.h"

#include <cstring>
#include <memory>

#include "runtime/specialize.h"

using namespace spindle;
using namespace spindle::test;

TEST_CASE("attention equals its reference for every head size and group") {
  Stream stream(device());
  std::vector<uint32_t> sizes = {8, 40, 64, 128};
  if (!quick())
    for (sizes.clear(); sizes.size() < 32;) sizes.push_back(8 * static_cast<uint32_t>(sizes.size() + 1));
  const std::vector<std::pair<uint32_t, uint32_t>> heads = {{2, 2}, {2, 1}, {6, 2}, {4, 1}, {8, 1}, {12, 1}};
  double worst = 0;
  std::string where;
  for (uint32_t head_dim : sizes)
    for (DType type : {DType::f16, DType::f32}) {
      if (type == DType::f32 && head_dim % 40 != 0 && head_dim % 128 != 0)
        continue;  // each one compiles for a second
      const auto [n_heads, n_kv_heads] = heads[(head_dim / 8 + (type == DType::f32 ? 3 : 0)) % heads.size()];
      AttentionWorld w(stream, n_heads, n_kv_heads, head_dim, type, {77, 300, 1});
      w.lay_out(64, {64, 128});
      const std::string what =
          fmt::format("head_dim {} heads {}/{} {}", head_dim, n_heads, n_kv_heads, info(type).name);
      const auto check = [&](Phase phase, const std::vector<SlotPosition>& at) {
        const std::string name = what + (phase == Phase::prefill ? " prefill" : " decode");
        const double share = w.check(w.run(phase, at), at, name);
        if (share > worst) worst = share, where = name;
      };
      check(Phase::prefill, positions(0, 0, 77));
      check(Phase::prefill, positions(1, 261, 39));
      check(Phase::decode, {{1, 299}, {0, 3}, {0, 76, false}, {2, 0}, {1, 255}, {1, 256}});
    }
  fmt::print("  attention: worst error {:.3f} of the tolerance, {}\n", worst, where);
}

namespace {

// A lowered cost bound, on a device of its own.
std::unique_ptr<Device> device_with_cost(double cost) {
  DeviceOptions options = DeviceOptions::from_environment();
  options.limit_cost = cost;
  return std::make_unique<Device>(options);
}

bool same(const Result& a, const Result& b) {
  return a.y.size() == b.y.size() && std::memcmp(a.y.data(), b.y.data(), a.y.size() * 4) == 0 &&
         std::memcmp(a.lse.data(), b.lse.data(), a.lse.size() * 4) == 0;
}

Result row_of(const Result& r, const AttentionWorld& w, size_t row) {
  const size_t width = size_t{w.shape.n_heads} * w.cache.head_dim, heads = w.shape.n_heads;
  const auto part = [](const std::vector<float>& all, size_t first, size_t n) {
    return std::vector<float>(all.begin() + static_cast<std::ptrdiff_t>(first),
                              all.begin() + static_cast<std::ptrdiff_t>(first + n));
  };
  return {part(r.y, row * width, width), part(r.lse, row * heads, heads)};
}

}  // namespace

TEST_CASE("attention gives the same bits for every chunk, page size, segment, scratch and cost bound") {
  // The least that a workgroup does is larger by cooperative matrices.
  const CacheShape f16{2, 128, 64, DType::f16, DType::f16};
  const bool halves = attention_uses_coopmat(device().caps(), Phase::prefill, f16, {6, 1});
  const auto tiny = device_with_cost(halves ? 2.8e6 : 7e5);
  for (uint32_t head_dim : quick() ? std::vector<uint32_t>{64} : std::vector<uint32_t>{8, 40, 128}) {
    Stream stream(device()), tiny_stream(*tiny);
    AttentionWorld w(stream, 6, 2, head_dim, DType::f16, {700, 333, 1030, 20});
    AttentionWorld bounded(tiny_stream, 6, 2, head_dim, DType::f16, {700, 333, 1030, 20});
    const std::vector<SlotPosition> step = {{2, 1029}, {0, 511}, {0, 3, false}, {3, 0},
                                            {1, 332},  {2, 256}, {0, 255}};
    w.lay_out(64, {});
    const Result prompt = w.prefill(1, 512), tokens = w.run(Phase::decode, step);
    w.check(prompt, positions(1, 0, 333), "whole prompt");
    w.check(tokens, step, "decode step");

    for (uint32_t chunk : {1u, 7u, 64u}) CHECK_MESSAGE(same(prompt, w.prefill(1, chunk)), "chunk " << chunk);
    for (size_t i = 0; i < step.size(); i++)
      if (step[i].in_use)
        CHECK_MESSAGE(same(row_of(tokens, w, i), w.run(Phase::decode, {step[i]})), "alone, row " << i);
    CHECK_MESSAGE(same(tokens, w.run(Phase::decode, step, 1088)), "a larger depth");
    const uint64_t row_bytes = uint64_t{w.shape.n_heads} * (head_dim + 2) * 4 + 4 * 64;
    CHECK_MESSAGE(same(tokens, w.run(Phase::decode, step, 0, 2 * row_bytes)), "scratch for two splits");
    for (uint32_t page : {16u, 256u})
      for (const auto& bands : {std::vector<uint32_t>{}, {256, 256}, {16, 32, 300, 16}}) {
        w.lay_out(page, bands, Poison::infinity);
        CHECK_MESSAGE(same(prompt, w.prefill(1, 333)), "prompt, page " << page << ", bands " << bands.size());
        CHECK_MESSAGE(same(prompt, w.prefill(1, 100, 11 * row_bytes)),
                      "prompt in groups of rows, page " << page);
        CHECK_MESSAGE(same(tokens, w.run(Phase::decode, step)),
                      "decode, page " << page << ", bands " << bands.size());
      }
    bounded.lay_out(64, {128});
    CHECK_MESSAGE(same(prompt, bounded.prefill(1, 333)), "prompt, tiny cost bound");
    CHECK_MESSAGE(same(tokens, bounded.run(Phase::decode, step)), "decode, tiny cost bound");
    CHECK(bounded.largest_cost <= tiny->cost_bound());
  }
}

TEST_CASE("attention has the same bits where its loops are unrolled before the driver compiles it") {
  if (!specialize_built()) {
    fmt::print(stderr, "SKIPPED: unrolled programs: SPIRV-Tools were not there when this was built\n");
    return;
  }
  const auto unrolled = unrolled_device(true), plain = unrolled_device(false);
  CHECK(unrolled->caps().unroll);
  for (DType type : {DType::f16, DType::q8_0}) {
    Stream stream(*unrolled), plain_stream(*plain);
    AttentionWorld a(stream, 6, 2, 64, type, {300}), b(plain_stream, 6, 2, 64, type, {300});
    a.lay_out(64, {});
    b.lay_out(64, {});
    CHECK_MESSAGE(same(a.prefill(0, 77), b.prefill(0, 77)), info(type).name, " prefill");
    const std::vector<SlotPosition> step = {{0, 299}, {0, 5}};
    CHECK_MESSAGE(same(a.run(Phase::decode, step), b.run(Phase::decode, step)), info(type).name, " decode");
  }
}

TEST_CASE("attention skips inactive rows at the end of a prompt step and rows without a log-sum-exp") {
  Stream stream(device());
  AttentionWorld w(stream, 4, 2, 16, DType::f32, {90});
  w.lay_out(64, {});
  std::vector<SlotPosition> some = positions(0, 30, 20), padded = some;
  for (uint32_t i = 0; i < 11; i++) padded.push_back({0, 0, false});
  const Result r = w.run(Phase::prefill, padded);
  w.check(r, padded, "padded");
  const Result unpadded = w.run(Phase::prefill, some);
  CHECK(std::memcmp(r.y.data(), unpadded.y.data(), unpadded.y.size() * 4) == 0);
}

TEST_CASE("what is stale in a cache of f32 is never seen: not a number, or infinite") {
  Stream stream(device());
  AttentionWorld w(stream, 4, 2, 40, DType::f32, {300, 77, 1});
  const std::vector<SlotPosition> prompt = positions(0, 247, 53),
                                  step = {{0, 299}, {1, 3}, {1, 76, false}, {2, 0}, {0, 255}, {0, 256}};
  std::vector<Result> seen;
  for (Poison poison : {Poison::nan, Poison::infinity})
    for (uint32_t page : {16u, 256u}) {
      w.lay_out(page, {256}, poison);
      seen.push_back(w.run(Phase::prefill, prompt));
      w.check(seen.back(), prompt, "prompt");
      seen.push_back(w.run(Phase::decode, step));
      w.check(seen.back(), step, "step");
    }
  for (size_t i = 2; i < seen.size(); i++) CHECK(same(seen[i], seen[i % 2]));
}

TEST_CASE("a later key that is not a number changes nothing for earlier rows of its tile") {
  Stream stream(device());
  AttentionWorld w(stream, 2, 1, 32, DType::f32, {40});
  w.lay_out(64, {});
  const Result before = w.prefill(0, 40);
  std::fill(w.v[0].begin() + 25 * 32, w.v[0].begin() + 26 * 32, NAN);
  std::fill(w.k[0].begin() + 31 * 32, w.k[0].begin() + 32 * 32, INFINITY);
  w.lay_out(64, {});
  const Result after = w.prefill(0, 40);
  CHECK(std::memcmp(before.y.data(), after.y.data(), size_t{25} * 2 * 32 * 4) == 0);
  CHECK(std::isnan(after.y[size_t{25} * 2 * 32]));
}

TEST_CASE("attention over many keys loses none") {
  Stream stream(device());
  AttentionWorld w(stream, 2, 1, 8, DType::f32, {70000});
  w.lay_out(256, {});
  const std::vector<SlotPosition> last = positions(0, 69990, 10);
  w.check(w.run(Phase::prefill, last), last, "prefill at 70000 keys");
  w.check(w.run(Phase::decode, last), last, "decode at 70000 keys");
}

TEST_CASE("attention bench" * doctest::skip(!bench())) {
  Stream stream(device());
  AttentionWorld w(stream, 32, 8, 128, DType::f16, {4096});
  w.lay_out(64, {});
  const auto run = [&](Phase phase, const std::vector<SlotPosition>& at, const std::string& what) {
    const uint32_t n = static_cast<uint32_t>(at.size()), depth = at.back().position + 1;
    Tensors t(stream);
    const Tensor y = t.f32(n, 4096), q = t.f32(n, 4096, random_values(size_t{n} * 4096, 1)),
                 rows = AttentionWorld::rows(t, at);
    const Tensor scratch = t.u32(
        1,
        static_cast<uint32_t>(attention_scratch_bytes(stream.caps(), phase, n, w.cache, w.shape, depth) / 4));
    print_bench(stream, what, [&] {
      attention(stream, phase, y, {}, q, rows, w.pages(), w.segments(), w.cache, w.shape, depth, scratch);
    });
  };
  run(Phase::decode, positions(0, 4095, 1), "decode 32/8x128 f16, 4096 keys");
  run(Phase::prefill, positions(0, 1536, 512), "prefill 32/8x128 f16, 512 x 2048");
}
