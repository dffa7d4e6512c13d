// Where special tokens stand in a text: the rule written plainly, and texts that are made of nothing else.
#include <doctest/doctest.h>

#include <algorithm>
#include <ctime>
#include <random>

#include "models/vocabulary.h"
#include "tests/gguf_writer.h"

using namespace spindle;

namespace {

constexpr int kControl = 3, kUserDefined = 4;

Vocabulary vocabulary_of(const std::vector<std::string>& tokens, const std::vector<int32_t>& types) {
  GgufWriter w;
  w.set("tokenizer.ggml.tokens", tokens);
  w.set("tokenizer.ggml.token_type", types);
  return Vocabulary(Gguf::parse(w.finish(), "special.gguf"), {});
}

// Every match of every token, longest first, then by id, then from left to right; what overlaps an earlier
// one is dropped. No token is there twice.
std::vector<SpecialMatch> plainly(const Vocabulary& v, const std::string& text, bool parse_special,
                                  const std::vector<ByteRange>& literal) {
  std::vector<SpecialMatch> all, placed;
  for (int id = 0; id < v.n_tokens(); id++)
    for (size_t at = text.find(v.texts[id]); at != text.npos; at = text.find(v.texts[id], at + 1)) {
      const size_t end = at + v.texts[id].size();
      const bool control = v.types[id] == TokenType::control;
      const bool outside =
          std::ranges::none_of(literal, [&](const ByteRange& r) { return r.begin < end && at < r.end; });
      if (!control || (parse_special && outside)) all.push_back({at, end, id});
    }
  std::ranges::stable_sort(all, std::greater<>(), [](const SpecialMatch& m) { return m.end - m.begin; });
  for (const SpecialMatch& m : all)
    if (std::ranges::none_of(placed,
                             [&](const SpecialMatch& p) { return p.begin < m.end && m.begin < p.end; }))
      placed.push_back(m);
  std::ranges::sort(placed, {}, &SpecialMatch::begin);
  return placed;
}

double cpu_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

}  // namespace

TEST_CASE("special tokens stand where the plain rule puts them") {
  std::mt19937 random(7);
  const auto word = [&](size_t least, size_t most) {
    std::string s(least + random() % (most - least + 1), 'a');
    for (char& c : s) c = "aab\xE9"[random() % 4];
    return s;
  };
  size_t n_matches = 0;
  for (int round = 0; round < 400; round++) {
    std::vector<std::string> tokens;
    for (size_t i = 0; i < 1 + random() % 12; i++) tokens.push_back(word(1, 6));
    std::ranges::sort(tokens);
    tokens.erase(std::unique(tokens.begin(), tokens.end()), tokens.end());
    std::ranges::shuffle(tokens, random);
    std::vector<int32_t> types;
    for (size_t i = 0; i < tokens.size(); i++) types.push_back(random() % 3 ? kUserDefined : kControl);
    const Vocabulary v = vocabulary_of(tokens, types);
    const std::string text = word(0, 60);
    std::vector<ByteRange> literal;
    for (size_t at = random() % 20; at + 5 < text.size(); at += 5 + random() % 20)
      literal.push_back({at, at + 1 + random() % 5});
    for (bool parse_special : {false, true}) {
      const auto expected = plainly(v, text, parse_special, literal);
      const auto found = v.find_special(text, parse_special, literal);
      const bool equal =
          std::ranges::equal(found, expected, [](const SpecialMatch& a, const SpecialMatch& b) {
            return a.begin == b.begin && a.end == b.end && a.id == b.id;
          });
      CHECK_MESSAGE(equal, text);
      n_matches += found.size();
    }
  }
  CHECK(n_matches > 3000);
}

TEST_CASE("special tokens nested in each other cost no more than the text") {
  for (const size_t n : {31, 1024}) {
    std::vector<std::string> tokens;
    for (size_t i = 1; i <= n; i++) tokens.push_back(std::string(i, '\n'));
    const Vocabulary v = vocabulary_of(tokens, std::vector<int32_t>(n, kUserDefined));
    const std::string text(1'000'000, '\n');
    const double start = cpu_seconds();
    const auto found = v.find_special(text, false);
    CHECK(cpu_seconds() - start < 10);
    CHECK(found.size() == (text.size() + n - 1) / n);
    CHECK(found.back().end - found.back().begin == (text.size() - 1) % n + 1);
    CHECK(found.back().end == text.size());
  }
}

TEST_CASE("a special token of more than a kilobyte is plain text") {
  const Vocabulary v =
      vocabulary_of({std::string(1024, 'x'), std::string(1025, 'y')}, {kUserDefined, kUserDefined});
  CHECK(v.find_special(v.texts[0] + v.texts[1], true).size() == 1);
  CHECK(std::ranges::any_of(v.warnings, [](const std::string& w) {
    return w.find("1 special tokens are longer than 1024 bytes, the first is 1") != w.npos;
  }));
}
