// Every mechanism of attention against its reference and the specification's numbers, and the same bits
// however the work is divided.
#include <cstring>
#include <map>

#include "shaders/attention/attention_test.h"

using namespace spindle;
using namespace spindle::test;

namespace {

struct Mechanism {
  std::string name;
  AttentionShape shape;  // n_heads and scale are filled in
  bool by_head = false;  // wants slopes, sinks, bias or decay made for the heads
  double bias = 0;       // how large what is added to a score may be
};

std::vector<Mechanism> mechanisms() {
  std::vector<Mechanism> list;
  const auto add = [&](const char* name, std::vector<KeyPass> passes) -> AttentionShape& {
    list.push_back({name, {.passes = std::move(passes)}});
    return list.back().shape;
  };
  add("window 1", pattern::window(1));
  add("window 50", pattern::window(50));
  add("sinks 4 + window 29", pattern::sinks(4, 29));
  add("sinks 300 + window 20", pattern::sinks(300, 20));
  add("far and near, 33", pattern::far_and_near(33));
  add("dual chunk 40", pattern::dual_chunk(40));
  add("blockwise 64", pattern::blockwise(64));
  add("longformer", pattern::longformer(24, 3, true)).listed = {5, 17, 40, 100, 262, 290};
  add("bigbird", pattern::bigbird(16, 2, 2, 3)).seed = 7;
  add("shifted groups 48", pattern::shifted_groups(48));
  add("dilated", pattern::dilated({{32, 1}, {100, 3}, {256, 8}}));
  add("everything", {{.to = edge::everything}});
  add("both sides", {{.from = edge::behind(20), .to = edge::ahead(9)}});
  add("soft cap", {}).soft_cap = 2;
  const auto numbers = [&](const char* name, std::vector<KeyPass> passes, double bias) {
    add(name, std::move(passes));
    list.back().by_head = true;
    list.back().bias = bias;
  };
  numbers("slopes", {}, 150);
  numbers("slopes, sinks 6 + window 40", pattern::sinks(6, 40), 50);
  numbers("bias", {}, 3);
  numbers("bias, both ways", {{.to = edge::everything}}, 3);
  numbers("sink logits", pattern::window(70), 3);
  numbers("decay", {}, 0);
  return list;
}

AttentionShape complete(const Mechanism& m, uint32_t n_heads, uint32_t head_dim) {
  AttentionShape s = m.shape;
  s.n_heads = n_heads;
  s.scale = static_cast<float>(1 / std::sqrt(head_dim));
  if (!m.by_head) return s;
  const auto some = [&](size_t n, uint32_t seed) {
    const std::vector<double> values = random_values(n, seed);
    return std::vector<float>(values.begin(), values.end());
  };
  if (m.name.starts_with("slopes"))
    for (uint32_t h = 0; h < n_heads; h++)
      s.slopes.push_back(static_cast<float>(std::exp2(-8.0 * (h + 1) / n_heads)));
  if (m.name.starts_with("bias")) s.bias = some(size_t{n_heads} * 61, 11);
  s.bias_both_ways = m.name == "bias, both ways";
  if (m.name == "sink logits") s.sinks = some(n_heads, 12);
  if (m.name == "decay") {
    for (uint32_t e = 0; e < head_dim; e++)
      s.decay.push_back(std::pow((e / 2 * 2.0 / head_dim + 0.4) / 1.4, 1 / 512.0));
    s.decay_depth = 1024;
  }
  return s;
}

bool is_causal(const AttentionShape& s) { return s.passes.empty() || s.passes[0].to.kind != EDGE_AHEAD; }

struct Layout {
  uint32_t n_heads, n_kv_heads, head_dim, value_dim;
  DType k, v;
  uint32_t page;
};

bool same(const Result& a, const Result& b) {
  return a.y.size() == b.y.size() && std::memcmp(a.y.data(), b.y.data(), a.y.size() * 4) == 0 &&
         std::memcmp(a.lse.data(), b.lse.data(), a.lse.size() * 4) == 0;
}

}  // namespace

TEST_CASE("attention patterns equal their reference for every cache") {
  Stream stream(device());
  const std::vector<Layout> layouts = {
      {4, 2, 64, 64, DType::f16, DType::f16, 64},     {6, 2, 40, 40, DType::q8_0, DType::q4_0, 16},
      {2, 2, 128, 128, DType::f32, DType::f32, 32},   {4, 1, 96, 64, DType::q4_0, DType::q8_0, 128},
      {3, 3, 24, 24, DType::f16, DType::q8_0, 16},    {4, 4, 80, 80, DType::q8_0, DType::f16, 256},
      {8, 2, 112, 112, DType::f16, DType::f16, 64},   {2, 1, 192, 128, DType::f16, DType::f16, 64},
      {2, 1, 256, 256, DType::q8_0, DType::q8_0, 64}, {4, 2, 32, 32, DType::q4_0, DType::q4_0, 64}};
  double worst = 0;
  std::string where;
  size_t turn = 0;
  for (const Mechanism& m : mechanisms())
    for (size_t n = 0; n < (quick() ? 1 : 3); n++, turn++) {
      const Layout& l = layouts[turn % layouts.size()];
      AttentionWorld w(stream, CacheShape{l.n_kv_heads, l.head_dim, l.page, l.k, l.v, l.value_dim},
                       complete(m, l.n_heads, l.head_dim), {77, 300, 1});
      const std::string what =
          fmt::format("{}, heads {}/{} of {}/{}, {} {}, pages of {}", m.name, l.n_heads, l.n_kv_heads,
                      l.head_dim, l.value_dim, info(l.k).name, info(l.v).name, l.page);
      const auto check = [&](Phase phase, const std::vector<SlotPosition>& at) {
        const double share =
            w.check(w.run(phase, at), at, what + (phase == Phase::prefill ? " prefill" : " decode"), m.bias);
        if (share > worst) worst = share, where = what;
      };
      const bool causal = is_causal(w.shape);
      if (!causal) {  // the whole sequence at once
        w.lay_out(l.page, {});
        check(Phase::prefill, positions(0, 0, 77));
        continue;
      }
      w.lay_out(l.page, {256});
      check(Phase::prefill, positions(0, 0, 77));
      check(Phase::prefill, positions(1, 247, 53));
      check(Phase::decode, {{1, 299}, {0, 3}, {0, 76, false}, {2, 0}, {1, 255}, {1, 256}, {1, 130}});
    }
  fmt::print("  attention patterns: worst error {:.3f} of the tolerance, {}\n", worst, where);
}

TEST_CASE(
    "attention patterns give the same bits for every chunk, page size, segment, scratch and cost bound") {
  DeviceOptions options = DeviceOptions::from_environment();
  options.limit_cost = 7e5;
  const auto tiny = std::make_unique<Device>(options);
  Stream stream(device()), tiny_stream(*tiny);
  size_t turn = 0;
  for (const Mechanism& m : mechanisms()) {
    if (!is_causal(m.shape) || (quick() && turn++ % 4 != 1)) continue;
    const CacheShape cache{2, 40, 64, DType::q8_0, DType::f16};
    const AttentionShape shape = complete(m, 4, 40);
    AttentionWorld w(stream, cache, shape, {700, 333}), bounded(tiny_stream, cache, shape, {700, 333});
    const std::vector<SlotPosition> step = {{0, 699}, {0, 511}, {0, 3, false}, {1, 332}, {0, 256}, {0, 255}};
    w.lay_out(64, {});
    const Result prompt = w.prefill(1, 512), tokens = w.run(Phase::decode, step);
    for (uint32_t chunk : {1u, 7u, 64u}) {
      if (chunk == 1 && quick()) continue;
      CHECK_MESSAGE(same(prompt, w.prefill(1, chunk)), m.name << ", chunk " << chunk);
    }
    CHECK_MESSAGE(same(w.run(Phase::decode, {step[0]}), w.run(Phase::decode, {step[0]}, 1088)),
                  m.name << ", depth");
    const uint64_t row_bytes = uint64_t{shape.n_heads} * (40 + 2) * 4 + 4 * 64;
    CHECK_MESSAGE(same(tokens, w.run(Phase::decode, step, 0, 2 * row_bytes)),
                  m.name << ", scratch for two splits");
    for (uint32_t page : {16u, 256u}) {
      w.lay_out(page, {256, 256}, 0x7c00fc00);
      CHECK_MESSAGE(same(prompt, w.prefill(1, 333)), m.name << ", prompt, page " << page);
      CHECK_MESSAGE(same(prompt, w.prefill(1, 100, 11 * row_bytes)),
                    m.name << ", groups of rows, page " << page);
      CHECK_MESSAGE(same(tokens, w.run(Phase::decode, step)), m.name << ", decode, page " << page);
    }
    bounded.lay_out(64, {256});
    CHECK_MESSAGE(same(prompt, bounded.prefill(1, 333)), m.name << ", prompt, tiny cost bound");
    CHECK_MESSAGE(same(tokens, bounded.run(Phase::decode, step)), m.name << ", decode, tiny cost bound");
  }
}

TEST_CASE("patterns are those of the specification") {
  const auto seen = [](const std::vector<KeyPass>& passes, size_t pass, uint32_t i, uint32_t head = 0) {
    AttentionShape s{.n_heads = 4, .passes = passes};
    std::vector<uint32_t> keys;
    for (uint32_t j = 0; j < 64; j++)
      if (reference::sees(s, pass, i, j, head)) keys.push_back(j);
    // The interval that the device and the host use says the same.
    const AttentionPass p = passes[pass].pack();
    const AttentionRange range = pass_range(p, passes.back().pack(), i, head, 4, 0);
    std::vector<uint32_t> interval;
    for (uint32_t j = range.from; j < range.to; j++)
      if (pass_keeps(p, i, head) &&
          j % std::max(1u, passes[pass].stride > 1 ? passes[pass].from.n : 1) % passes[pass].stride ==
              (passes[pass].stride > 1 ? head % passes[pass].stride : 0))
        interval.push_back(j);
    CHECK(interval == keys);
    CHECK(range.to - range.from <= pass_most_keys(p, 64));
    return keys;
  };
  using Keys = std::vector<uint32_t>;
  const auto up = [](uint32_t from, uint32_t to) {
    Keys keys;
    for (uint32_t j = from; j < to; j++) keys.push_back(j);
    return keys;
  };
  CHECK(seen(pattern::window(4), 0, 10) == Keys{7, 8, 9, 10});  // B4
  const auto rerope = pattern::far_and_near(4);                 // A14
  CHECK(seen(rerope, 0, 9) == up(0, 6));
  CHECK(seen(rerope, 1, 9) == up(6, 10));
  const auto chunks = pattern::dual_chunk(10);  // A21
  CHECK(seen(chunks, 0, 25) == up(0, 10));
  CHECK(seen(chunks, 1, 25) == up(10, 20));
  CHECK(seen(chunks, 2, 25) == up(20, 26));
  const auto streaming = pattern::sinks(2, 4);  // B9
  CHECK(seen(streaming, 0, 8) == Keys{0, 1});
  CHECK(seen(streaming, 1, 8) == up(5, 9));
  const AttentionRange sinks = pass_range(streaming[0].pack(), streaming[1].pack(), 8, 0, 1, 0);
  CHECK(8 - sinks.gap - 0 == 5);
  CHECK(8 - sinks.gap - 1 == 4);
  const auto groups = pattern::shifted_groups(4);  // B8, causal
  CHECK(seen(groups, 0, 7, 0) == up(4, 8));
  CHECK(seen(groups, 0, 5, 3) == up(2, 6));
  CHECK(seen(groups, 0, 1, 3) == up(0, 2));
  CHECK(seen(groups, 0, 15, 2) == up(14, 16));
  const auto dilated = pattern::dilated({{4, 1}, {8, 2}, {16, 4}});  // B7, head 1
  CHECK(seen(dilated, 0, 15, 1) == up(12, 16));
  CHECK(seen(dilated, 1, 15, 1) == Keys{9, 11, 13, 15});
  CHECK(seen(dilated, 2, 13, 1) == Keys{1, 5, 9, 13});
  CHECK(seen(dilated, 2, 15, 1).empty());
  const auto random = pattern::bigbird(4, 1, 3, 2);
  for (uint32_t i = 0; i < 60; i += 7) {
    std::vector<uint32_t> all;
    for (size_t pass = 0; pass < random.size(); pass++)
      for (uint32_t j : seen(random, pass, i, 2)) all.push_back(j);
    CHECK(std::ranges::is_sorted(all));  // every key once
    CHECK(std::ranges::adjacent_find(all) == all.end());
    CHECK(all.size() == (i >= 24 ? 4 + 3 * 4 + 4 + i % 4 + 1 : all.size()));
  }
}

namespace {

// One row of one head at `position` and the keys given, in a ring cache that holds the first page and two
// more.
std::pair<std::vector<float>, float> one_row(Stream& stream, AttentionShape shape, uint32_t head_dim,
                                             uint32_t position, const std::vector<double>& q,
                                             const std::map<uint32_t, std::vector<double>>& k,
                                             const std::map<uint32_t, std::vector<double>>& v, Phase phase) {
  shape.n_heads = 1;
  const CacheShape cache{1, head_dim, 16, DType::f32, DType::f32, 0, 1, 2};
  Tensors t(stream);
  const CacheSegment segment{t.u32(3, 16 * head_dim), t.u32(3, 16 * head_dim), 0, 1u << 30};
  stream.fill(segment.k, 0x7fc00000);
  stream.fill(segment.v, 0x7fc00000);
  const Tensor pages = t.u32(1, 3, {2, 0, 1});
  for (const auto& [at, key] : k)
    cache_append(stream, {&segment, 1}, cache, t.f32(1, head_dim, key), t.f32(1, head_dim, v.at(at)),
                 t.u32(1, 4, {0, 0, at, 1}), pages);
  const std::vector<uint32_t> numbers = attention_table(shape);
  const Tensor table = numbers.empty() ? Tensor{} : t.u32(1, static_cast<uint32_t>(numbers.size()), numbers);
  const Tensor y = t.f32(1, head_dim), lse = t.f32(1, 1);
  const uint32_t depth = position + 1;
  const auto words = attention_scratch_bytes(stream.caps(), phase, 1, cache, shape, depth) / 4;
  attention(stream, phase, y, lse, t.f32(1, head_dim, q), t.u32(1, 4, {0, 0, position, 1}), pages,
            {&segment, 1}, cache, shape, depth, t.u32(1, static_cast<uint32_t>(words)), table);
  stream.run();
  return {t.read(y), t.read(lse)[0]};
}

}  // namespace

TEST_CASE("attention gives the specification's numbers") {
  Stream stream(device());
  const std::vector<double> logits = {1, 2, 3, -1, 0.5};
  const std::vector<std::array<double, 2>> rows = {{1, 0}, {0, 1}, {2, 2}, {-1, 3}, {4, -2}};
  std::map<uint32_t, std::vector<double>> k, v;
  for (uint32_t j = 0; j < 5; j++) {
    k[j] = {logits[j], 0, 0, 0, 0, 0, 0, 0};
    v[j] = {rows[j][0], rows[j][1], 0, 0, 0, 0, 0, 0};
  }
  const std::vector<double> one = {1, 0, 0, 0, 0, 0, 0, 0};
  for (Phase phase : {Phase::prefill, Phase::decode}) {  // B3
    const auto [y, lse] = one_row(stream, {.scale = 1}, 8, 4, one, k, v, phase);
    CHECK(y[0] == doctest::Approx(1.5249041).epsilon(1e-6));
    CHECK(y[1] == doctest::Approx(1.4084776).epsilon(1e-6));
    CHECK(lse == doctest::Approx(3.4722607).epsilon(1e-6));
    const auto sunk = one_row(stream, {.scale = 1, .sinks = {0}}, 8, 4, one, k, v, phase).first;
    CHECK(sunk[0] == doctest::Approx(1.4789864).epsilon(1e-6));
    CHECK(sunk[1] == doctest::Approx(1.3660657).epsilon(1e-6));
    const auto part = one_row(stream, {.scale = 1, .passes = pattern::window(2)}, 8, 4, one, k, v, phase);
    CHECK(part.first[0] == doctest::Approx(3.0878724).epsilon(1e-6));
    CHECK(part.second == doctest::Approx(0.70141328).epsilon(1e-6));

    // A3: distances are exact in f32, and so is a slope of 1 times them; in f16 they would be 65504 at most.
    for (uint32_t distance : {2049u, 65537u, 999'999u, 1'000'000u, 16'777'215u}) {
      const AttentionShape far{.scale = 1, .passes = {{.to = edge::at(1)}}, .slopes = {1}};
      CHECK(one_row(stream, far, 8, distance, std::vector<double>(8), {{0, one}}, {{0, one}}, phase).second ==
            -static_cast<float>(distance));
    }
    // A2: the last entry stands for all further distances.
    const AttentionShape biased{
        .scale = 1, .passes = {{.to = edge::at(1)}}, .bias = distance_bias({0, 1, 1, 2}, {5, 6, 7}, 1)};
    for (const auto& [position, bias] : {std::pair{0u, 5.f}, {1u, 6.f}, {2u, 6.f}, {3u, 7.f}, {4000u, 7.f}})
      CHECK(one_row(stream, biased, 8, position, std::vector<double>(8), {{0, one}}, {{0, one}}, phase)
                .second == bias);

    // A13: q = 1..8 at 100, k = 8..1 at 3; nothing overflows a million positions away.
    const auto rotated = [](std::vector<double> x, uint32_t position, double sign) {
      for (size_t t = 0; t < 4; t++) {
        const double angle = position * std::pow(1e4, -2.0 * static_cast<double>(t) / 8),
                     zeta = (2.0 * static_cast<double>(t) / 8 + 0.4) / 1.4;
        const double size = std::pow(zeta, sign * (position % 256) / 512.0), a = x[2 * t], b = x[2 * t + 1];
        x[2 * t] = size * (a * std::cos(angle) - b * std::sin(angle));
        x[2 * t + 1] = size * (a * std::sin(angle) + b * std::cos(angle));
      }
      return x;
    };
    for (uint32_t position : {100u, 1'000'000u}) {
      AttentionShape decaying{
          .scale = 1, .passes = {{.from = edge::at(3), .to = edge::at(4)}}, .decay_depth = position + 1};
      for (uint32_t e = 0; e < 8; e++)
        decaying.decay.push_back(std::pow((e / 2 * 2.0 / 8 + 0.4) / 1.4, 1 / 512.0));
      const double score =
          one_row(stream, decaying, 8, position, rotated({1, 2, 3, 4, 5, 6, 7, 8}, position, 1),
                  {{3, rotated({8, 7, 6, 5, 4, 3, 2, 1}, 3, -1)}}, {{3, one}}, phase)
              .second;
      CHECK(score == doctest::Approx(position == 100 ? -15.07073 : 0).epsilon(1e-6));
    }
  }
}

TEST_CASE("attention in a ring sees what a whole cache shows, and nothing else") {
  Stream stream(device());
  const uint32_t window = 40, first = 3, page = 16, n = 400, dim = 64;
  for (const bool poison : {false, true}) {
    AttentionShape shape{.n_heads = 4, .scale = 0.125f, .passes = pattern::sinks(first, window)};
    AttentionWorld whole(stream, CacheShape{2, dim, page, DType::f16, DType::q8_0}, shape, {n});
    whole.lay_out(page, {});
    CacheShape ring = whole.cache;
    ring.ring_first = 1, ring.ring_pages = 4;  // 40 + 8 positions and a page that is not full
    Tensors t(stream);
    const CacheSegment segment{t.u32(6, static_cast<uint32_t>(ring.k_page_bytes() / 4)),
                               t.u32(6, static_cast<uint32_t>(ring.v_page_bytes() / 4)), 0, 1u << 30};
    stream.fill(segment.k, poison ? 0x7c007e00 : 0);
    stream.fill(segment.v, poison ? 0x7e007c00 : 0);
    const Tensor pages = t.u32(1, 5, {5, 1, 3, 0, 2});
    const auto rows_of = [&](const std::vector<double>& all, uint32_t width, uint32_t at, uint32_t count) {
      return t.f32(count, width,
                   std::vector<double>(all.begin() + at * width, all.begin() + (at + count) * width));
    };
    uint32_t different = 0;
    for (uint32_t at = 0; at < n; at += 8) {
      const std::vector<SlotPosition> some = positions(0, at, 8);
      const Tensor rows = AttentionWorld::rows(t, some);
      cache_append(stream, {&segment, 1}, ring, rows_of(whole.k[0], 2 * dim, at, 8),
                   rows_of(whole.v[0], 2 * dim, at, 8), rows, pages);
      for (Phase phase : {Phase::prefill, Phase::decode}) {
        std::vector<double> q;
        for (uint32_t version = 0; version < 2; version++)
          for (const SlotPosition& a : some) {
            const std::vector<double> row = whole.query(a, version);
            q.insert(q.end(), row.begin(), row.end());
          }
        const Tensor y = t.f32(8, 4 * dim), lse = t.f32(8, 4);
        const uint32_t endless = 1u << 29;
        const auto words = attention_scratch_bytes(stream.caps(), phase, 8, ring, shape, endless) / 4;
        attention(stream, phase, y, lse, t.f32(16, 4 * dim, q), rows, pages, {&segment, 1}, ring, shape,
                  endless, t.u32(1, static_cast<uint32_t>(words)));
        stream.run();
        different += !same({t.read(y), t.read(lse)}, whole.run(phase, some));
      }
    }
    CHECK(different == 0);
  }
}
