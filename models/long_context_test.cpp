// Whole models under every extension of positions, pattern of attention and kind of cache, against the
// double-precision model; and what chunks, lengths and rings must not change.
#include "models/long_context_test.h"

using namespace spindle;
using namespace spindle::test;

TEST_CASE("every extension of rotary positions agrees with the double-precision model") {
  const RandomModel m = small();
  const auto with = [&](RopeRequest r) {
    SessionOptions o = exact(256);
    o.rope = std::move(r);
    check(std::string(name_of(*o.rope.method)), m, o);
  };
  using enum RopeMethod;
  with({.method = none});
  with({.method = linear, .factor = 4});
  with({.method = ntk, .factor = 4});
  with({.method = ntk_parts, .factor = 4});
  with({.method = yarn, .factor = 4});
  with({.method = llama3, .factor = 4});
  with({.method = rerope, .window = 20});
  with({.method = leaky_rerope, .window = 20, .leak = 3});
  with({.method = self_extend, .group_size = 4, .group_window = 24});
  with({.method = dca, .chunk = 24});
  RopeRequest log_n{.method = rerope, .window = 20};
  log_n.log_n = true;
  with(log_n);
}

TEST_CASE("patterns of attention agree with the double-precision model") {
  for (const char* text :
       {"window:20", "sinks:4,20", "longformer:20,3", "bigbird:8,1,2,2,5", "groups:16", "dilated:16/1,64/4"})
    for (const char* architecture : {"llama", "bloom"}) {
      if (quick() && architecture != std::string("llama")) continue;
      RandomModel m = small(architecture);
      if (architecture != std::string("llama")) m.n_kv_heads = m.n_heads;
      SessionOptions o = exact(256);
      o.pattern = parse_attention_pattern(text);
      check(fmt::format("{} {}", architecture, text), m, o);
    }
}

TEST_CASE("quantised caches stay close to the double-precision model") {
  for (DType k : {DType::f16, DType::q8_0, DType::q4_0})
    for (DType v : {DType::f16, DType::q8_0, DType::q4_0}) {
      if (quick() && k != v) continue;
      SessionOptions o = exact(256);
      o.k_type = k;
      o.v_type = v;
      // A rounding of keys is a rounding of scores: 1 part in 2048, 254 and 16.
      const bool coarse = k == DType::q4_0 || v == DType::q4_0;
      check(fmt::format("cache {} {}", info(k).name, info(v).name), small(), o,
            coarse                                 ? 3.0
            : k == DType::q8_0 || v == DType::q8_0 ? 0.3
                                                   : 0.03);
    }
}

TEST_CASE("a context that shifts goes on at constant memory, as sinks and window say") {
  for (ContextShift shift : {ContextShift::sinks, ContextShift::window}) {
    const RandomModel m = small();
    const Model model(device(), random_file(m));
    SessionOptions o = exact(64);
    o.context_shift = shift;
    o.prefill_chunk = 16;
    o.page_tokens = 16;
    const std::vector<int> ids = random_ids(300, m.vocab, 9);
    SessionOptions same = exact(512);
    same.pattern = parse_attention_pattern(shift == ContextShift::sinks ? "sinks:4,60" : "window:64");
    const std::vector<double> want = expected(m, same, ids);
    CHECK(largest_difference(by_prefill(model, o, ids), want) <= 1e-3);
    Session session(model, o);
    const int slot = session.open({.temperature = 0});
    std::vector<double> got;
    uint64_t bytes = 0;
    for (size_t i = 0; i < ids.size(); i++) {
      const std::vector<float> logits = session.decode(slot, ids[i]);
      const std::vector<double> row = log_softmax(std::span<const float>(logits));
      got.insert(got.end(), row.begin(), row.end());
      if (i == 150) bytes = session.cache().allocated_bytes();
    }
    CHECK(largest_difference(got, want) <= 1e-3);
    CHECK(session.cache().allocated_bytes() == bytes);
    // And on, generating, far past the context.
    uint32_t generated = 0;
    session.prefill(slot, std::vector<int>{ids[0]});
    session.generate({&slot, 1}, 200, [&](int, int) { return ++generated, true; });
    CHECK(generated == 200);
    CHECK(session.cache().allocated_bytes() == bytes);
  }
}

TEST_CASE("dynamic scaling follows the length and leaves no stale key") {
  const RandomModel m = small();
  const Model model(device(), random_file(m));
  SessionOptions o = exact(512);
  o.rope = {.method = RopeMethod::dynamic, .original_context = 64};
  const std::vector<int> ids = random_ids(200, m.vocab, 11);
  // 200 tokens: frequencies of 224 positions, 3.5 times the original length.
  SessionOptions fixed = exact(512);
  fixed.rope = {.method = RopeMethod::ntk, .factor = 3.5, .original_context = 64};
  const auto last = [&](const std::vector<double>& all) {
    return std::vector<double>(all.end() - m.vocab, all.end());
  };
  const std::vector<double> want = last(expected(m, fixed, ids));
  CHECK(largest_difference(last(by_prefill(model, o, ids)), want) <= 1e-3);
  CHECK(largest_difference(last(by_decode(model, o, ids)), want) <= 1e-3);
  // The same bits whether the prompt came at once or in pieces, and short texts see the plain model.
  Session session(model, o);
  const int slot = session.open();
  session.prefill(slot, std::span(ids).first(70));
  session.prefill(slot, std::span(ids).subspan(70), {.sample = true, .progress = {}, .on_logits = {}});
  const std::vector<float> pieces = session.last_logits();
  Session whole(model, o);
  whole.prefill(whole.open(), ids);
  CHECK(whole.last_logits() == pieces);
  SessionOptions plain = exact(512);
  const std::vector<int> few(ids.begin(), ids.begin() + 60);
  CHECK(by_prefill(model, o, few) == by_prefill(model, plain, few));
}

TEST_CASE("wishes that exclude each other are refused in one line") {
  const auto refused = [&](const RandomModel& m, const SessionOptions& o, const char* words) {
    const Model model(device(), random_file(m));
    CHECK_THROWS_WITH_AS(Session(model, o), doctest::Contains(words), Error);
  };
  SessionOptions o = exact(256);
  RandomModel bloom = small("bloom");
  bloom.n_kv_heads = bloom.n_heads;
  o.rope = {.method = RopeMethod::yarn, .factor = 4};
  refused(bloom, o, "for rotary positions; this bloom model has ALiBi");
  o.rope = {.method = RopeMethod::rerope};
  o.pattern = parse_attention_pattern("window:20");
  refused(small(), o, "choose one");
  o = exact(256);
  o.context_shift = ContextShift::sinks;
  o.n_sinks = 256;
  refused(small(), o, "--sinks 256: allowed are 1 to 255");
  o.n_sinks = 4;
  o.rope = {.method = RopeMethod::dynamic};
  refused(small(), o, "dynamic");
  RandomModel learned = small("gpt2");
  learned.n_kv_heads = learned.n_heads;
  o = exact(48);
  o.context_shift = ContextShift::window;
  refused(learned, o, "embeddings for 48 positions");
  for (const char* text :
       {"window:0", "window", "window:x", "window:-1", "bigbird:8,1", "dilated:4/8", "nonsense:3"})
    CHECK_THROWS_AS(parse_attention_pattern(text), Error);
}
