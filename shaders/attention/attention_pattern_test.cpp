// Every mechanism of attention against its reference, and the same bits however the work is divided.
#include <cstring>

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

// Caches that a mechanism is tried with: every type beside every head size of its turn. Quick sweeps: one of
// them, another one for each mechanism.
std::vector<Layout> layouts_of(size_t mechanism) {
  const std::vector<Layout> odd = {{6, 2, 40, 40, DType::q8_0, DType::q4_0, 16},
                                   {4, 1, 96, 64, DType::q4_0, DType::q8_0, 128},
                                   {3, 3, 24, 24, DType::f16, DType::q8_0, 16},
                                   {4, 4, 80, 80, DType::q8_0, DType::f16, 256},
                                   {2, 1, 192, 128, DType::f32, DType::f16, 64}};
  const uint32_t sizes[] = {64, 40, 128, 8, 112, 96, 256, 32, 80, 192};
  const DType types[] = {DType::f32, DType::f16, DType::q8_0, DType::q4_0};
  const std::pair<uint32_t, uint32_t> heads[] = {{4, 2}, {2, 2}, {3, 1}, {8, 2}};
  std::vector<Layout> list;
  for (size_t turn = 0; turn < (thorough() ? 2 : 1); turn++)
    for (size_t t = 0; t < 4; t++) {  // of a type, mechanism after mechanism, all sizes
      const uint32_t size = sizes[(mechanism + 3 * t + 5 * turn) % std::size(sizes)];
      const auto [n_heads, n_kv_heads] = heads[(mechanism + t + turn) % std::size(heads)];
      list.push_back(
          {n_heads, n_kv_heads, size, size, types[t], types[t], 16u << (mechanism + t + turn) % 5});
    }
  list.push_back(odd[mechanism % odd.size()]);
  if (quick()) list = {list[(4 * mechanism + mechanism / 3) % list.size()]};
  return list;
}

}  // namespace

TEST_CASE("attention patterns equal their reference for every cache") {
  Stream stream(device());
  double worst = 0;
  std::string where;
  size_t turn = 0;
  for (const Mechanism& m : mechanisms())
    for (const size_t mechanism = turn++; const Layout& l : layouts_of(mechanism)) {
      if (passes_over(mechanism)) continue;
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
      w.lay_out(page, {256, 256}, Poison::infinity);
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
