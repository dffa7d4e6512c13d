// Prompts keep their length, carry the key where it was asked for, and are the same every time; scores by
// hand.
#include "app/eval_tasks.h"

#include <doctest/doctest.h>
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <set>

#include "app/eval_score.h"
#include "models/gguf.h"
#include "runtime/error.h"

using namespace spindle;

namespace {

const Tokenizer& tokenizer() {
  static const Tokenizer t(Gguf::open(SPINDLE_SOURCE_DIR "/models/pretrained/" SPINDLE_DEFAULT_MODEL));
  return t;
}

size_t count(const std::string& text, const std::string& word) {
  size_t n = 0;
  for (size_t at = text.find(word); at != std::string::npos; at = text.find(word, at + 1)) n++;
  return n;
}

}  // namespace

TEST_CASE("passkey prompts keep their length and hold the key where it was asked for") {
  const std::string unit =
      "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.";
  const uint32_t least = least_length(tokenizer(), PasskeyTask{});
  CHECK(least < 400);  // a small vocabulary's 512 tokens have room
  std::set<std::string> answers;
  for (uint32_t length : {least, 512u, 777u, 2048u})
    for (double depth : {0.0, 0.25, 0.5, 1.0}) {
      const PasskeyTask o{.length = length, .depth = depth, .seed = mix_seed({1, length, 7})};
      const Task t = make_task(tokenizer(), o);
      CAPTURE(length);
      CAPTURE(depth);
      CHECK(t.ids == tokenizer().encode(t.text));
      CHECK(t.ids == make_task(tokenizer(), o).ids);
      CHECK(t.ids.size() + t.room <= length);
      CHECK(t.ids.size() + t.room + 2 >= std::min(length, length - least + 400));  // no room is wasted
      answers.insert(t.answer);
      CHECK(t.answer[0] != '0');
      CHECK(std::stoi(t.answer) <= 50000);
      CHECK(
          t.text.starts_with("There is an important info hidden inside a lot of irrelevant text. Find it and "
                             "memorize them. I will quiz you about the important information there.\n"));
      CHECK(t.text.ends_with("\nWhat is the pass key? The pass key is"));
      const std::string line =
          fmt::format("\nThe pass key is {0}. Remember it. {0} is the pass key.\n", t.answer);
      REQUIRE(count(t.text, line) == 1);
      // Both fillers begin the unit anew and are cut at a character; their shares are the depth.
      const size_t at = t.text.find(line), from = t.text.find('\n') + 1, to = t.text.rfind('\n');
      const std::string before = t.text.substr(from, at - from);
      const std::string after = t.text.substr(at + line.size(), to - at - line.size());
      for (const std::string& filler : {before, after})
        for (size_t i = 0; i < filler.size(); i++)
          if (filler[i] != (unit + " ")[i % (unit.size() + 1)]) {
            FAIL_CHECK("filler differs at " << i);
            break;
          }
      const double n = static_cast<double>(before.size() + after.size());
      CHECK(std::abs(static_cast<double>(before.size()) - depth * n) <= 0.5);
      // The same in tokens, which is what attention sees.
      const double all = static_cast<double>(t.ids.size());
      const double where = static_cast<double>(tokenizer().encode(t.text.substr(0, at)).size());
      const double frame = static_cast<double>(tokenizer().encode(t.text.substr(0, from)).size());
      const double filler = all - static_cast<double>(least - t.room - 10);
      CHECK(where == doctest::Approx(frame + depth * filler).epsilon(0.02 + 12 / all));
    }
  CHECK(answers.size() == 4);  // one for each length's seed
}

TEST_CASE("passkeys are the paper's numbers, or have the digits asked for") {
  uint32_t shorter = 0, most = 0;
  for (uint64_t seed = 0; seed < 400; seed++) {
    const std::string answer =
        make_task(tokenizer(), PasskeyTask{.length = 300, .seed = mix_seed({seed})}).answer;
    const auto value = static_cast<uint32_t>(std::stoul(answer));
    CHECK(value >= 1);
    CHECK(fmt::format("{}", value) == answer);
    shorter += value < 10000;  // one of five: 80 +- 8
    most = std::max(most, value);
  }
  CHECK(shorter >= 40);
  CHECK(shorter <= 120);
  CHECK(most > 45000);
  CHECK(most <= 50000);
  for (uint32_t digits : {1u, 5u, 9u})
    for (uint64_t seed = 0; seed < 20; seed++) {
      const Task t = make_task(tokenizer(), PasskeyTask{.length = 300, .digits = digits, .seed = seed});
      CHECK(t.answer.size() == digits);
      CHECK(t.answer[0] != '0');
      CHECK(t.room == 5 + digits);
    }
}

TEST_CASE("passkey prompts that do not fit are refused") {
  CHECK_THROWS_WITH_AS(make_task(tokenizer(), PasskeyTask{.length = 50}), doctest::Contains("the shortest"),
                       Error);
  CHECK_THROWS_AS(make_task(tokenizer(), PasskeyTask{.length = 3}), Error);
  CHECK_THROWS_AS(make_task(tokenizer(), LinesTask{.length = 100}), Error);
  for (uint64_t seed = 0; seed < 50; seed++) {
    const uint32_t passkey = least_length(tokenizer(), PasskeyTask{}),
                   lines = least_length(tokenizer(), LinesTask{});
    CHECK_NOTHROW(make_task(tokenizer(), PasskeyTask{.length = passkey, .seed = seed}));
    CHECK_NOTHROW(make_task(tokenizer(), LinesTask{.length = lines, .seed = seed}));
  }
}

TEST_CASE("records hold as many lines as fit, and ask for one of them") {
  std::set<size_t> places;
  for (bool completion : {true, false})
    for (uint32_t length : {512u, 700u, 4096u})
      for (uint64_t seed : {1u, 2u, 3u}) {
        const LinesTask o{.length = length, .completion = completion, .seed = seed};
        const Task t = make_task(tokenizer(), o);
        CAPTURE(length);
        CAPTURE(seed);
        CHECK(t.ids == make_task(tokenizer(), o).ids);
        CHECK(t.ids == tokenizer().encode(t.text));
        CHECK(t.ids.size() + t.room <= length);
        CHECK(t.ids.size() + t.room + 60 > length);  // one more line would not fit
        CHECK(
            t.text.starts_with("Below is a record of lines I want you to remember. Each line begins with "
                               "'line <line index>' and contains a '<REGISTER_CONTENT>' at the end"));
        CHECK(count(t.text, ": REGISTER_CONTENT is <") == t.n_lines);
        const std::string ask = "Tell me what is the <REGISTER_CONTENT> in line ";
        REQUIRE(count(t.text, ask) == 1);
        const size_t at = t.text.find(ask) + ask.size();
        const std::string name = t.text.substr(at, t.text.find('?') - at);
        const std::string line = fmt::format("\nline {}: REGISTER_CONTENT is <{}>\n", name, t.answer);
        CHECK(count(t.text, line) == 1);
        CHECK(count(t.text, fmt::format("line {}:", name)) == 1);
        places.insert(t.text.find(line) * 8 / t.text.size());
        CHECK(t.last == !completion);
        CHECK(t.text.ends_with(completion ? fmt::format("\nThe <REGISTER_CONTENT> in line {} is <", name)
                                          : "? I need the number. "));
      }
  CHECK(places.size() > 2);
}

TEST_CASE("answers are right by their first number, LongChat's by their last") {
  const Task task{.answer = "48215"}, chat{.answer = "48215", .last = true};
  for (const char* right : {" 48215. The", "48215", "<48215>", "is 48215, not 1"})
    CHECK(task.is_right(right));
  for (const char* wrong : {"", "none", " 4821", " 482150", " 048215", " 4 8 2 1 5", "1 48215"})
    CHECK_FALSE(task.is_right(wrong));
  CHECK(chat.is_right("in line 3 it is <48215>."));
  CHECK(chat.is_right("48215"));
  CHECK_FALSE(chat.is_right("48215 in line 3"));
  CHECK_FALSE(chat.is_right(""));
  CHECK_FALSE(task.is_settled(""));
  CHECK_FALSE(task.is_settled(" 48"));
  CHECK(task.is_settled(" 48."));
  CHECK(task.is_settled("7 8"));
  CHECK_FALSE(chat.is_settled("48215. "));
  CHECK(mix_seed({1, 2}) != mix_seed({2, 1}));
}

TEST_CASE("windows score every token once") {
  // llama.cpp's chunks: the second half but its first token.
  CHECK(chunk_windows(25, 8) == std::vector<Window>{{0, 8, 5}, {8, 16, 13}, {16, 24, 21}});
  CHECK(chunk_windows(7, 8).empty());
  CHECK(sliding_windows(5000, 2048, 1024) ==
        std::vector<Window>{{0, 2048, 1}, {1024, 3072, 2048}, {2048, 4096, 3072}, {3072, 5000, 4096}});
  for (size_t n : {2, 5, 64, 100, 101})
    for (size_t length : {4, 16, 128})
      for (size_t stride = 1; stride < length; stride++) {
        size_t next = 1;
        for (const Window& w : sliding_windows(n, length, stride)) {
          CHECK(w.scored == next);
          CHECK(w.begin < w.scored);
          CHECK(w.end - w.begin <= length);
          next = w.end;
        }
        CHECK(next == n);
      }
  CHECK(sliding_windows(10, 4, 4) == std::vector<Window>{{0, 4, 1}, {4, 8, 5}, {8, 10, 9}});
  // Several lengths: the same tokens.
  for (size_t length : {8, 24, 32}) {
    const std::vector<Window> w = aligned_windows(50, length, 8, 32);
    REQUIRE(w.size() == 3);
    for (size_t i = 0; i < 3; i++) {
      CHECK(w[i].end == 32 + 8 * i);
      CHECK(w[i].begin == w[i].end - length);
      CHECK(w[i].scored == w[i].end - 8 + (length == 8));
    }
  }
}

TEST_CASE("log-sum-exp agrees with double precision for every length and range") {
  std::mt19937 engine(5);
  double worst = 0;
  for (size_t n : {1, 2, 15, 16, 17, 255, 256, 257, 1000, 4097, 128256})
    for (float scale : {0.1f, 3.0f, 40.0f, 1000.0f}) {
      std::normal_distribution<float> normal(scale, scale);
      std::vector<float> x(n);
      for (float& v : x) v = normal(engine);
      const double most = *std::max_element(x.begin(), x.end());
      double sum = 0;
      for (float v : x) sum += std::exp(v - most);
      worst = std::max(worst, std::abs(log_sum_exp(x) - most - std::log(sum)));
    }
  fmt::print("  log-sum-exp: the largest difference is {:.2g}\n", worst);
  CHECK(worst < 1e-6);
}

TEST_CASE("perplexity, bits and intervals by hand") {
  // Three tokens of 2 nats and one of 1: the specification's token-weighted value.
  Likelihood l;
  for (double nll : {2.0, 2.0, 2.0, 1.0}) l.add(nll, 3);
  CHECK(l.perplexity() == doctest::Approx(5.7546027).epsilon(1e-8));
  CHECK(l.bits_per_byte() == doctest::Approx(7 / std::log(2.0) / 12));
  // Variance 3/16, divided by n - 1 = 3: 1/4.
  CHECK(l.perplexity_error() == doctest::Approx(l.perplexity() / 4));
  const Interval i = wilson({8, 10});  // Wilson 1927; the usual table's 0.4902, 0.9433
  CHECK(i.low == doctest::Approx(0.4902).epsilon(1e-3));
  CHECK(i.high == doctest::Approx(0.9433).epsilon(1e-3));
  CHECK(wilson({0, 5}).low == 0);
  CHECK(wilson({5, 5}).high == 1);
}
