// SentencePiece BPE ("llama"): characters are merged into tokens, the best score first, and what is in no
// token becomes bytes. Kudo & Richardson 2018; the order of merges is that of sentencepiece's bpe_model.cc.
#include <fmt/core.h>

#include <array>
#include <limits>
#include <queue>

#include "models/tokenizer_model.h"
#include "models/utf8.h"

namespace spindle {
namespace {

constexpr std::string_view kSpace = "\xE2\x96\x81";  // U+2581, how spaces are written in the vocabulary
constexpr size_t kNone = std::numeric_limits<size_t>::max();

struct Symbol {
  size_t begin, bytes;  // in the text; 0 bytes: merged into the one before it
  size_t previous, next;
};

struct Merge {
  float score;
  size_t left, right;  // symbols
  size_t bytes;        // of both when this was found: tells whether one has grown since
  // The top of the queue is the best score, of equal ones the leftmost.
  bool operator<(const Merge& other) const {
    return score < other.score || (score == other.score && left > other.left);
  }
};

class Spm : public TokenizerModel {
 public:
  Spm(const Gguf& file, Vocabulary& vocabulary);
  void encode(const Vocabulary& vocabulary, std::string_view text, std::vector<int>& ids) const override;
  std::string piece(const Vocabulary& vocabulary, int id) const override;

 private:
  std::array<int, 256> byte_ids_;
};

Spm::Spm(const Gguf& file, Vocabulary& vocabulary) {
  constexpr const char* kTokens = "tokenizer.ggml.tokens";
  byte_ids_.fill(-1);
  bool any = false;
  for (int id = 0; id < vocabulary.n_tokens(); id++) {
    if (vocabulary.types[id] != TokenType::byte) continue;
    byte_ids_[*find_byte_token(vocabulary.texts[id])] = id;
    any = true;
  }
  if (!any)
    vocabulary.warnings.push_back(
        "no byte tokens: characters outside the vocabulary become the unknown token");
  for (int byte = 0; byte < 256; byte++) {
    if (byte_ids_[byte] >= 0) continue;
    const char text = static_cast<char>(byte);
    const auto id = any ? std::nullopt : vocabulary.find({&text, 1});
    if (any || !(id || vocabulary.unknown))
      file.fail_value(kTokens, fmt::format("bad byte token: <0x{:02X}> is missing", byte));
    byte_ids_[byte] = id ? *id : *vocabulary.unknown;
  }
  if (vocabulary.scores.empty())
    vocabulary.warnings.push_back("tokenizer.ggml.scores is missing: merging from left to right");
}

void Spm::encode(const Vocabulary& vocabulary, std::string_view raw, std::vector<int>& ids) const {
  std::string text;
  text.reserve(raw.size() + raw.size() / 2);
  if (vocabulary.add_space_prefix) text += kSpace;
  for (char c : raw) {
    if (c == ' ') text += kSpace;
    else text += c;
  }

  std::vector<Symbol> symbols;
  for (size_t at = 0; at < text.size();) {
    const Utf8Step step = utf8_step(std::string_view(text).substr(at));
    const size_t bytes = step.kind == Utf8Step::Kind::valid ? step.bytes : 1;
    symbols.push_back({at, bytes, symbols.empty() ? kNone : symbols.size() - 1, symbols.size() + 1});
    at += bytes;
  }
  symbols.back().next = kNone;

  std::priority_queue<Merge> queue;
  const auto consider = [&](size_t left, size_t right) {
    if (left == kNone || right == kNone) return;
    const size_t bytes =
        symbols[left].bytes + symbols[right].bytes;  // neighbours lie side by side in the text
    const auto id = vocabulary.find(std::string_view(text).substr(symbols[left].begin, bytes));
    if (id) queue.push({vocabulary.scores.empty() ? 0 : vocabulary.scores[*id], left, right, bytes});
  };
  for (size_t i = 1; i < symbols.size(); i++) consider(i - 1, i);
  while (!queue.empty()) {
    const Merge merge = queue.top();
    queue.pop();
    Symbol& left = symbols[merge.left];
    Symbol& right = symbols[merge.right];
    if (left.bytes == 0 || right.bytes == 0 || left.bytes + right.bytes != merge.bytes) continue;
    left.bytes = merge.bytes;
    right.bytes = 0;
    left.next = right.next;
    if (right.next != kNone) symbols[right.next].previous = merge.left;
    consider(left.previous, merge.left);
    consider(merge.left, left.next);
  }

  for (size_t i = 0; i != kNone; i = symbols[i].next) {
    const std::string_view part = std::string_view(text).substr(symbols[i].begin, symbols[i].bytes);
    if (const auto id = vocabulary.find(part)) ids.push_back(*id);
    else
      for (char c : part) ids.push_back(byte_ids_[static_cast<unsigned char>(c)]);
  }
}

std::string Spm::piece(const Vocabulary& vocabulary, int id) const {
  const std::string_view text = vocabulary.texts[id];
  if (vocabulary.types[id] == TokenType::byte)
    return std::string(1, static_cast<char>(*find_byte_token(text)));
  std::string bytes;
  for (size_t at = 0; at < text.size();) {
    const bool space = text.substr(at).starts_with(kSpace);
    bytes += space ? ' ' : text[at];
    at += space ? kSpace.size() : 1;
  }
  return bytes;
}

}  // namespace

std::unique_ptr<const TokenizerModel> make_spm_tokenizer(const Gguf& file, Vocabulary& vocabulary) {
  return std::make_unique<Spm>(file, vocabulary);
}

}  // namespace spindle
