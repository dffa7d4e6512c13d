// What all kinds of tokenizer share: special tokens, text from pieces, streaming.
#include "models/tokenizer.h"

#include <algorithm>
#include <array>

#include "models/utf8.h"
#include "runtime/error.h"

namespace spindle {
namespace {

const std::array<TokenizerKind, 3> kKinds = {{
    {"llama",
     {.bos = 1, .eos = 2, .unknown = 0, .add_bos = true, .add_space_prefix = true},
     make_spm_tokenizer},
    {"gpt2", {.bos = 11, .eos = 11}, make_bpe_tokenizer},
    {"gemma4", {.add_bos = true}, make_gemma4_tokenizer},
}};

const TokenizerKind& get_kind(const Gguf& file) {
  constexpr const char* kModel = "tokenizer.ggml.model";
  const auto model = file.get<std::string>(kModel);
  const auto kind =
      std::find_if(kKinds.begin(), kKinds.end(), [&](const TokenizerKind& k) { return k.name == model; });
  if (kind == kKinds.end()) {
    std::string names;
    for (const TokenizerKind& k : kKinds) names += fmt::format("{}'{}'", names.empty() ? "" : ", ", k.name);
    file.fail_value(kModel,
                    fmt::format("tokenizer '{}' is not supported, allowed {}", printable(model), names));
  }
  return *kind;
}

}  // namespace

Tokenizer::Tokenizer(const Gguf& file)
    : vocabulary_(file, get_kind(file).defaults), model_(get_kind(file).make(file, vocabulary_)) {}

std::vector<int> Tokenizer::encode(std::string_view text, EncodeOptions options) const {
  std::vector<int> ids;
  if (options.add_bos && vocabulary_.add_bos && bos()) ids.push_back(*bos());
  size_t at = 0;
  const auto encode_until = [&](size_t end) {
    if (end > at) model_->encode(vocabulary_, text.substr(at, end - at), ids);
  };
  for (const SpecialMatch& match : vocabulary_.find_special(text, options.parse_special, options.literal)) {
    encode_until(match.begin);
    ids.push_back(match.id);
    at = match.end;
  }
  encode_until(text.size());
  if (options.add_eos && vocabulary_.add_eos && eos()) ids.push_back(*eos());
  return ids;
}

std::string Tokenizer::piece(int id, bool special) const {
  require(id >= 0 && id < n_tokens(), "token id {} is out of range, allowed 0 to {}", id, n_tokens() - 1);
  switch (vocabulary_.types[id]) {
    case TokenType::normal:
    case TokenType::byte:
      return model_->piece(vocabulary_, id);
    case TokenType::user_defined:
      return vocabulary_.texts[id];
    case TokenType::control:
    case TokenType::unknown:
      return special ? vocabulary_.texts[id] : "";
    default:
      return "";
  }
}

std::string Tokenizer::decode(std::span<const int> ids, bool special) const {
  Detokenizer stream(*this, special);
  std::string text;
  for (int id : ids) text += stream.push(id);
  return text + stream.flush();
}

bool Tokenizer::is_end(int id) const {
  return std::binary_search(vocabulary_.end_ids.begin(), vocabulary_.end_ids.end(), id);
}

Detokenizer::Detokenizer(const Tokenizer& tokenizer, bool special)
    : tokenizer_(&tokenizer), special_(special) {}

std::string Detokenizer::push(int id) {
  const Vocabulary& vocabulary = tokenizer_->vocabulary();
  std::string piece = tokenizer_->piece(id, special_);
  if (piece.empty()) return "";
  if (at_start_ && vocabulary.add_space_prefix && vocabulary.types[id] == TokenType::normal &&
      piece[0] == ' ')
    piece.erase(0, 1);
  // A BOS that is shown is no text yet.
  at_start_ = at_start_ && vocabulary.types[id] == TokenType::control;
  pending_ += piece;
  return take(false);
}

void Detokenizer::skip(std::span<const int> prompt) {
  for (int id : prompt) push(id);
}

std::string Detokenizer::flush() { return take(true); }

std::string Detokenizer::take(bool all) {
  std::string text;
  std::string_view left = pending_;
  while (!left.empty()) {
    const Utf8Step step = utf8_step(left);
    if (step.kind == Utf8Step::Kind::incomplete && !all) break;
    text += step.kind == Utf8Step::Kind::valid ? left.substr(0, step.bytes) : kReplacementCharacter;
    left.remove_prefix(step.bytes);
  }
  pending_ = std::string(left);
  return text;
}

}  // namespace spindle
