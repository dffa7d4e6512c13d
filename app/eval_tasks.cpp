// The prompts of retrieval tasks: Landmark Attention's passkey, LongChat's lines.
#include "app/eval_tasks.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <iterator>
#include <set>

#include "runtime/error.h"

namespace spindle {
namespace {

constexpr std::string_view kDescription =
    "There is an important info hidden inside a lot of irrelevant text. Find it and memorize them. "
    "I will quiz you about the important information there.";
constexpr std::string_view kGarbage =
    "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again. ";
constexpr std::string_view kQuestion = "What is the pass key? The pass key is";
constexpr std::string_view kRecord =
    "Below is a record of lines I want you to remember. Each line begins with 'line <line index>' and "
    "contains "
    "a '<REGISTER_CONTENT>' at the end of the line as a numerical value. For each line index, memorize its "
    "corresponding <REGISTER_CONTENT>. At the end of the record, I will ask you to retrieve the "
    "corresponding "
    "<REGISTER_CONTENT> of a certain line index. Now the record start:\n\n";
constexpr uint32_t kMostValue = 50000, kAnswerTokens = 10, kChatAnswerTokens = 100;

// Lines are named ADJECTIVE-NOUN, as LongChat's.
constexpr std::string_view kAdjectives[] = {
    "able",   "aged",   "ample",   "bitter",  "black",  "blue",  "bold",  "brave",  "brief",  "bright",
    "broad",  "brown",  "calm",    "certain", "cheap",  "clean", "clear", "clever", "close",  "cold",
    "common", "cool",   "cruel",   "curious", "dark",   "dead",  "dear",  "deep",   "double", "dry",
    "dull",   "eager",  "early",   "easy",    "empty",  "equal", "exact", "faint",  "fair",   "false",
    "famous", "fancy",  "fast",    "fierce",  "final",  "fine",  "firm",  "fond",   "fresh",  "full",
    "gentle", "glad",   "grand",   "grave",   "great",  "green", "happy", "hard",   "heavy",  "high",
    "honest", "humble", "idle",    "jolly",   "keen",   "kind",  "large", "late",   "light",  "little",
    "lonely", "long",   "loud",    "mild",    "narrow", "noble", "odd",   "pale",   "plain",  "polite",
    "proud",  "quick",  "quiet",   "rapid",   "rare",   "rough", "round", "sharp",  "silent", "simple",
    "slow",   "solid",  "strange", "sweet",   "tall",   "young"};
constexpr std::string_view kNouns[] = {
    "animal", "answer",   "apple",    "autumn", "bell",   "bird",    "boat",   "book",    "bottle", "bridge",
    "button", "candle",   "captain",  "chair",  "church", "city",    "cloud",  "coat",    "corner", "country",
    "crown",  "dinner",   "doctor",   "door",   "dream",  "evening", "father", "feather", "field",  "finger",
    "fire",   "fish",     "flower",   "forest", "friend", "garden",  "gate",   "glass",   "grass",  "harbor",
    "heart",  "hill",     "horse",    "house",  "island", "journey", "king",   "kitchen", "lady",   "lake",
    "lamp",   "leaf",     "letter",   "lion",   "market", "meadow",  "mirror", "money",   "moon",   "morning",
    "mother", "mountain", "music",    "needle", "night",  "ocean",   "office", "orange",  "paper",  "picture",
    "pocket", "queen",    "rain",     "ribbon", "river",  "road",    "room",   "sailor",  "school", "season",
    "shadow", "ship",     "shoulder", "silver", "sister", "snow",    "song",   "spring",  "star",   "stone",
    "story",  "street",   "summer",   "table",  "valley", "winter"};

uint64_t next_random(uint64_t& state) {
  state += 0x9E3779B97F4A7C15u;
  uint64_t z = state;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

// 0 to n - 1; the bias is below n / 2^64.
uint64_t below(uint64_t& state, uint64_t n) { return next_random(state) % n; }

// The most filler, from `least` units on, whose prompt has at most `budget` tokens: interpolation between
// what fits and what does not, until at most `slack` tokens are left. `probe`: units to look at first.
Task fit(const Tokenizer& tokenizer, size_t budget, size_t least, size_t probe, size_t slack,
         const std::function<Task(size_t)>& build) {
  const auto encoded = [&](size_t n) {
    Task t = build(n);
    t.ids = tokenizer.encode(t.text);
    return t;
  };
  Task best = encoded(least);
  const size_t base = best.ids.size();
  require(base <= budget, ErrorKind::usage,
          "a prompt of {} tokens and {} for the answer: the shortest prompt has {}", budget, best.room, base);
  size_t low = least, high = 0, over = 0, next = least + probe;  // high 0: not found yet
  for (int i = 0; i < 64; i++) {
    Task t = encoded(next);
    if (t.ids.size() <= budget) best = std::move(t), low = next;
    else high = next, over = t.ids.size();
    if ((high && high - low <= 1) || budget - best.ids.size() <= slack) break;
    const size_t used = best.ids.size(), left = budget - used;
    // Units a token: of what fits, or between it and what does not.
    const double rate =
        high ? static_cast<double>(high - low) / static_cast<double>(over - used)
             : static_cast<double>(low - least) / static_cast<double>(std::max<size_t>(used - base, 1));
    next = low + std::max<size_t>(1, static_cast<size_t>(rate * static_cast<double>(left)));
    if (high) next = std::min(next, high - 1);
  }
  return best;
}

std::string garbage(size_t n) {
  std::string text;
  while (text.size() < n) text += kGarbage.substr(0, std::min(kGarbage.size(), n - text.size()));
  return text;
}

constexpr uint32_t kMostDigits = 5;  // of kMostValue

uint32_t digits_of(const PasskeyTask& o) { return o.digits ? o.digits : kMostDigits; }
uint32_t room_of(const PasskeyTask& o) { return kAnswerTokens - kMostDigits + digits_of(o); }
uint32_t room_of(const LinesTask& o) { return o.completion ? kAnswerTokens : kChatAnswerTokens; }

size_t budget_of(uint32_t length, uint32_t room) { return length > room ? length - room : 0; }

// The prompt with n characters of filler. Both halves begin the filler anew, and are cut anywhere.
Task passkey(const PasskeyTask& o, size_t n) {
  Task t;
  t.room = room_of(o);
  uint64_t state = o.seed;
  if (o.digits == 0) t.answer = fmt::format("{}", 1 + below(state, kMostValue));
  for (uint32_t i = 0; i < o.digits; i++)
    t.answer += static_cast<char>('0' + (i ? below(state, 10) : 1 + below(state, 9)));
  const auto before = static_cast<size_t>(std::llround(static_cast<double>(n) * o.depth));
  t.text = fmt::format("{}\n{}\nThe pass key is {}. Remember it. {} is the pass key.\n{}\n{}", kDescription,
                       garbage(before), t.answer, t.answer, garbage(n - before), kQuestion);
  return t;
}

// The prompt with n lines.
Task lines(const LinesTask& o, size_t n) {
  uint64_t state = o.seed;
  const double where = static_cast<double>(next_random(state) >> 11) * 0x1p-53;
  const auto asked = static_cast<size_t>(where * static_cast<double>(n));
  Task t;
  t.room = room_of(o);
  t.n_lines = static_cast<uint32_t>(n);
  t.last = !o.completion;
  t.text = kRecord;
  std::set<std::string> names;
  std::string name_asked;
  for (size_t i = 0; i < n; i++) {
    std::string name;
    for (int tries = 0; name.empty() || !names.insert(name).second; tries++) {
      name = kAdjectives[below(state, std::size(kAdjectives))];
      if (tries > 8) name += fmt::format("-{}", kAdjectives[below(state, std::size(kAdjectives))]);
      name += fmt::format("-{}", kNouns[below(state, std::size(kNouns))]);
    }
    const std::string value = fmt::format("{}", 1 + below(state, kMostValue));
    t.text += fmt::format("line {}: REGISTER_CONTENT is <{}>\n", name, value);
    if (i == asked) name_asked = name, t.answer = value;
  }
  t.text += fmt::format(
      "{}Now the record is over. Tell me what is the <REGISTER_CONTENT> in line {}? I need the number.",
      o.completion ? "" : "\n", name_asked);
  t.text += o.completion ? fmt::format("\nThe <REGISTER_CONTENT> in line {} is <", name_asked) : " ";
  return t;
}

constexpr size_t kLeastLines = 2;

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Runs of digits; empty: none.
std::string_view first_number(std::string_view text) {
  const auto from = std::ranges::find_if(text, is_digit);
  return {from, std::find_if_not(from, text.end(), is_digit)};
}
std::string_view last_number(std::string_view text) {
  const auto to = std::find_if(text.rbegin(), text.rend(), is_digit);
  const auto from = std::find_if_not(to, text.rend(), is_digit);
  return {from.base(), to.base()};
}

}  // namespace

bool Task::is_right(std::string_view generated) const {
  return (last ? last_number(generated) : first_number(generated)) == answer;
}

bool Task::is_settled(std::string_view generated) const {
  const std::string_view number = first_number(generated);
  return !last && !number.empty() && number.end() != generated.end();
}

uint64_t mix_seed(std::initializer_list<uint64_t> numbers) {
  uint64_t state = 0;
  for (uint64_t n : numbers) {
    state ^= n;
    state = next_random(state);
  }
  return state;
}

Task make_task(const Tokenizer& tokenizer, const PasskeyTask& o) {
  return fit(tokenizer, budget_of(o.length, room_of(o)), 0, 1024, 1, [&](size_t n) { return passkey(o, n); });
}

Task make_task(const Tokenizer& tokenizer, const LinesTask& o) {
  return fit(tokenizer, budget_of(o.length, room_of(o)), kLeastLines, 16, 0,
             [&](size_t n) { return lines(o, n); });
}

// Names and digits take a token more or less from prompt to prompt: some on top.
uint32_t least_length(const Tokenizer& tokenizer, const PasskeyTask& o) {
  return static_cast<uint32_t>(tokenizer.encode(passkey(o, 0).text).size()) + room_of(o) + 2 * digits_of(o);
}
uint32_t least_length(const Tokenizer& tokenizer, const LinesTask& o) {
  return static_cast<uint32_t>(tokenizer.encode(lines(o, kLeastLines).text).size()) + room_of(o) + 32;
}

}  // namespace spindle
