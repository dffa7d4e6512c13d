// The model that ships: it loads, and what it writes is English words.
#include <doctest/doctest.h>
#include <fmt/core.h>

#include <algorithm>
#include <cctype>
#include <fstream>
#include <set>

#include "models/session.h"
#include "tests/device.h"

using namespace spindle;
using namespace spindle::test;

namespace {

std::string lower(std::string s) {
  std::ranges::transform(s, s.begin(), [](unsigned char c) { return std::tolower(c); });
  return s;
}

// Words of letters and inner apostrophes, in lower case.
std::vector<std::string> words_of(const std::string& text) {
  std::vector<std::string> words(1);
  for (char c : lower(text))
    if (std::isalpha(static_cast<unsigned char>(c)) || (c == '\'' && !words.back().empty()))
      words.back() += c;
    else if (!words.back().empty()) words.emplace_back();
  for (std::string& w : words)
    while (w.ends_with('\'')) w.pop_back();
  std::erase(words, "");
  return words;
}

}  // namespace

TEST_CASE("the model that ships writes words") {
  const std::string file = SPINDLE_SOURCE_DIR "/models/pretrained/" SPINDLE_DEFAULT_MODEL;
  const Model model(device(), file);
  Session session(model, {});
  const Tokenizer& tokenizer = model.tokenizer();
  const std::vector<int> ids = tokenizer.encode("Once upon a time");
  const int slot = session.open({.seed = 1});
  session.prefill(slot, ids);
  Detokenizer detokenizer(tokenizer);
  detokenizer.skip(ids);
  std::string text;
  session.generate({&slot, 1}, std::getenv("SPINDLE_VALIDATION") ? 20 : 200, [&](int, int id) {
    text += detokenizer.push(id);
    return true;
  });
  const std::vector<std::string> words = words_of(text);
  CHECK(words.size() >= 8);

  std::ifstream in("/usr/share/dict/words");
  if (!in) {
    fmt::print(stderr, "SKIPPED: dictionary words: /usr/share/dict/words is absent (Debian: wamerican)\n");
    return;
  }
  std::set<std::string> dictionary;
  for (std::string line; std::getline(in, line);) dictionary.insert(lower(line));
  const auto known =
      std::ranges::count_if(words, [&](const std::string& w) { return dictionary.count(w) > 0; });
  fmt::print("  shipped model: {} of {} words are in the dictionary\n", known, words.size());
  CHECK(static_cast<double>(known) >= 0.9 * static_cast<double>(words.size()));
}
