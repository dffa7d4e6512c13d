// Reads and checks `tokenizer.ggml.*`.
#include "models/vocabulary.h"

#include <algorithm>
#include <cmath>

#include "models/utf8.h"
#include "runtime/error.h"

namespace spindle {
namespace {

constexpr const char* kTokens = "tokenizer.ggml.tokens";

// Without types in the file, the texts tell the bytes.
TokenType guess_type(std::string_view text) {
  return find_byte_token(text) ? TokenType::byte : TokenType::normal;
}

}  // namespace

std::optional<int> find_byte_token(std::string_view text) {
  if (text.size() != 6 || !text.starts_with("<0x") || text[5] != '>') return std::nullopt;
  int value = 0;
  for (char c : text.substr(3, 2)) {
    value *= 16;
    if (c >= '0' && c <= '9') value += c - '0';
    else if (c >= 'A' && c <= 'F') value += c - 'A' + 10;
    else if (c >= 'a' && c <= 'f') value += c - 'a' + 10;
    else return std::nullopt;
  }
  return value;
}

Vocabulary::Vocabulary(const Gguf& file, const VocabularyDefaults& defaults) {
  read_tokens(file);
  read_special_ids(file, defaults);
  add_bos = file.get_or("tokenizer.ggml.add_bos_token", defaults.add_bos);
  add_eos = file.get_or("tokenizer.ggml.add_eos_token", false);
  add_space_prefix = file.get_or("tokenizer.ggml.add_space_prefix", defaults.add_space_prefix);

  settle_types(file);
  collect_special(file);
}

void Vocabulary::read_tokens(const Gguf& file) {
  texts = file.get<std::vector<std::string>>(kTokens);
  if (texts.empty() || texts.size() > INT32_MAX)
    file.fail_value(kTokens, fmt::format("{} tokens, allowed 1 to {}", texts.size(), INT32_MAX));
  const auto check_size = [&](const char* key, size_t size) {
    if (size != texts.size())
      file.fail_value(key, fmt::format("{} values, but tokenizer.ggml.tokens has {}", size, texts.size()));
  };

  constexpr const char* kScores = "tokenizer.ggml.scores";
  scores = file.get_or(kScores, std::vector<float>());
  if (file.has(kScores)) check_size(kScores, scores.size());
  for (size_t i = 0; i < scores.size(); i++)
    if (std::isnan(scores[i]))
      file.fail_value(kScores, fmt::format("score {} is {}, allowed numbers", i, scores[i]));

  constexpr const char* kTypes = "tokenizer.ggml.token_type";
  if (const auto found = file.find<std::vector<int32_t>>(kTypes)) {
    check_size(kTypes, found->size());
    for (size_t i = 0; i < found->size(); i++) {
      const int32_t type = (*found)[i];
      if (type < 0 || type > static_cast<int>(TokenType::byte))
        file.fail_value(kTypes, fmt::format("type of token {} is {}, allowed 0 to 6", i, type));
      types.push_back(static_cast<TokenType>(type));
    }
  } else {
    warnings.push_back("tokenizer.ggml.token_type is missing: guessed from the texts");
    for (const std::string& text : texts) types.push_back(guess_type(text));
  }

  size_t n_empty = 0, n_twice = 0;
  std::string first_twice;
  ids.reserve(texts.size());
  for (int id = 0; id < n_tokens(); id++) {
    const std::string& text = texts[id];
    longest_text = std::max(longest_text, text.size());
    if (types[id] == TokenType::byte && !find_byte_token(text))
      file.fail_value(kTokens, fmt::format("token {}: bad byte token '{}', allowed <0x00> to <0xFF>", id,
                                           printable(text)));
    if (text.empty()) {
      n_empty++;
      continue;
    }
    const auto [place, is_new] = ids.insert_or_assign(text, id);
    if (!is_new && n_twice++ == 0) first_twice = text;
  }
  if (n_empty > 0) warnings.push_back(fmt::format("{}: {} empty tokens", kTokens, n_empty));
  if (n_twice > 0)
    warnings.push_back(
        fmt::format("{}: {} duplicate tokens, the first is '{}'", kTokens, n_twice, printable(first_twice)));
}

void Vocabulary::read_special_ids(const Gguf& file, const VocabularyDefaults& defaults) {
  const auto in_range = [&](int64_t id) { return id >= 0 && id < n_tokens(); };
  const auto read = [&](const char* key, std::optional<int> otherwise) -> std::optional<int> {
    const auto id = file.find<int64_t>(key);
    if (!id) return otherwise && in_range(*otherwise) ? otherwise : std::nullopt;
    if (!in_range(*id))
      file.fail_value(key, fmt::format("token id {}, allowed 0 to {}", *id, n_tokens() - 1));
    return static_cast<int>(*id);
  };
  bos = read("tokenizer.ggml.bos_token_id", defaults.bos);
  eos = read("tokenizer.ggml.eos_token_id", defaults.eos);
  eot = read("tokenizer.ggml.eot_token_id", std::nullopt);
  eom = read("tokenizer.ggml.eom_token_id", std::nullopt);
  unknown = read("tokenizer.ggml.unknown_token_id", defaults.unknown);
  const char* padding = "tokenizer.ggml.padding_token_id";  // not used here, and often -1
  if (const auto id = file.find<int64_t>(padding); id && !in_range(*id))
    warnings.push_back(fmt::format("{}: token id {}, allowed 0 to {}", padding, *id, n_tokens() - 1));
  if (!file.has("tokenizer.ggml.token_type")) {
    for (const std::optional<int>& id : {bos, eos, eot, eom})
      if (id) types[*id] = TokenType::control;
    if (unknown) types[*unknown] = TokenType::unknown;
  }
}

std::optional<int> Vocabulary::find(std::string_view text) const {
  if (text.size() > longest_text) return std::nullopt;
  const auto found = ids.find(text);
  return found == ids.end() ? std::nullopt : std::optional(found->second);
}

}  // namespace spindle
