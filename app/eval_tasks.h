// The prompts of retrieval tasks, in the words of their papers. Pure functions: the same seed, length and
// depth give the same prompt.
#ifndef SPINDLE_APP_EVAL_TASKS_H
#define SPINDLE_APP_EVAL_TASKS_H
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "models/tokenizer.h"

namespace spindle {

struct Task {
  std::vector<int> ids;  // the prompt; with `room` tokens of an answer it stays within the length
  std::string text;
  std::string answer;    // digits
  uint32_t room = 0;     // tokens that are generated at most
  uint32_t n_lines = 0;  // of LinesTask
  bool last = false;     // the last number of what is generated counts, not the first

  bool is_right(std::string_view generated) const;
  // Nothing that follows can change that: the first number has ended.
  bool is_settled(std::string_view generated) const;
};

// One seed out of several numbers: splitmix64's finalizer (Steele, Lea and Flood 2014) over each.
uint64_t mix_seed(std::initializer_list<uint64_t> numbers);

// Passkey retrieval: Mohtashami and Jaggi, Landmark Attention, arXiv 2305.16300. The depth 0 to 1 is the
// share of the filler before the key. Throws ErrorKind::usage when even no filler is too long.
struct PasskeyTask {
  uint32_t length = 0;  // tokens, answer included
  double depth = 0.5;
  uint32_t digits = 0;  // 0: the paper's numbers, 1 to 50000
  uint64_t seed = 1;
};
Task make_task(const Tokenizer& tokenizer, const PasskeyTask& options);

// Lines of a record: LongChat's LongEval (Li et al. 2023), as many as fit, in its words, for models that
// answer a question. The completion form ends with the words that lead to the number, for models that
// continue a text.
struct LinesTask {
  uint32_t length = 0;
  bool completion = false;
  uint64_t seed = 1;
};
Task make_task(const Tokenizer& tokenizer, const LinesTask& options);

// The shortest lengths that both accept.
uint32_t least_length(const Tokenizer& tokenizer, const PasskeyTask& options);
uint32_t least_length(const Tokenizer& tokenizer, const LinesTask& options);

}  // namespace spindle
#endif
