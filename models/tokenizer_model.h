// What one kind of tokenizer (`tokenizer.ggml.model`) does; each kind has a file tokenizer_KIND.cpp.
#ifndef SPINDLE_MODELS_TOKENIZER_MODEL_H
#define SPINDLE_MODELS_TOKENIZER_MODEL_H
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "models/vocabulary.h"

namespace spindle {

class TokenizerModel {
 public:
  virtual ~TokenizerModel() = default;

  // Appends the ids of a stretch of text that holds no special token: a whole text or what lies between two.
  virtual void encode(const Vocabulary& vocabulary, std::string_view text, std::vector<int>& ids) const = 0;

  // The bytes of a token that is neither special nor user-defined.
  virtual std::string piece(const Vocabulary& vocabulary, int id) const = 0;
};

struct TokenizerKind {
  std::string_view name;  // in the file
  VocabularyDefaults defaults;
  std::unique_ptr<const TokenizerModel> (*make)(const Gguf& file, Vocabulary& vocabulary);
};

// tokenizer_spm.cpp: SentencePiece BPE, "llama".
std::unique_ptr<const TokenizerModel> make_spm_tokenizer(const Gguf& file, Vocabulary& vocabulary);
// tokenizer_bpe.cpp: byte-level BPE, "gpt2"; and BPE over characters, "gemma4".
std::unique_ptr<const TokenizerModel> make_bpe_tokenizer(const Gguf& file, Vocabulary& vocabulary);
std::unique_ptr<const TokenizerModel> make_gemma4_tokenizer(const Gguf& file, Vocabulary& vocabulary);

}  // namespace spindle
#endif
