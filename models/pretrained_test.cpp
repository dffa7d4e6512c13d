// The models that ship: the default one loads and writes English words, and every file is the one its card
// describes.
#include <doctest/doctest.h>
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>
#include <sstream>

#include "models/session.h"
#include "tests/device.h"
#include "tests/reference_model.h"

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

// In hexadecimal, by the command of coreutils.
std::string sha256(const std::filesystem::path& file) {
  const std::string command = "sha256sum '" + file.string() + "'";
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen(command.c_str(), "r"), pclose);
  REQUIRE(pipe != nullptr);
  std::array<char, 65> digits{};
  return std::fgets(digits.data(), digits.size(), pipe.get()) ? digits.data() : "";
}

struct Described {
  std::string card, bytes, sha256;
};

}  // namespace

TEST_CASE("the models that ship are those that their cards describe") {
  const std::filesystem::path folder = SPINDLE_SOURCE_DIR "/models/pretrained";
  const std::regex row(R"(\| `([^`]+\.gguf)` \| ([0-9,]+) \| `([0-9a-f]{64})` \|)");
  std::map<std::string, Described> described;
  std::set<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (name.ends_with(".gguf")) files.insert(name);
    if (!name.ends_with(".md")) continue;
    std::stringstream text;
    text << std::ifstream(entry.path()).rdbuf();
    const std::string card = text.str();
    for (std::sregex_iterator it(card.begin(), card.end(), row), end; it != end; ++it)
      described[(*it)[1]] = {name, (*it)[2], (*it)[3]};
  }
  CHECK(files.contains(SPINDLE_DEFAULT_MODEL));
  for (const auto& [file, d] : described) {
    CAPTURE(file);
    CAPTURE(d.card);
    REQUIRE(files.erase(file) == 1);
    CHECK(sha256(folder / file) == d.sha256);
    std::string bytes = d.bytes;
    std::erase(bytes, ',');
    CHECK(std::to_string(std::filesystem::file_size(folder / file)) == bytes);
  }
  for (const std::string& file : files) FAIL_CHECK(file << " has no card");
}

// train/expect.py made the numbers.
TEST_CASE("the models that ship give the probabilities that PyTorch gives") {
  const std::filesystem::path folder = SPINDLE_SOURCE_DIR "/models/pretrained";
  std::ifstream in(folder / "logs/expected.json");
  const nlohmann::json expected = nlohmann::json::parse(in);
  std::stringstream text;
  text << std::ifstream(folder / expected["text"].get<std::string>()).rdbuf();
  const uint32_t n = expected["tokens"];
  DeviceOptions options = DeviceOptions::from_environment();
  options.precision_f32 = true;
  Device f32(options);
  for (const auto& [file, values] : expected["log_probabilities"].items()) {
    CAPTURE(file);
    if (quick() && file != SPINDLE_DEFAULT_MODEL && file.find("t5bias") == std::string::npos &&
        file.find("sinusoidal") == std::string::npos)
      continue;
    const Model model(f32, folder / file);
    std::vector<int> ids = model.tokenizer().encode(text.str());
    ids.resize(n);
    Session session(model, {.context = n, .logit_rows = 64, .k_type = DType::f32, .v_type = DType::f32});
    std::vector<double> log_probabilities(n - 1);
    const int slot = session.open();
    session.prefill(slot, ids,
                    {.sample = false, .on_logits = [&](uint32_t row, std::span<const float> logits) {
                       if (row + 1 < n)
                         log_probabilities[row] = log_softmax(logits)[static_cast<size_t>(ids[row + 1])];
                     }});
    double worst = 0;
    for (size_t i = 0; i < values.size(); i++)
      worst = std::max(worst, std::abs(log_probabilities[expected["positions"][i].get<size_t>()] -
                                       values[i].get<double>()));
    fmt::print("  {}: largest difference of a log-probability {:.2g}\n", file, worst);
    CHECK(worst <= 2e-3);
  }
}

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
  session.generate({&slot, 1}, 200, [&](int, int id) {
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
