// Sessions with long contexts: layers with windows, several sequences, shared prefixes, rings and lengths
// that come and go must give what one fresh sequence gives.
#include "models/long_context_test.h"
#include "runtime/error.h"
#include "tests/layer/layer.h"

using namespace spindle;
using namespace spindle::test;

namespace {

using Ids = std::vector<int>;

Ids part(const Ids& ids, size_t from, size_t to) {
  return {ids.begin() + static_cast<std::ptrdiff_t>(from), ids.begin() + static_cast<std::ptrdiff_t>(to)};
}

// Appends a text and returns the logits after it.
std::vector<float> feed(Session& session, int slot, const Ids& ids) {
  session.prefill(slot, ids);
  return session.last_logits();
}

std::map<int, Ids> generate(Session& session, const std::vector<int>& slots, uint32_t n) {
  std::map<int, Ids> out;
  session.generate(slots, n, [&](int slot, int id) { return out[slot].push_back(id), true; });
  return out;
}

// What one sequence alone does with a text: the logits after it, and the tokens that follow.
struct Alone {
  std::vector<float> logits;
  Ids tokens;
};
Alone alone(const Model& model, SessionOptions o, const Ids& ids, uint32_t n) {
  o.n_slots = 1;
  Session session(model, o);
  const int slot = session.open({.temperature = 0, .ignore_end = true});
  Alone a{feed(session, slot, ids), {}};
  if (n) a.tokens = generate(session, {slot}, n)[slot];
  return a;
}

struct Wish {
  RopeRequest rope;
  const char* pattern = "";
  std::string name() const { return rope.method ? std::string(name_of(*rope.method)) : pattern; }
};
const std::vector<Wish>& wishes() {
  using enum RopeMethod;
  static const std::vector<Wish> list = {
      {{.method = rerope, .window = 20}},
      {{.method = self_extend, .group_size = 4, .group_window = 24}},
      {{.method = leaky_rerope, .window = 20, .leak = 3}},
      {{.method = dca, .chunk = 24}},
      {{.method = linear, .factor = 4}},
      {{.method = ntk, .factor = 4}},
      {{.method = ntk_parts, .factor = 4}},
      {{.method = yarn, .factor = 4}},
      {{.method = llama3, .factor = 4}},
      {{}, "window:20"},
      {{}, "sinks:4,20"},
      {{}, "longformer:20,3"},
      {{}, "bigbird:8,1,2,2,5"},
      {{}, "groups:16"},
      {{}, "dilated:16/1,64/4"},
  };
  return list;
}
SessionOptions with(const Wish& w, SessionOptions o) {
  o.rope = w.rope;
  o.pattern = parse_attention_pattern(w.pattern);
  return o;
}

}  // namespace

TEST_CASE("models with windows on some layers agree with the double-precision model under every choice") {
  using enum RopeMethod;
  const std::vector<RopeRequest> methods = {{.method = none},
                                            {.method = yarn, .factor = 4},
                                            {.method = rerope, .window = 16},
                                            {.method = leaky_rerope, .window = 16, .leak = 3},
                                            {.method = self_extend, .group_size = 4, .group_window = 16},
                                            {.method = dca, .chunk = 24}};
  size_t turn = 0;
  for (const char* architecture : {"gemma2", "gemma3", "cohere2", "olmo2"}) {
    const RandomModel m = windowed(architecture);
    for (const RopeRequest& r : methods) {
      if (quick() && turn++ % 5 != 0) continue;
      SessionOptions o = exact(256);
      o.rope = r;
      check(fmt::format("{} {}", architecture, name_of(*r.method)), m, o);
    }
    for (const char* text : {"window:12", "window:50", "sinks:3,40", "bigbird:8,1,2,2,5"}) {
      if (quick() && turn++ % 5 != 0) continue;
      SessionOptions o = exact(256);
      o.pattern = parse_attention_pattern(text);
      check(fmt::format("{} {}", architecture, text), m, o);
    }
  }
}

TEST_CASE("no chunk and no page changes a bit of any extension or pattern") {
  struct Choice {
    RandomModel model;
    RopeRequest rope;
    const char* pattern = "";
  };
  using enum RopeMethod;
  const std::vector<Choice> choices = {
      {small(), {.method = yarn, .factor = 4}},
      {small(), {.method = rerope, .window = 20}},
      {small(), {.method = self_extend, .group_size = 4, .group_window = 24}},
      {small(), {.method = dca, .chunk = 24}},
      {small(), {}, "sinks:4,20"},
      {small(), {}, "bigbird:8,1,2,2,5"},
      {small(), {}, "dilated:16/1,64/4"},
      {windowed("gemma2"), {.method = leaky_rerope, .window = 16, .leak = 3}},
      {windowed("cohere2"), {.method = ntk, .factor = 4}},
      {small("bloom"), {}, "window:20"},
  };
  std::vector<std::pair<uint32_t, uint32_t>> layouts = {{1, 16},  {7, 32},   {64, 128}, {512, 256},
                                                        {7, 256}, {64, 16},  {1, 64},   {512, 16},
                                                        {37, 64}, {512, 32}, {64, 64}};
  if (quick()) layouts = {{7, 32}, {64, 128}, {512, 16}, {64, 256}};
  size_t turn = 0;
  for (const Choice& c : choices) {
    if (quick() && turn++ % 3 != 1) continue;
    RandomModel m = c.model;
    if (m.architecture == "bloom") m.n_kv_heads = m.n_heads;
    const std::vector<int> ids = random_ids(kTokens, m.vocab, 7);
    const Model model(device(), random_file(m));
    SessionOptions o = exact(256);
    o.k_type = DType::f16;
    o.v_type = DType::q8_0;
    o.rope = c.rope;
    o.pattern = parse_attention_pattern(c.pattern);
    o.logit_rows = 512;
    const std::vector<double> whole = by_prefill(model, o, ids);
    for (const auto& [chunk, page] : layouts) {
      o.prefill_chunk = chunk;
      o.page_tokens = page;
      CHECK_MESSAGE(by_prefill(model, o, ids) == whole,
                    fmt::format("{} {} {}: chunks of {}, pages of {}", m.architecture,
                                c.rope.method ? name_of(*c.rope.method) : "", c.pattern, chunk, page));
    }
  }
}

TEST_CASE("two sequences with two forms of keys do not disturb each other") {
  const RandomModel m = small();
  const Model model(device(), random_file(m));
  const Ids a = random_ids(110, m.vocab, 1), b = random_ids(75, m.vocab, 2);
  for (size_t i = 0; i < (quick() ? 2 : wishes().size()); i++) {
    for (DType type : {DType::f32, DType::q8_0}) {
      if (quick() && type == DType::f32 && i > 0) continue;
      SessionOptions o = with(wishes()[i], exact(192));
      o.k_type = o.v_type = type;
      o.page_tokens = 16;
      const Alone first = alone(model, o, a, 20), second = alone(model, o, b, 20);
      o.n_slots = 2;
      Session session(model, o);
      const Sampling greedy{.temperature = 0, .ignore_end = true};
      const int one = session.open(greedy), two = session.open(greedy);
      session.prefill(one, part(a, 0, 50));
      session.prefill(two, part(b, 0, 33));
      CHECK_MESSAGE(feed(session, one, part(a, 50, a.size())) == first.logits, wishes()[i].name());
      CHECK_MESSAGE(feed(session, two, part(b, 33, b.size())) == second.logits, wishes()[i].name());
      const auto text = generate(session, {one, two}, 20);
      CHECK_MESSAGE(text.at(one) == first.tokens, wishes()[i].name());
      CHECK_MESSAGE(text.at(two) == second.tokens, wishes()[i].name());
    }
  }
}

TEST_CASE("a shared prefix gives the same bits under every extension and pattern") {
  const RandomModel m = small();
  const Model model(device(), random_file(m));
  const Ids ids = random_ids(100, m.vocab, 3), other = random_ids(30, m.vocab, 4);
  Ids longer = part(ids, 0, 90);
  longer.insert(longer.end(), other.begin(), other.end());
  for (size_t i = 0; i < wishes().size(); i++) {
    if (quick() && i % 6 != 1) continue;
    CAPTURE(wishes()[i].name());
    SessionOptions o = with(wishes()[i], exact(192));
    o.page_tokens = 16;
    const Alone expected_text = alone(model, o, longer, 15);
    o.n_slots = 2;
    Session session(model, o);
    const Sampling greedy{.temperature = 0, .ignore_end = true};
    const int one = session.open(greedy);
    session.prefill(one, ids);
    const int two = session.open(greedy);
    CHECK(feed(session, two, longer) == expected_text.logits);
    CHECK(session.statistics().shared_tokens == 80);  // five whole pages of the 90 tokens
    session.close(one);
    CHECK(generate(session, {two}, 15)[two] == expected_text.tokens);
  }
}

TEST_CASE("two sequences shift their context at once, whatever the cache holds") {
  size_t turn = 0;
  for (const char* architecture : {"llama", "gemma2", "bloom"})
    for (ContextShift shift : {ContextShift::sinks, ContextShift::window})
      for (DType type : {DType::f16, DType::q8_0, DType::q4_0, DType::f32}) {
        if (quick() && (type != DType::q8_0 || (shift == ContextShift::sinks) != (*architecture == 'l')))
          continue;
        const size_t at = turn++;
        if (!quick() && !thorough() && at / 4 % 4 != at % 4) continue;  // types by turns
        CAPTURE(architecture);
        CAPTURE(info(type).name);
        RandomModel m = *architecture == 'g' ? windowed(architecture) : small(architecture);
        if (*architecture == 'b') m.n_kv_heads = m.n_heads;
        const Model model(device(), random_file(m));
        const Ids a = random_ids(230, m.vocab, 5), b = random_ids(120, m.vocab, 6);
        // The same keys seen, none given up.
        SessionOptions whole = exact(512);
        whole.k_type = whole.v_type = type;
        whole.pattern = parse_attention_pattern(shift == ContextShift::sinks ? "sinks:4,60" : "window:64");
        const Alone first = alone(model, whole, a, 30), second = alone(model, whole, b, 30);
        SessionOptions o = exact(64);
        o.k_type = o.v_type = type;
        o.context_shift = shift;
        o.prefill_chunk = 16;
        o.page_tokens = 16;
        o.n_slots = 2;
        Session session(model, o);
        const Sampling greedy{.temperature = 0, .ignore_end = true};
        const int one = session.open(greedy), two = session.open(greedy);
        session.prefill(one, part(a, 0, 150));
        CHECK(feed(session, two, b) == second.logits);
        CHECK(feed(session, one, part(a, 150, a.size())) == first.logits);
        const auto text = generate(session, {one, two}, 30);
        CHECK(text.at(one) == first.tokens);
        CHECK(text.at(two) == second.tokens);
      }
}

TEST_CASE("a sequence in a ring is truncated to what the ring still holds, never to stale keys") {
  const RandomModel m = small();
  const Model model(device(), random_file(m));
  const Ids ids = random_ids(200, m.vocab, 8), other = random_ids(90, m.vocab, 9);
  for (ContextShift shift : {ContextShift::sinks, ContextShift::window}) {
    SessionOptions o = exact(64);
    o.context_shift = shift;
    o.prefill_chunk = 16;
    o.page_tokens = 16;
    const uint32_t first_pages = shift == ContextShift::sinks ? 16 : 0;
    // Continues a sequence that was cut to `kept` of `ids` with the rest up to n, and with something else.
    const auto goes_on = [&](Session& session, int slot, uint32_t kept, uint32_t n) {
      CHECK(session.n_tokens(slot) == kept);
      CHECK(std::ranges::equal(session.tokens(slot), part(ids, 0, kept)));
      Ids text = part(ids, 0, n);
      text.insert(text.end(), other.begin(), other.end());
      const Alone fresh = alone(model, o, text, 20);
      CHECK(feed(session, slot, part(text, kept, text.size())) == fresh.logits);
      CHECK(generate(session, {slot}, 20)[slot] == fresh.tokens);
    };
    const auto full = [&](Session& session, uint32_t generated) {
      const int slot = session.open({.temperature = 0, .ignore_end = true});
      session.prefill(slot, ids);
      if (generated) generate(session, {slot}, generated);
      return slot;
    };
    for (uint32_t n : {190u, 101u, 9u, 199u, 150u, 20u, 16u}) {
      if (quick() && n != 190 && n != 101 && n != 9) continue;
      CAPTURE(n);
      Session session(model, o);
      const int slot = full(session, 0);
      const uint32_t kept = session.truncate(slot, n);
      CHECK(kept == (n >= 190 ? n : std::min(n, first_pages)));
      goes_on(session, slot, kept, n);
    }
    {  // generated tokens are taken back: few of them, then many
      Session session(model, o);
      int slot = full(session, 8);
      CHECK(session.truncate(slot, 200) == 200);
      goes_on(session, slot, 200, 200);
      session.close(slot);
      slot = full(session, 120);
      CHECK(session.truncate(slot, 200) == first_pages);
      goes_on(session, slot, first_pages, 200);
    }
    {  // once after the other, and what was cut off before is not forgotten
      Session session(model, o);
      const int slot = full(session, 0);
      CHECK(session.truncate(slot, 195) == 195);
      session.prefill(slot, part(other, 0, 1));
      CHECK(session.truncate(slot, 170) == first_pages);
      goes_on(session, slot, first_pages, 170);
    }
    // A prompt that fails half way: the sequence is what it was, though the ring has come round.
    for (uint32_t at : {16u, 96u}) {
      CAPTURE(at);
      Session session(model, o);
      const int slot = full(session, 0);
      const auto stop = [&](uint32_t done, uint32_t) {
        if (done >= at) throw Error(ErrorKind::interrupted, "stop");
      };
      CHECK_THROWS_AS(session.prefill(slot, random_ids(150, m.vocab, 10), {.progress = stop}), Error);
      const Alone fresh = alone(model, o, ids, 20);
      CHECK(session.n_tokens(slot) == 200);
      CHECK(generate(session, {slot}, 20)[slot] == fresh.tokens);
    }
  }
}

TEST_CASE("dynamic scaling follows a length that shrinks") {
  const RandomModel m = small();
  const Model model(device(), random_file(m));
  SessionOptions o = exact(512);
  o.rope = {.method = RopeMethod::dynamic, .original_context = 64};
  o.page_tokens = 16;
  const Ids ids = random_ids(200, m.vocab, 11);
  Session session(model, o);
  const int slot = session.open({.temperature = 0, .ignore_end = true});
  const Alone plain = alone(model, exact(512), part(ids, 0, 50), 0), most = alone(model, o, ids, 30);
  CHECK(feed(session, slot, ids) == most.logits);
  for (uint32_t n : {40u, 0u}) {  // short again: the unmodified model's bits
    CHECK(session.truncate(slot, n) == n);
    CHECK(feed(session, slot, part(ids, n, 50)) == plain.logits);
  }
  CHECK(feed(session, slot, part(ids, 50, 200)) == most.logits);
  CHECK(session.truncate(slot, 130) == 130);
  CHECK(feed(session, slot, part(ids, 130, 140)) == alone(model, o, part(ids, 0, 140), 0).logits);
  CHECK(feed(session, slot, part(ids, 140, 200)) == most.logits);
  CHECK(generate(session, {slot}, 30)[slot] == most.tokens);
}

TEST_CASE("dynamic scaling loses no text to a failure on its way to another length") {
  test_layer::spindle_layer_enable();
  Device own;
  const RandomModel m = small();
  const Model model(own, random_file(m));
  SessionOptions o = exact(256);
  o.rope = {.method = RopeMethod::dynamic, .original_context = 64};
  const Ids ids = random_ids(120, m.vocab, 12);
  const std::vector<float> want = alone(model, o, ids, 0).logits;
  uint32_t failed = 0;
  for (uint64_t at = 1; at < 40; at += quick() ? 7 : 2) {
    Session session(model, o);
    const int slot = session.open({.temperature = 0});
    session.prefill(slot, part(ids, 0, 60));
    test_layer::spindle_layer_set(
        {.fail_at = at,
         .fail_kinds = test_layer::kind_pool | test_layer::kind_record | test_layer::kind_allocate});
    try {
      session.prefill(slot, part(ids, 60, 120));
      session.truncate(slot, 60);
    } catch (const Error&) {
      failed++;
    }
    test_layer::spindle_layer_set({});
    CAPTURE(at);
    CHECK(std::ranges::equal(session.tokens(slot), part(ids, 0, 60)));
    CHECK(feed(session, slot, part(ids, 60, 120)) == want);
  }
  CHECK(failed > 0);
}
