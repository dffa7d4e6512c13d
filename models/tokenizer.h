// Text to token ids and back, from the vocabulary in a GGUF file.
#ifndef SPINDLE_MODELS_TOKENIZER_H
#define SPINDLE_MODELS_TOKENIZER_H
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "models/gguf.h"
#include "models/tokenizer_model.h"
#include "models/vocabulary.h"

namespace spindle {

struct EncodeOptions {
  bool add_bos = true;         // BOS in front, when the file wants one (tokenizer.ggml.add_bos_token)
  bool parse_special = false;  // the text of control tokens gives the token; user-defined tokens always do
  bool add_eos = false;        // EOS behind, when the file wants one
  std::span<const ByteRange> literal = {};  // sorted: no control token is seen that touches one of them
};

class Tokenizer {
 public:
  explicit Tokenizer(const Gguf& file);

  // Any bytes are accepted: what is not UTF-8 goes byte by byte.
  std::vector<int> encode(std::string_view text, EncodeOptions options = {}) const;

  // The bytes that the token stands for; control and unknown tokens are empty unless `special`.
  std::string piece(int id, bool special = false) const;
  // What a Detokenizer says for all of them: valid UTF-8.
  std::string decode(std::span<const int> ids, bool special = false) const;

  int n_tokens() const { return vocabulary_.n_tokens(); }
  std::optional<int> bos() const { return vocabulary_.bos; }
  std::optional<int> eos() const { return vocabulary_.eos; }
  bool is_end(int id) const;  // end of the text, of the turn or of the message
  const std::vector<int>& end_ids() const { return vocabulary_.end_ids; }
  const Vocabulary& vocabulary() const { return vocabulary_; }
  const std::vector<std::string>& warnings() const { return vocabulary_.warnings; }

 private:
  Vocabulary vocabulary_;
  std::unique_ptr<const TokenizerModel> model_;
};

// Streams: what push returns is always whole characters. Bytes that can never become a character turn into
// U+FFFD. The space that encode puts in front of a text is dropped at the start of a text only, so with
// d.skip(prompt_ids) the prompt's text followed by the stream is the decoded whole.
// Borrows the tokenizer.
class Detokenizer {
 public:
  explicit Detokenizer(const Tokenizer& tokenizer, bool special = false);

  std::string push(int id);                // what can be printed now, maybe nothing
  void skip(std::span<const int> prompt);  // as push, but printed by somebody else
  std::string flush();                     // the half character at the end, as U+FFFD

 private:
  std::string take(bool all);

  const Tokenizer* tokenizer_;
  bool special_;
  bool at_start_ = true;  // nothing printed yet
  std::string pending_;   // at most 3 bytes between calls
};

}  // namespace spindle
#endif
