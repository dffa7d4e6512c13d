// Patterns of attention and their numbers, as the specification and the papers give them.
#include <map>

#include "shaders/attention/attention_test.h"

using namespace spindle;
using namespace spindle::test;

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
  // B6: 4096 positions in blocks of 64, 3 random blocks, 3 of the window, the first and the last global. That
  // is an encoder's: a block sees what the causal pattern shows its last row, the block after it and the last
  // one.
  const auto causal = pattern::bigbird(64, 1, 3, 2);
  uint64_t blocks = 2 * 64;  // the first and the last see everything
  for (uint32_t b = 1; b < 63; b++) {
    uint32_t near = 0, drawn = 0;
    for (const KeyPass& pass : causal) {
      const AttentionRange range = pass_range(pass.pack(), causal.back().pack(), 64 * b + 63, 0, 1, 0);
      (pass.n_random ? drawn : near) += (range.to - range.from) / 64;
    }
    CHECK(near == (b == 1 ? 2 : 3));
    if (b >= 5) CHECK(drawn == 3);
    blocks += near + 3 + (b == 62 ? 1 : 2);
  }
  CHECK(blocks * 64 * 64 == 2547712);
  CHECK(static_cast<double>(blocks * 64 * 64) / (4096.0 * 4096) == doctest::Approx(0.1519).epsilon(1e-3));
  // A16: the far keys of the row at 12, of windows of 5.
  const auto extended = pattern::far_and_near(5);
  CHECK(seen(extended, 0, 12) == up(0, 8));
  CHECK(seen(extended, 1, 12) == up(8, 13));
  // B1: bytes a token, f16, of all layers.
  const auto bytes = [](uint32_t layers, uint32_t heads, uint32_t k, uint32_t v) {
    const CacheShape c{heads, k, 64, DType::f16, DType::f16, v};
    return layers * (c.k_page_bytes() + (v ? c.v_page_bytes() : 0)) / 64;
  };
  CHECK(bytes(32, 32, 128, 128) == 524288);      // Llama 2 7B
  CHECK(bytes(32, 8, 128, 128) == 131072);       // Llama 3 8B, Mistral 7B
  CHECK(bytes(28, 4, 128, 128) == 57344);        // Qwen2.5 7B
  CHECK(bytes(61, 1, 576, 0) == 70272);          // DeepSeek V3: values are the first 512 of a key
  CHECK(bytes(61, 128, 192, 128) == 4'997'120);  // the same, every head of its own
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
    CHECK(sunk[0] / y[0] == doctest::Approx(0.96988811).epsilon(1e-6));
    // The state after each block of keys: m, l and O of the online softmax.
    const struct {
      uint32_t position;
      double m, l, o[2];
    } states[] = {{1, 2, 1.3678794, {0.36787944, 1}},
                  {3, 3, 1.5215304, {2.1170196, 2.4228264}},
                  {4, 3, 1.6036154, {2.4453596, 2.2586564}}};
    for (const auto& state : states) {
      const auto [part, sum] = one_row(stream, {.scale = 1}, 8, state.position, one, k, v, phase);
      CHECK(std::exp(sum - state.m) == doctest::Approx(state.l).epsilon(1e-6));
      for (size_t e = 0; e < 2; e++) CHECK(part[e] * state.l == doctest::Approx(state.o[e]).epsilon(1e-6));
    }
    const auto first = one_row(stream, {.scale = 1, .passes = {{.to = edge::at(3)}}}, 8, 4, one, k, v, phase);
    CHECK(first.first[0] == doctest::Approx(1.4205125).epsilon(1e-6));
    CHECK(first.first[1] == doctest::Approx(1.5752104).epsilon(1e-6));
    CHECK(first.second == doctest::Approx(3.407606).epsilon(1e-6));
    const auto part = one_row(stream, {.scale = 1, .passes = pattern::window(2)}, 8, 4, one, k, v, phase);
    CHECK(part.first[0] == doctest::Approx(3.0878724).epsilon(1e-6));
    CHECK(part.first[1] == doctest::Approx(-1.0878724).epsilon(1e-6));
    CHECK(part.second == doctest::Approx(0.70141328).epsilon(1e-6));

    // B7: branches merge by their log-sum-exp, 2, 1 and 0.5 of four keys, two keys and one key.
    std::map<uint32_t, std::vector<double>> of_branch, value;
    for (uint32_t j = 0; j < 7; j++) {
      const size_t branch = j < 4 ? 0 : j < 6 ? 1 : 2;
      const double lse_of[] = {2, 1, 0.5}, n[] = {4, 2, 1};
      of_branch[j] = {lse_of[branch] - std::log(n[branch]), 0, 0, 0, 0, 0, 0, 0};
      value[j] = std::vector<double>(8);
      value[j][branch] = 1;
    }
    const AttentionShape branches{.scale = 1,
                                  .passes = {{.to = edge::at(4)},
                                             {.from = edge::at(4), .to = edge::at(6)},
                                             {.from = edge::at(6), .to = edge::at(7)}}};
    const auto weights = one_row(stream, branches, 8, 6, one, of_branch, value, phase).first;
    const double of_three[] = {0.62853172, 0.2312239, 0.14024438};
    for (size_t e = 0; e < 3; e++) CHECK(weights[e] == doctest::Approx(of_three[e]).epsilon(1e-6));

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
