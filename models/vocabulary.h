// The vocabulary of a GGUF file (`tokenizer.ggml.*`), checked; shared by all kinds of tokenizer.
#ifndef SPINDLE_MODELS_VOCABULARY_H
#define SPINDLE_MODELS_VOCABULARY_H
#include <array>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "models/gguf.h"

namespace spindle {

// The values are GGUF's.
enum class TokenType : int {
  undefined = 0,
  normal = 1,
  unknown = 2,
  control = 3,
  user_defined = 4,
  unused = 5,
  byte = 6
};

// What a kind of tokenizer assumes where the file is silent.
struct VocabularyDefaults {
  std::optional<int> bos, eos, unknown;
  bool add_bos = false;
  bool add_space_prefix = false;
};

struct ByteRange {
  size_t begin, end;
};

struct SpecialMatch {
  size_t begin, end;  // bytes of the text, with the white space that the token takes
  int id;
};

// The byte that the text of a byte token, <0x00> to <0xFF>, stands for.
std::optional<int> find_byte_token(std::string_view text);

struct Vocabulary {
  Vocabulary(const Gguf& file, const VocabularyDefaults& defaults);

  std::vector<std::string> texts;
  std::vector<float> scores;  // empty when the file has none
  std::vector<TokenType> types;
  std::unordered_map<std::string_view, int> ids;  // of two equal tokens the later one, as llama.cpp
  size_t longest_text = 0;                        // bytes
  std::optional<int> bos, eos, eot, eom, unknown;
  std::vector<int> end_ids;  // sorted
  bool add_bos = false, add_eos = false, add_space_prefix = false;
  std::vector<std::string> warnings;

  Vocabulary(const Vocabulary&) = delete;  // ids holds views into texts
  Vocabulary(Vocabulary&&) = default;
  Vocabulary& operator=(Vocabulary&&) = default;

  int n_tokens() const { return static_cast<int>(texts.size()); }
  std::optional<int> find(std::string_view text) const;

  // Where tokens stand as themselves in the text, in order: user-defined ones always, control and unknown
  // ones if asked. Longer tokens are placed first, wherever they are (llama.cpp's rule).
  // In `literal` ranges, sorted and apart, what could begin or end a turn is plain text.
  std::vector<SpecialMatch> find_special(std::string_view text, bool parse_special,
                                         std::span<const ByteRange> literal = {}) const;

 private:
  bool is_markup(int id) const;
  void read_tokens(const Gguf& file);
  void read_special_ids(const Gguf& file, const VocabularyDefaults& defaults);
  // vocabulary_special.cpp
  void settle_types(const Gguf& file);
  void collect_special(const Gguf& file);

  int longest_special_at(std::string_view text) const;  // a place in special_; -1: none begins the text

  std::vector<int> special_;              // sorted by text, each text once
  std::vector<int> shorter_;              // by place in special_: of the longest one that begins it, or -1
  std::array<size_t, 257> first_byte_{};  // those whose text begins with byte b: [b], [b + 1]
  std::vector<int> strip_left_, strip_right_;  // sorted: these take the white space beside them
};

}  // namespace spindle
#endif
