// Sampling against its reference: every stage, the draw's distribution, ends, errors, and rows independent of
// rows.
#include "shaders/sample/sample.h"

#include <cstring>

#include "tests/compare.h"
#include "tests/device.h"

using namespace spindle;
using namespace spindle::test;

namespace {

constexpr uint32_t kUntouched = 0xABCDABCD;

// One row of logits with a slot of its own.
struct Item {
  std::vector<float> logits;
  SampleSettings settings = kSampleDefaults;
  uint32_t position = 0;
  std::vector<uint32_t> history;  // tokens up to and including this position, the oldest first
  uint32_t in_use = 1;
};
struct Result {
  Row row;
  uint32_t token, status;
  float logprob;
};

std::vector<float> random_logits(uint32_t n, uint32_t seed, double scale = 3) {
  const auto v = random_values(n, seed, scale);
  return {v.begin(), v.end()};
}

std::vector<Result> run(const std::vector<Item>& items, const std::vector<uint32_t>& ends = {},
                        uint32_t ring = 64, uint32_t split = 0) {
  const auto n = static_cast<uint32_t>(items.size()), vocab = static_cast<uint32_t>(items[0].logits.size());
  std::vector<float> logits;
  std::vector<uint32_t> rows, targets, settings, tokens(size_t{n} * ring, kUntouched);
  for (uint32_t i = 0; i < n; i++) {
    const Item& item = items[i];
    const uint32_t slot = n - 1 - i;
    logits.insert(logits.end(), item.logits.begin(), item.logits.end());
    rows.insert(rows.end(), {kUntouched, slot, item.position, item.in_use});
    targets.push_back((i + 1) % n);  // logits are given in another order than rows
    for (size_t h = 0; h < item.history.size(); h++)
      tokens[slot * ring + (item.position - h) % ring] = item.history[item.history.size() - 1 - h];
  }
  std::rotate(logits.begin(), logits.begin() + vocab, logits.end());
  for (uint32_t slot = 0; slot < n; slot++) {
    uint32_t words[kSampleWords];
    std::memcpy(words, &items[n - 1 - slot].settings, sizeof words);
    settings.insert(settings.end(), words, words + kSampleWords);
  }
  Stream stream(device());
  Tensors t(stream);
  const Tensor l = t.f32(n, vocab);
  stream.upload(l, std::as_bytes(std::span(logits)));
  SampleState state;
  state.rows = t.u32(n, 4, rows);
  state.settings = t.u32(n, kSampleWords, settings);
  state.tokens = t.u32(n, ring, tokens);
  if (!ends.empty()) state.ends = t.u32(1, static_cast<uint32_t>(ends.size()), ends);
  state.status = t.u32(n, 1, std::vector<uint32_t>(n, SAMPLE_OK));
  state.logprobs = t.f32(n, ring, std::vector<double>(size_t{n} * ring, 1));
  const Tensor to = t.u32(1, n, targets);
  if (split) sample(stream, state, l.slice(0, split), to);
  sample(stream, state, l.slice(split, n - split), to, split);
  stream.run();
  const auto rows_after = t.read_u32(state.rows), tokens_after = t.read_u32(state.tokens),
             status = t.read_u32(state.status);
  const auto logprobs = t.read(state.logprobs);
  const auto logits_after = t.read(l);
  CHECK(std::memcmp(logits_after.data(), logits.data(), logits.size() * 4) ==
        0);  // penalties were taken back
  std::vector<Result> results;
  for (uint32_t i = 0; i < n; i++) {
    const uint32_t slot = n - 1 - i, at = slot * ring + (items[i].position + 1) % ring;
    Result r{{}, tokens_after[at], status[slot], logprobs[at]};
    std::memcpy(&r.row, &rows_after[i * 4], sizeof r.row);
    results.push_back(r);
    tokens[at] = tokens_after[at];
  }
  CHECK(tokens == tokens_after);  // nothing else was written
  return results;
}

// The device chose as the reference does, unless a decision was within f32's reach; returns whether it was
// the same.
bool check_item(const Item& item, const Result& got, const std::string& what) {
  const reference::Sample expected =
      reference::sample(item.logits, item.settings, item.history, item.position);
  const bool same = got.token == expected.token, near = expected.race < 1e-3 || expected.filter < 1e-4;
  CHECK_MESSAGE((same || near),
                fmt::format("{}: got {}, expected {} (race {:.3g}, filter {:.3g}, {} kept)", what, got.token,
                            expected.token, expected.race, expected.filter, expected.kept.size()));
  CHECK(got.status == expected.status);
  CHECK(got.row.token == got.token);
  CHECK(got.row.position == item.position + 1);
  if (same) CHECK(std::abs(got.logprob - expected.logprob) < 2e-4 + 1e-6 * std::abs(expected.logprob));
  return same;
}

std::vector<SampleSettings> many_settings() {
  std::vector<SampleSettings> list;
  for (float temperature : {0.0f, 0.3f, 0.8f, 2.0f})
    for (uint32_t k : {0u, 1u, 40u, 200u, 300u, 100000u})
      for (float top_p : {0.0f, 0.5f, 0.95f, 1.0f})
        for (float min_p : {0.0f, 0.05f, 1.0f}) {
          SampleSettings s = kSampleDefaults;
          s.temperature = temperature, s.top_k = k, s.top_p = top_p, s.min_p = min_p;
          s.repeat_penalty = list.size() % 3 ? 1 : 1.3f;
          s.repeat_last_n = 20;
          s.seed_low = static_cast<uint32_t>(list.size() * 7919), s.seed_high = k, s.sequence = 3;
          list.push_back(s);
        }
  return list;
}

}  // namespace

TEST_CASE("sample equals its reference for many settings") {
  const std::vector<uint32_t> vocabs =
      quick() ? std::vector<uint32_t>{517} : std::vector<uint32_t>{1, 2, 7, 256, 517, 5003};
  for (uint32_t vocab : vocabs) {
    std::vector<Item> items;
    for (const SampleSettings& s : many_settings()) {
      Item item{random_logits(vocab, static_cast<uint32_t>(items.size()), items.size() % 2 ? 3 : 0.5), s};
      if (items.size() % 5 == 0)  // with ties everywhere
        for (float& x : item.logits) x = std::round(x);
      item.position = 30 + static_cast<uint32_t>(items.size());
      for (uint32_t h = 0; h < 25; h++) item.history.push_back((h * h * 37 + 11) % vocab);
      items.push_back(item);
    }
    const std::vector<Result> results = run(items);
    size_t same = 0;
    for (size_t i = 0; i < items.size(); i++) {
      const SampleSettings& s = items[i].settings;
      same += check_item(items[i], results[i],
                         fmt::format("vocab {} temperature {} k {} p {} min_p {} penalty {}", vocab,
                                     s.temperature, s.top_k, s.top_p, s.min_p, s.repeat_penalty));
    }
    CHECK(same >= items.size() * 98 / 100);
  }
}

TEST_CASE("sample draws with the probabilities of the reference") {
  const uint32_t n = quick() ? 512 : 4096;
  for (int variant = 0; variant < 4; variant++) {
    std::vector<Item> items(n);
    for (uint32_t i = 0; i < n; i++) {
      Item& item = items[i];
      item.logits = random_logits(variant == 3 ? 700 : 60, 5, 1);
      item.settings.temperature = variant == 1 ? 1.5f : 0.8f;
      if (variant == 2) item.settings.top_k = 0, item.settings.top_p = 1, item.settings.min_p = 0;
      if (variant == 3) item.settings.top_k = 0, item.settings.top_p = 0.3f, item.settings.min_p = 0;
      // Independent in the position, in the sequence and in the seed.
      item.position = i % 64, item.settings.sequence = i / 64 % 8, item.settings.seed_low = 1 + i / 512;
    }
    std::vector<double> counts(items[0].logits.size());
    for (const Result& r : run(items)) counts[r.token]++;
    const reference::Sample expected = reference::sample(items[0].logits, items[0].settings, {}, 0);
    double chi2 = 0, seen = 0;
    for (const auto& [token, probability] : expected.kept) {
      const double e = probability * n;
      chi2 += (counts[token] - e) * (counts[token] - e) / e;
      seen += counts[token];
    }
    const double freedom = static_cast<double>(expected.kept.size()) - 1;
    CHECK(expected.kept.size() > 3);
    CHECK(seen == n);
    CHECK_MESSAGE(std::abs(chi2 - freedom) < 5 * std::sqrt(2 * freedom),
                  fmt::format("variant {}: chi2 {} of {}", variant, chi2, freedom));
  }
}

TEST_CASE("greedy takes the largest, the lowest id of equals, after penalties") {
  Item item{random_logits(1003, 9)};
  item.settings.temperature = 0;
  std::vector<Item> items(5, item);
  items[0].logits[777] = items[0].logits[501] = items[0].logits[502] = 50;
  items[1].logits.assign(1003, -0.0f), items[1].logits[40] = 0.0f;  // zeros of both signs are equal
  items[2].logits.assign(1003, -HUGE_VALF), items[2].logits[1002] = -3e38f;
  items[3].logits[8] = 50, items[3].logits[9] = 45, items[3].history = {8, 5, 8, 8};
  items[3].settings.repeat_penalty = 1.2f;  // once each: 50 / 1.2 < 45
  items[4] = items[3], items[4].settings.repeat_last_n = 0;
  for (Item& i : items) i.position = 200;
  const auto results = run(items);
  const uint32_t expected[] = {501, 0, 1002, 9, 8};
  for (size_t i = 0; i < items.size(); i++) {
    CHECK(results[i].token == expected[i]);
    CHECK(check_item(items[i], results[i], fmt::format("greedy {}", i)));
  }
}

TEST_CASE("the repeat penalty looks back over the ring, positions and its limit") {
  std::vector<Item> items;
  for (uint32_t back = 0; back < 66; back++) {
    Item item{std::vector<float>(100, -5.0f)};
    item.logits[90] = 10, item.logits[91] = 9;
    item.settings.temperature = 0, item.settings.repeat_penalty = 2,
    item.settings.repeat_last_n = back < 33 ? 20 : 1000;
    item.position = 70;
    item.history.assign(64, 1);
    item.history[63 - back % 33] = 90;
    items.push_back(item);
  }
  const auto results = run(items);
  for (uint32_t i = 0; i < items.size(); i++) CHECK(results[i].token == (i < 33 && i >= 20 ? 90 : 91));
  Item start{items[0].logits,
             items[0].settings,
             1,
             {7, 90}};  // earlier positions do not exist: the ring's rest is not read
  start.settings.repeat_last_n = 64;
  CHECK(run({start})[0].token == 91);
  start.history = {7, 8};
  CHECK(run({start})[0].token == 90);
  Item many{items[0].logits, items[0].settings, 5000, std::vector<uint32_t>(600)};  // the most it takes
  for (uint32_t i = 0; i < 600; i++) many.history[i] = 100000 + i * 1024;
  many.logits.assign(1024, -5.0f), many.logits[90] = 10, many.logits[91] = 9;
  many.settings.repeat_last_n = 100000, many.history[600 - SAMPLE_MAX_RECENT] = 90, many.history[500] = 91;
  CHECK(check_item(many, run({many}, {}, 1024)[0], "512 recent tokens"));
}

TEST_CASE("a row goes out of use at an end token or position, and unused rows are skipped") {
  Item item{random_logits(300, 3)};
  item.settings.temperature = 0, item.position = 10, item.logits[17] = 99;
  std::vector<Item> items(5, item);
  items[1].settings.ignore_end = 1;
  items[2].logits[18] = 100;
  items[3].settings.end_position = 11, items[3].logits[18] = 100;
  items[4].in_use = 0;
  const auto results = run(items, {5, 17, 200});
  const uint32_t in_use[] = {0, 1, 1, 0, 0};
  for (size_t i = 0; i < items.size(); i++) CHECK(results[i].row.in_use == in_use[i]);
  CHECK(results[0].token == 17);  // the end token itself is recorded
  CHECK(results[3].token == 18);
  CHECK(results[4].token == kUntouched);
  CHECK(results[4].row.token == kUntouched);
  CHECK(results[4].row.position == 10);
}

TEST_CASE("logits that are not finite are an error, never a token") {
  const float nan = std::nanf(""), inf = HUGE_VALF;
  std::vector<Item> items(7, Item{random_logits(900, 3)});
  items[0].logits[0] = nan;
  items[1].logits[899] = -nan;
  items[2].logits[450] = inf;
  items[3].logits.assign(900, -inf);
  items[4].logits[899] = nan, items[4].settings.temperature = 0;
  items[5].logits.assign(900, -inf), items[5].logits[7] = 1, items[5].logits[9] = 2;  // allowed
  items[5].settings.top_k = 0, items[5].settings.top_p = 1, items[5].settings.min_p = 0;
  const auto results = run(items);
  for (size_t i = 0; i < items.size(); i++) {
    CHECK(results[i].status == (i < 5 ? SAMPLE_NOT_FINITE : SAMPLE_OK));
    CHECK(results[i].row.in_use == (i < 5 ? 0 : 1));
    CHECK((results[i].token == kUntouched) == (i < 5));
  }
  CHECK(check_item(items[5], results[5], "minus infinities"));
}

TEST_CASE("sample of large vocabularies, masses of ties and odd sizes") {
  const std::vector<uint32_t> vocabs =
      quick() ? std::vector<uint32_t>{4099}
              : std::vector<uint32_t>{511, 512, 513, 4099, 8192, 16384, 32000, 32768, 300000};
  for (uint32_t vocab : vocabs) {
    Item item{random_logits(vocab, vocab)};
    std::vector<Item> items(11, item);
    items[1].logits.assign(vocab, 1.5f);                               // all equal
    items[2].logits.assign(vocab, 1.5f), items[2].settings.top_k = 0;  // all equal, a nucleus of 95%
    items[3].settings.top_k = 1000;
    items[4].settings.top_k = 0, items[4].settings.min_p = 0, items[4].settings.temperature = 2;
    items[5].settings.top_k = 0, items[5].settings.min_p = 0, items[5].settings.top_p = 1;
    items[6].settings.top_k = vocab - 1, items[6].settings.top_p = 0.5f, items[6].settings.min_p = 0;
    items[7].settings.temperature = 0;
    for (uint32_t i = 0; i < vocab; i++)
      items[8].logits[i] = static_cast<float>(i / 600);  // ties at the limit of top-k
    items[9].logits = items[8].logits, items[9].settings.top_k = 257;
    // The longest way: a few hundred are not enough for the list, and ties lie at the limits of top-k and
    // top-p.
    for (float& x : items[10].logits) x = std::round(x / 3);
    for (uint32_t i = 0; i < 400; i++) items[10].logits[i * 7 % vocab] = 4.5f;
    items[10].settings = {1.5f, vocab / 2, 0.9f, 0, 1.1f, 64, 0, 0, 0, UINT32_MAX, 0};
    items[10].position = 63;
    for (uint32_t i = 0; i < 64; i++) items[10].history.push_back(i * 31 % vocab);
    for (uint32_t i = 0; i < items.size(); i++) items[i].settings.seed_low = i + 1;
    const auto results = run(items);
    size_t same = 0;
    for (size_t i = 0; i < items.size(); i++)
      same += check_item(items[i], results[i], fmt::format("vocab {}, item {}", vocab, i));
    CHECK(same + 1 >= items.size());
    if (vocab > 40) CHECK(results[1].token < 40);  // equal logits: the lowest ids are kept
  }
}

TEST_CASE("sample of several rows is the same as one at a time, and from run to run") {
  std::vector<Item> items;
  for (uint32_t i = 0; i < 12; i++) {
    Item item{random_logits(2048, i), many_settings()[i * 23 + 5]};
    item.position = i * 5;
    items.push_back(item);
  }
  const auto together = run(items), again = run(items), parts = run(items, {}, 64, 5);
  for (size_t i = 0; i < items.size(); i++) {
    const Result alone = run({items[i]})[0];
    CHECK(alone.token == together[i].token);
    CHECK(again[i].token == together[i].token);
    CHECK(parts[i].token == together[i].token);
    CHECK(alone.logprob == together[i].logprob);
  }
}

TEST_CASE("sample replays: each step goes on from the last") {
  Stream stream(device());
  Tensors t(stream);
  const uint32_t vocab = 97, ring = 16, steps = 40;
  const auto values = random_values(vocab, 1, 2);
  const std::vector<float> logits(values.begin(), values.end());
  SampleSettings s = kSampleDefaults;
  s.end_position = 100, s.repeat_penalty = 1.5f, s.repeat_last_n = 8;
  std::vector<uint32_t> words(kSampleWords), history = {5};
  std::memcpy(words.data(), &s, sizeof s);
  SampleState state;
  state.rows = t.u32(1, 4, {5, 0, 0, 1});
  state.settings = t.u32(1, kSampleWords, words);
  state.tokens = t.u32(1, ring, std::vector<uint32_t>(ring, 5));
  state.status = t.u32(1, 1, {0});
  auto twice = values;
  twice.insert(twice.end(), values.begin(), values.end());
  const Tensor l = t.f32(2, vocab, twice), targets = t.u32(1, 2, {0, UINT32_MAX});  // the second is skipped
  stream.begin();
  sample(stream, state, l, targets);
  const Recording step = stream.end();
  for (uint32_t i = 0; i < steps; i++) stream.submit(step);
  stream.wait();
  for (uint32_t i = 0; i < steps; i++) history.push_back(reference::sample(logits, s, history, i).token);
  CHECK(t.read_u32(state.rows) == std::vector<uint32_t>{history.back(), 0, steps, 1});
  const auto tokens = t.read_u32(state.tokens);
  for (uint32_t i = steps - ring + 1; i <= steps; i++) CHECK(tokens[i % ring] == history[i]);
}

TEST_CASE("sample bench" * doctest::skip(!bench())) {
  for (uint32_t vocab : {512u, 32000u, 128256u}) {
    Stream stream(device());
    Tensors t(stream);
    const Tensor l = t.f32(1, vocab, random_values(vocab, 1, 3)), targets = t.u32(1, 1, {0});
    const auto bench = [&](const char* name, SampleSettings s, bool logprobs = false) {
      std::vector<uint32_t> words(kSampleWords);
      std::memcpy(words.data(), &s, sizeof s);
      SampleState state;
      state.rows = t.u32(1, 4, {5, 0, 100, 1});
      state.settings = t.u32(1, kSampleWords, words);
      state.tokens = t.u32(1, 256, std::vector<uint32_t>(256, 5));
      state.status = t.u32(1, 1, {0});
      if (logprobs) state.logprobs = t.f32(1, 256);
      print_bench(stream, fmt::format("sample {} {}", vocab, name),
                  [&] { sample(stream, state, l, targets); });
    };
    SampleSettings s = kSampleDefaults;
    bench("defaults", s);
    bench("defaults, logprobs", s, true);
    s.temperature = 0;
    bench("greedy", s);
    s = kSampleDefaults, s.repeat_penalty = 1.1f;
    bench("repeat penalty", s);
    s = kSampleDefaults, s.top_k = 0;
    bench("top_k 0", s);
    s.top_k = 1000;
    bench("top_k 1000", s);
    s.top_k = 0, s.top_p = 1, s.min_p = 0;
    bench("temperature only", s);
  }
}
