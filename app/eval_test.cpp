// The evaluations as people run them: figures against the double-precision model, tables, choices side by
// side.
#include <doctest/doctest.h>
#include <fmt/core.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "app/eval_score.h"
#include "models/tokenizer.h"
#include "tests/reference_model.h"

using namespace spindle;

namespace {

struct Output {
  int code = 0;
  std::string out, err;
};

std::string scratch(const char* suffix) {
  return fmt::format("{}.test-eval-{}{}", SPINDLE_EXECUTABLE, ::getpid(), suffix);
}

std::string take_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(in), {}};
  std::remove(path.c_str());
  return text;
}

Output eval_command(const std::string& arguments) {
  const int status = std::system(fmt::format("'{}' eval {} >'{}' 2>'{}'", SPINDLE_EXECUTABLE, arguments,
                                             scratch(".out"), scratch(".err"))
                                     .c_str());
  return {WIFEXITED(status) ? WEXITSTATUS(status) : 128, take_file(scratch(".out")),
          take_file(scratch(".err"))};
}

void check_error(const std::string& arguments, const std::string& words) {
  const Output o = eval_command(arguments);
  CAPTURE(arguments);
  CAPTURE(o.err);
  CHECK(o.code == 2);
  CHECK(o.out.empty());
  CHECK(o.err.find(words) != std::string::npos);
}

constexpr const char* kModel = SPINDLE_SOURCE_DIR "/models/pretrained/" SPINDLE_DEFAULT_MODEL;
const std::string kText =
    "It is a truth universally acknowledged, that a single man in possession of a good fortune, must be in "
    "want of a wife. However little known the feelings or views of such a man may be on his first entering a "
    "neighbourhood, this truth is so well fixed in the minds of the surrounding families, that he is "
    "considered the rightful property of some one or other of their daughters.";

// A file that lasts as long as this.
struct TextFile {
  std::string path = scratch(".txt");
  explicit TextFile(const std::string& text) { std::ofstream(path) << text; }
  ~TextFile() { std::remove(path.c_str()); }
};

Likelihood reference(const std::vector<int>& ids, const Tokenizer& tokenizer,
                     const std::vector<Window>& windows) {
  const test::ReferenceModel model(Gguf::open(kModel));
  Likelihood l;
  for (const Window& w : windows) {
    std::vector<int> window(ids.begin() + static_cast<long>(w.begin), ids.begin() + static_cast<long>(w.end));
    window[0] = *tokenizer.bos();
    const std::vector<double> logits = model.logits(window);
    for (size_t t = w.scored; t < w.end; t++) {
      const std::span row =
          std::span(logits).subspan((t - w.begin - 1) * model.vocab_size(), model.vocab_size());
      const size_t bytes = tokenizer.piece(ids[t]).size();
      l.add(-test::log_softmax(row)[static_cast<size_t>(ids[t])], bytes);
    }
  }
  return l;
}

}  // namespace

TEST_CASE("spindle eval perplexity agrees with the double-precision model") {
  const TextFile file(kText + "\n");
  const Tokenizer tokenizer(Gguf::open(kModel));
  const std::vector<int> ids = tokenizer.encode(kText);
  REQUIRE(ids.size() > 64);
  const struct {
    std::string flags;
    std::vector<std::vector<Window>> windows;
  } cases[] = {
      {"-c 24", {chunk_windows(ids.size(), 24)}},
      {"-c 32 --stride 20 -n 64", {sliding_windows(64, 32, 20)}},
      {"--lengths 40,16 --stride 8 -n 60", {aligned_windows(60, 16, 8, 40), aligned_windows(60, 40, 8, 40)}},
  };
  for (const auto& c : cases) {
    CAPTURE(c.flags);
    const Output o =
        eval_command(fmt::format("perplexity -f '{}' {} --json --precision f32", file.path, c.flags));
    REQUIRE(o.code == 0);
    const auto rows = nlohmann::json::parse(o.out)["results"][0]["lengths"];
    REQUIRE(rows.size() == c.windows.size());
    for (size_t i = 0; i < rows.size(); i++) {
      const Likelihood l = reference(ids, tokenizer, c.windows[i]);
      CHECK(rows[i]["scored_tokens"] == l.n);
      CHECK(rows[i]["windows"] == c.windows[i].size());
      CHECK(rows[i]["scored_bytes"] == l.bytes);
      CHECK(rows[i]["perplexity"].get<double>() == doctest::Approx(l.perplexity()).epsilon(1e-5));
      CHECK(rows[i]["error"].get<double>() == doctest::Approx(l.perplexity_error()).epsilon(1e-4));
      CHECK(rows[i]["bits_per_byte"].get<double>() == doctest::Approx(l.bits_per_byte()).epsilon(1e-5));
    }
  }
}

TEST_CASE("choices of positions are measured side by side") {
  const TextFile file(kText);
  const Output o =
      eval_command(fmt::format("perplexity -f '{}' --lengths 32,64 --rope-scaling "
                               "none,linear,ntk:scale=3,yarn:scale=2,beta-fast=16 --json",
                               file.path));
  REQUIRE(o.code == 0);
  const auto results = nlohmann::json::parse(o.out)["results"];
  REQUIRE(results.size() == 4);
  CHECK(results[3]["rope_scaling"] == "yarn:scale=2,beta-fast=16");
  const auto plan = [&](size_t i) { return results[i]["plan"].get<std::string>(); };
  CHECK(plan(0).find("rope none") != std::string::npos);
  CHECK(plan(1).find("rope linear") != std::string::npos);
  CHECK(plan(1).find("factor 1,") == std::string::npos);  // ends there: 64 of 512 positions ask for none
  CHECK(plan(2).find("factor 3") != std::string::npos);
  CHECK(plan(3).find("factor 2") != std::string::npos);
  CHECK(plan(3).find("16") != std::string::npos);
  const auto perplexity = [&](size_t i) { return results[i]["lengths"][1]["perplexity"].get<double>(); };
  CHECK(perplexity(0) == perplexity(1));  // factor 1 is none
  CHECK(perplexity(2) != perplexity(0));
  CHECK(perplexity(3) != perplexity(2));

  const Output table = eval_command(
      fmt::format("perplexity -f '{}' -c 32 -n 40 --rope-scale 2 --rope-scaling none,linear", file.path));
  REQUIRE(table.code == 0);
  for (const char* word : {"none ", "linear ", "rope linear", "factor 2", "length", "+-"})
    CHECK(table.out.find(word) != std::string::npos);
}

TEST_CASE("spindle eval passkey and longeval count right answers") {
  const Output o = eval_command(
      "passkey --lengths 400,300 --depths 2 --trials 1 --rope-scaling dynamic,linear:scale=2 --json");
  REQUIRE(o.code == 0);
  const auto j = nlohmann::json::parse(o.out);
  REQUIRE(j["results"].size() == 2);
  for (const auto& column : j["results"]) {
    REQUIRE(column["lengths"].size() == 2);
    CHECK(column["lengths"][0]["length"] == 300);
    CHECK(column["lengths"][0]["trials"] == 2);
    CHECK(column["lengths"][0]["depths"].size() == 2);
    CHECK(column["lengths"][0]["accuracy"].get<double>() <= 1);
  }
  const Output table = eval_command("passkey --lengths 300 --depths 3 --trials 1 -s 4");
  CHECK(table.code == 0);
  for (const char* word : {"depth", "300", "50%", "all", "rope none"})
    CHECK(table.out.find(word) != std::string::npos);
  for (const char* form : {"--completion --lengths 450", "--lengths 512"}) {
    const Output lines = eval_command(fmt::format("longeval {} --trials 2 --json", form));
    REQUIRE(lines.code == 0);
    const auto row = nlohmann::json::parse(lines.out)["results"][0]["lengths"][0];
    CHECK(row["trials"] == 2);
    CHECK(row["lines"].get<double>() >= 2);
  }
}

TEST_CASE("a choice that follows the length is measured beside the others") {
  for (const char* task : {"passkey --lengths 300 --depths 1", "longeval --completion --lengths 450"}) {
    const Output o = eval_command(fmt::format("{} --trials 2 --rope-scaling none,dynamic --json", task));
    CAPTURE(o.err);
    REQUIRE(o.code == 0);
    const auto results = nlohmann::json::parse(o.out)["results"];
    REQUIRE(results.size() == 2);
    for (const auto& column : results) CHECK(column["lengths"][0]["trials"] == 2);
    // Within the trained context the frequencies are the model's own.
    CHECK(results[0]["lengths"][0]["right"] == results[1]["lengths"][0]["right"]);
  }
}

TEST_CASE("evaluations that cannot be are refused in one line") {
  const TextFile file("Too short.");
  const std::string f = fmt::format("perplexity -f '{}' ", file.path);
  check_error("perplexity", "--file is required");
  check_error("perplexity -f /no/such/file", "cannot be read");
  check_error(f, "tokens, a window of 512");
  check_error(f + "-c 8 --stride 9", "--stride 9: allowed is 1 to the shortest length, 8");
  check_error(f + "-c 8 --lengths 8", "--lengths");
  check_error(f + "-c 2", "a length of 2 tokens: 4 or more");
  check_error(f + "-c 5 --rope-scaling none,nonsense", "--rope-scaling 'nonsense'");
  check_error(f + "-c 5 --rope-scaling none,,yarn", "a method is missing");
  check_error(f + "-c 5 --rope-scaling yarn:window=3",
              "'window' is no parameter of it; allowed are rope-scale");
  check_error(f + "-c 5 --rope-scaling yarn:scale", "'scale' is not key=number");
  check_error(f + "-c 5 --rope-scaling none,yarn:scale=0.5", "--rope-scale 0.5: allowed is 1 or more");
  check_error(f + "-c 5 --rope-scaling none --rope-scale 2", "not a parameter of --rope-scaling none");
  check_error("passkey --lengths 100", "a length of 100 tokens: ");
  check_error("longeval --lengths 100", "a length of 100 tokens: ");
  check_error("passkey --depths 0", "allowed is 1 to 1000");
  // Before the first choice is measured, not after it.
  check_error("passkey --lengths 300 --attention-pattern window:20 --rope-scaling none,rerope", "choose one");
}
