// Pre-tokenizers (`tokenizer.ggml.pre`): where byte-level BPE cuts a text before it merges.
#ifndef SPINDLE_MODELS_PRETOKENIZER_H
#define SPINDLE_MODELS_PRETOKENIZER_H
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace spindle {

// Where the digits that an expression matches are cut by threes, counted from their end.
enum class Threes {
  no,
  before,  // in front of every full group, nowhere else
  after,   // behind every group, the first included
};

// Each match is a piece, and so is what lies between two of them. The next expression sees each piece alone.
struct PretokenizerStep {
  std::string_view expression;  // PCRE; \s stands for Unicode's white space, \d and \b are ASCII's
  Threes threes = Threes::no;
};

struct PretokenizerRules {
  bool ignore_merges = false;       // a piece that is a token is that token, whatever the merges say
  bool add_bos = false;             // where the file does not say
  bool default_bos = true;          // there is one even when the file names none
  bool plain = false;               // tokens are text, and bytes outside of them <0xXX>: no byte alphabet
  bool escape_spaces = false;       // U+2581 for a space; with `plain` only
  bool whole_newlines = false;      // a piece of newlines only that is a token is that token
  bool space_before_lines = false;  // every other piece begins with a space
};

// One family; the names are those in GGUF files.
struct PretokenizerKind {
  std::vector<std::string_view> names;
  std::vector<PretokenizerStep> steps;
  PretokenizerRules rules;
};

// pretokenizer_list.cpp
const std::vector<PretokenizerKind>& pretokenizer_kinds();
const PretokenizerKind* find_pretokenizer(std::string_view name);

class Pretokenizer {
 public:
  explicit Pretokenizer(const std::vector<PretokenizerStep>& steps);
  Pretokenizer(Pretokenizer&&) noexcept;
  ~Pretokenizer();

  // The end of every piece, in bytes; the last one is the end of the text. A byte that is not UTF-8 counts as
  // one character, U+FFFD. The time is linear in the text for each expression of the list.
  std::vector<size_t> split(std::string_view text) const;

 private:
  struct Expression;
  std::vector<Expression> expressions_;
};

}  // namespace spindle
#endif
