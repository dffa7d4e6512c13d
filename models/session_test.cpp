// Sessions end to end: known text, and the same answer whatever the batch, the chunk, the pages and the
// limits.
#include "models/session.h"

#include <doctest/doctest.h>
#include <fmt/core.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>

#include "runtime/error.h"
#include "tests/device.h"
#include "tests/reference_model.h"
#include "tests/shared_data.h"

using namespace spindle;
using namespace spindle::test;

namespace {

// The validation layer takes seconds for a hundred replays: a few tokens there, all of the text elsewhere.
const bool kValidation = std::getenv("SPINDLE_VALIDATION") != nullptr;
const int kTokens = kValidation ? 12 : 200;

struct Story {
  std::string model, expected;  // the expected text ends with one newline
};

std::optional<Story> find_story() {
  const auto model = shared_or_skip("models/stories260K-f32.gguf");
  if (!model) return std::nullopt;
  std::ifstream in(model->parent_path() / "stories260K.expected.txt");
  return Story{model->string(), {std::istreambuf_iterator<char>(in), {}}};
}

void check_text(const Story& s, const std::string& text) {
  if (kValidation) CHECK_MESSAGE((text.size() > 12 && s.expected.starts_with(text)), text);
  else CHECK(text + "\n" == s.expected);
}

Sampling greedy() {
  Sampling s;
  s.temperature = 0;
  return s;
}

// Text of n greedy tokens after each prompt, all sequences in the same steps.
std::vector<std::string> continue_greedily(Session& session, std::span<const std::string> prompts, int n) {
  const Tokenizer& tokenizer = session.model().tokenizer();
  std::vector<int> slots;
  std::vector<Detokenizer> text;
  std::vector<std::string> out(prompts.size());
  for (const std::string& prompt : prompts) {
    const std::vector<int> ids = tokenizer.encode(prompt);
    slots.push_back(session.open(greedy()));
    session.prefill(slots.back(), ids);
    text.emplace_back(tokenizer).skip(ids);
  }
  session.generate(slots, static_cast<uint32_t>(n), [&](int slot, int id) {
    const size_t i = static_cast<size_t>(std::ranges::find(slots, slot) - slots.begin());
    out[i] += text[i].push(id);
    return true;
  });
  for (size_t i = 0; i < out.size(); i++) out[i] += text[i].flush();
  for (int slot : slots) session.close(slot);
  return out;
}

std::string story(Device& device, const Story& s, const SessionOptions& options, int n = kTokens) {
  const Model model(device, s.model);
  Session session(model, options);
  const std::string prompt = "Once upon a time";
  return continue_greedily(session, {&prompt, 1}, n)[0];
}

}  // namespace

TEST_CASE("the story comes out to the letter, whatever the chunk and the cache") {
  const auto s = find_story();
  if (!s) return;
  SessionOptions options;
  SUBCASE("as it comes") {}
  SUBCASE("chunk 7, pages of 16") { options.prefill_chunk = 7, options.page_tokens = 16; }
  if (!quick()) {
    SUBCASE("f32 cache") { options.k_type = options.v_type = DType::f32; }
    SUBCASE("chunk 1") { options.prefill_chunk = 1; }
    SUBCASE("pages of 256") { options.page_tokens = 256; }
    SUBCASE("one step in flight") { options.steps_in_flight = 1; }
  }
  check_text(*s, story(device(), *s, options));
}

TEST_CASE("the story comes out of limited devices") {
  const auto s = find_story();
  if (!s) return;
  DeviceOptions limits = DeviceOptions::from_environment();
  SUBCASE("no fast path") { limits.disable = {"all"}; }
  SUBCASE("f32 only") { limits.precision_f32 = true; }
  SUBCASE("allocations of 64 KiB") { limits.limit_allocation = 65536; }
  Device limited(limits);
  check_text(*s, story(limited, *s, {}));
}

TEST_CASE("several sequences of different lengths share steps") {
  const auto s = find_story();
  if (!s) return;
  const Model model(device(), s->model);
  SessionOptions options;
  options.n_slots = 3;
  Session session(model, options);
  const std::string prompts[] = {"Once upon a time", "Lily had a dog named Spot. One day", "The"};
  const std::vector<std::string> together = continue_greedily(session, prompts, kTokens);
  check_text(*s, together[0]);
  for (size_t i = 0; i < 3; i++)
    CHECK(continue_greedily(session, {&prompts[i], 1}, kTokens)[0] == together[i]);
}

TEST_CASE("with bindings of 16384 bytes weights, embedding, logits and cache lie in several") {
  const auto s = find_story();
  if (!s) return;
  DeviceOptions limits = DeviceOptions::from_environment();
  limits.limit_binding = 16384;
  Device limited(limits);
  const Model model(limited, s->model);
  SessionOptions options;
  options.n_slots = 9;
  options.page_tokens = 16;
  Session session(model, options);
  CHECK(model.weights().embedding().parts.size() > 1);
  CHECK(model.weights().output().parts.size() > 1);
  CHECK(model.weights().layer(0).down.weight.parts.size() > 1);
  const std::vector<std::string> prompts(9, "Once upon a time");
  for (const std::string& text : continue_greedily(session, prompts, kTokens)) check_text(*s, text);
  CHECK(session.logits_parts() > 1);
  CHECK(session.cache().n_segments(200) > 1);
}

TEST_CASE("no submit exceeds the cost bound, and the text is the same") {
  const auto s = find_story();
  if (!s) return;
  DeviceOptions limits = DeviceOptions::from_environment();
  {
    const Model model(device(), s->model);
    Session usual(model, {});  // measures the device
  }
  limits.limit_cost = device().cost_bound() / 100;
  Device limited(limits);
  const Model model(limited, s->model);
  Session session(model, {});
  const std::string prompt = "Once upon a time";
  check_text(*s, continue_greedily(session, {&prompt, 1}, kTokens)[0]);
  CHECK(session.stream().largest_cost() <= limits.limit_cost);
  CHECK(session.stream().n_submits() > kTokens + 1);  // steps were cut
  fmt::print("  largest submit {:.3g} of a bound of {:.3g}, {} submits\n", session.stream().largest_cost(),
             limits.limit_cost, session.stream().n_submits());

  if (kValidation) return;
  limits.limit_cost = 1;  // as far as it goes: every workgroup alone
  Device narrow(limits);
  const Model again(narrow, s->model);
  Session single(again, {});
  CHECK(s->expected.starts_with(continue_greedily(single, {&prompt, 1}, 5)[0]));
}

TEST_CASE("a shared prefix gives the same text as a computed one") {
  const auto s = find_story();
  if (!s) return;
  const Model model(device(), s->model);
  SessionOptions options;
  options.n_slots = 2;
  options.page_tokens = 16;
  Session session(model, options);
  const std::vector<int> ids = model.tokenizer().encode(
      "Once upon a time, there was a little girl named Lily. She loved to play outside in the park with her "
      "mom and "
      "her dog. One day, Lily saw a big red ball in the grass and");
  const auto text = [&](int slot) {
    std::vector<int> out;
    session.generate({&slot, 1}, 50, [&](int, int id) { return out.push_back(id), true; });
    return out;
  };
  const int first = session.open(greedy()), second = session.open(greedy());
  session.prefill(first, ids);
  session.prefill(second, ids);
  CHECK(session.statistics().shared_tokens >= ids.size() - 16);
  CHECK(session.cache().used_pages() < 2 * (ids.size() / 16 + 1));
  const std::vector<int> expected = text(first);
  session.close(first);  // the pages stay with the second
  CHECK(text(second) == expected);
  session.close(second);
  CHECK(session.cache().used_pages() == 0);
}

TEST_CASE("a prompt longer than the context is refused with both numbers and changes nothing") {
  const RandomModel random{.head_dim = 16};
  const Model model(device(), Gguf::parse(random.bytes(), "random"));
  SessionOptions options;
  options.context = 20;
  Session session(model, options);
  const int slot = session.open(greedy());
  session.prefill(slot, random_ids(15, random.vocab, 1));
  CHECK_THROWS_WITH_AS(
      session.prefill(slot, random_ids(6, random.vocab, 2)),
      "the prompt has 6 tokens after 15 earlier ones, the context 20: try -c 277 or a shorter prompt", Error);
  CHECK(session.n_tokens(slot) == 15);
  uint32_t n = 0;
  session.generate({&slot, 1}, UINT32_MAX, [&](int, int) { return n++, true; });
  CHECK(n == 6);  // five fit into the context, and one more is known after the last
  CHECK(session.n_tokens(slot) == 20);
}

TEST_CASE("a seed gives one text, whatever ran before, beside it or in flight") {
  const RandomModel random{.head_dim = 16};
  const Model model(device(), Gguf::parse(random.bytes(), "random"));
  SessionOptions options;
  options.n_slots = 3;
  const std::vector<int> ids = random_ids(70, random.vocab, 1);
  const auto texts = [&](Session& session, uint32_t n) {
    std::vector<int> slots;
    std::map<int, std::vector<int>> out;
    for (uint32_t i = 0; i < n; i++) {
      slots.push_back(session.open({.repeat_penalty = 1.2f, .seed = 42}));
      session.prefill(slots.back(), ids);
    }
    session.generate(slots, 30, [&](int slot, int id) { return out[slot].push_back(id), true; });
    for (int slot : slots) session.close(slot);
    return out;
  };
  Session session(model, options);
  const std::vector<int> first = texts(session, 1)[0];
  CHECK(texts(session, 1)[0] == first);
  for (const auto& [slot, text] : texts(session, 3)) CHECK(text == first);
  options.steps_in_flight = 1;
  options.share_prefixes = false;
  Session careful(model, options);
  for (const auto& [slot, text] : texts(careful, 3)) CHECK(text == first);
  const int slot = session.open({.seed = 42, .sequence = 1});
  session.prefill(slot, ids);
  const int twice[] = {slot, slot};
  CHECK_THROWS_WITH_AS(session.generate(twice, 1, [](int, int) { return true; }),
                       doctest::Contains("named twice"), Error);
  session.generate({&slot, 1}, 1, [](int, int) { return true; });
  CHECK_THROWS_WITH_AS(session.decode(slot, 1), doctest::Contains("waits to be continued"), Error);
}

TEST_CASE("contexts that no memory holds are refused at once") {
  const RandomModel random{.head_dim = 16};
  const Model model(device(), Gguf::parse(random.bytes(), "random"));
  for (uint32_t context : {1u << 30, (1u << 31) + 1, UINT32_MAX}) {
    SessionOptions options;
    options.context = context;
    options.n_slots = 32;
    CHECK_THROWS_AS(Session(model, options), Error);
  }
}

TEST_CASE("a prompt that fails half way leaves the sequence as it was") {
  const RandomModel random{.head_dim = 16};
  const Model model(device(), Gguf::parse(random.bytes(), "random"));
  SessionOptions options;
  options.prefill_chunk = 8;
  Session session(model, options);
  const std::vector<int> first = random_ids(10, random.vocab, 1), second = random_ids(30, random.vocab, 2);
  const auto continuation = [&](bool fail) {
    const int slot = session.open(greedy());
    session.prefill(slot, first);
    if (fail)
      CHECK_THROWS_AS(session.prefill(slot, second,
                                      {.progress =
                                           [](uint32_t done, uint32_t) {
                                             if (done > 8) throw Error(ErrorKind::interrupted, "stop");
                                           }}),
                      Error);
    CHECK(session.n_tokens(slot) == 10);
    std::vector<int> out;
    session.generate({&slot, 1}, 20, [&](int, int id) { return out.push_back(id), true; });
    session.close(slot);
    return out;
  };
  CHECK(continuation(true) == continuation(false));
  CHECK(session.cache().used_pages() == 0);
}

TEST_CASE("weights that are not finite are an error") {
  RandomModel random{.head_dim = 16};
  auto bytes = random.bytes();
  const float bad = NAN;
  std::memcpy(bytes.data() + bytes.size() - 4000, &bad, 4);  // in the last layer's ffn_down
  const Model model(device(), Gguf::parse(bytes, "random"));
  Session session(model, {});
  const int slot = session.open(greedy());
  CHECK_THROWS_WITH_AS(session.prefill(slot, random_ids(5, random.vocab, 1)),
                       doctest::Contains("non-finite logits"), Error);
}

TEST_CASE("a truncated sequence continues as if the rest had never been") {
  const RandomModel random{.head_dim = 16};
  const Model model(device(), Gguf::parse(random.bytes(), "random"));
  SessionOptions options;
  options.n_slots = 2;
  options.page_tokens = 16;
  Session session(model, options);
  const std::vector<int> first = random_ids(40, random.vocab, 1), second = random_ids(9, random.vocab, 2);
  const auto text = [&](int slot) {
    std::vector<int> out;
    session.generate({&slot, 1}, 10, [&](int, int id) { return out.push_back(id), true; });
    return out;
  };
  Sampling sampling = greedy();
  sampling.repeat_penalty = 1.3f;
  int slot = session.open(sampling);
  session.prefill(slot, first);
  session.prefill(slot, second);
  const std::vector<int> expected = text(slot);
  session.close(slot);

  slot = session.open(sampling);
  session.prefill(slot, first);
  session.prefill(slot, random_ids(30, random.vocab, 3));
  text(slot);
  CHECK(session.truncate(slot, 40) == 40);
  CHECK(session.n_tokens(slot) == 40);
  CHECK(std::ranges::equal(session.tokens(slot), first));
  uint32_t none = 0;
  CHECK_THROWS_AS(session.generate({&slot, 1}, 1, [&](int, int) { return none++, true; }), Error);
  session.prefill(slot, second);
  CHECK(text(slot) == expected);

  // A page that another sequence reads is not written again: whole pages are kept.
  const int other = session.open(sampling);
  session.prefill(other, first);
  CHECK(session.cache().n_shared(static_cast<uint32_t>(other)) == 32);
  CHECK(session.truncate(slot, 20) == 16);
  session.prefill(slot, random_ids(20, random.vocab, 4));
  session.prefill(other, second);
  CHECK(text(other) == expected);
}
