// Special tokens: which ones there are, whatever a file calls them, and where they stand in a text.
#include <fmt/core.h>

#include <algorithm>
#include <initializer_list>

#include "models/utf8.h"
#include "models/vocabulary.h"

namespace spindle {
namespace {

// llama.cpp's rules: published files often give these tokens another type, or name only one end token.
// The texts that end a turn or a message; they are control tokens wherever they are.
constexpr std::string_view kEnds[] = {"<|eot_id|>",
                                      "<|im_end|>",
                                      "<|end|>",
                                      "<|return|>",
                                      "<|call|>",
                                      "<|flush|>",
                                      "<|calls|>",
                                      "<end_of_turn>",
                                      "<|endoftext|>",
                                      "</s>",
                                      "<|eom_id|>",
                                      "<EOT>",
                                      "_<EOT>",
                                      "[EOT]",
                                      "[EOS]",
                                      "<|end_of_text|>",
                                      "<end_of_utterance>",
                                      "<eos>",
                                      "<turn|>",
                                      "<|tool_response>",
                                      "<\xEF\xBD\x9C"
                                      "end\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C>",
                                      "[e~["};
// Further ends, where they are control or user-defined tokens.
constexpr std::string_view kMoreEnds[] = {"<|eot|>", "<|END_OF_TURN_TOKEN|>"};

// Around code to fill in; the first of them that a file has is meant where it names none.
struct FillIn {
  std::string_view key;
  bool ends;
  std::initializer_list<std::string_view> texts;
};
const FillIn kFillIn[] = {
    {"fim_pre",
     false,
     {"<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>",
      "<\xEF\xBD\x9C"
      "fim\xE2\x96\x81"
      "begin\xEF\xBD\x9C>",
      "<PRE>", "\xE2\x96\x81<PRE>", "<|code_prefix|>", "<|prefix|>"}},
    {"fim_suf",
     false,
     {"<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>",
      "<\xEF\xBD\x9C"
      "fim\xE2\x96\x81hole\xEF\xBD\x9C>",
      "<SUF>", "\xE2\x96\x81<SUF>", "<|code_suffix|>", "<|suffix|>"}},
    {"fim_mid",
     false,
     {"<|fim_middle|>", "<fim-middle>", "<fim_middle>",
      "<\xEF\xBD\x9C"
      "fim\xE2\x96\x81"
      "end\xEF\xBD\x9C>",
      "<MID>", "\xE2\x96\x81<MID>", "<|code_middle|>", "<|middle|>"}},
    {"fim_pad", true, {"<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"}},
    {"fim_rep", true, {"<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"}},
    {"fim_sep", true, {"<|file_sep|>"}},
};

// Always shown and always parsed (gpt-oss).
constexpr std::string_view kShown[] = {"<|channel|>", "<|message|>", "<|start|>", "<|constrain|>"};

bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

bool strips(const std::vector<int>& sorted, int id) {
  return !sorted.empty() && std::binary_search(sorted.begin(), sorted.end(), id);
}

}  // namespace

void Vocabulary::settle_types(const Gguf& file) {
  int n_changed = 0, first_changed = 0;
  const auto control = [&](int id, bool ends) {
    if (ends) end_ids.push_back(id);
    if (types[id] == TokenType::control) return;
    if (n_changed++ == 0) first_changed = id;
    types[id] = TokenType::control;
  };
  for (std::string_view text : kEnds)
    if (const auto id = find(text)) control(*id, true);
  for (std::string_view text : kMoreEnds)
    if (const auto id = find(text);
        id && (types[*id] == TokenType::control || types[*id] == TokenType::user_defined))
      end_ids.push_back(*id);
  for (const FillIn& mark : kFillIn) {
    const std::string key = fmt::format("tokenizer.ggml.{}_token_id", mark.key);
    if (const auto id = file.find<int64_t>(key)) {
      if (mark.ends && *id >= 0 && *id < n_tokens()) end_ids.push_back(static_cast<int>(*id));
      continue;
    }
    for (std::string_view text : mark.texts)
      if (const auto id = find(text)) {
        control(*id, mark.ends);
        break;
      }
  }
  if (n_changed > 0)
    warnings.push_back(fmt::format(
        "tokenizer.ggml.token_type: {} tokens are control tokens by their text, the first is {}: '{}'",
        n_changed, first_changed, printable(texts[first_changed])));
  for (std::string_view text : kShown)
    if (const auto id = find(text)) types[*id] = TokenType::user_defined;
  for (const std::optional<int>& id : {eos, eot, eom})
    if (id) end_ids.push_back(*id);

  // Where a message ends with other tokens, these two end less.
  const auto is_end = [&](std::string_view text) {
    const auto id = find(text);
    return id && std::find(end_ids.begin(), end_ids.end(), *id) != end_ids.end();
  };
  const auto no_end = [&](std::string_view text, TokenType type) {
    const int id = *find(text);
    std::erase(end_ids, id);
    types[id] = type;
  };
  const bool call = is_end("<|call|>") || is_end("<|calls|>");
  if (is_end("<|end|>") && call && (is_end("<|return|>") || is_end("<|flush|>")))
    no_end("<|end|>", TokenType::user_defined);
  if (is_end("</s>") && is_end("<|tool_response>")) no_end("</s>", TokenType::normal);
  std::sort(end_ids.begin(), end_ids.end());
  end_ids.erase(std::unique(end_ids.begin(), end_ids.end()), end_ids.end());
}

void Vocabulary::collect_special(const Gguf& file) {
  for (int id = 0; id < n_tokens(); id++) {
    const bool stands_alone = types[id] == TokenType::control || types[id] == TokenType::user_defined ||
                              types[id] == TokenType::unknown;
    if (stands_alone && !texts[id].empty()) special_.push_back(id);
  }
  // GGUF does not say which tokens swallow the white space beside them: known by name, as in llama.cpp.
  std::string name = file.get_or("general.name", std::string());
  std::transform(name.begin(), name.end(), name.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  const auto pre = file.get_or("tokenizer.ggml.pre", std::string());
  const auto has = [](const std::string& text, std::initializer_list<const char*> parts) {
    return std::any_of(parts.begin(), parts.end(),
                       [&](const char* p) { return text.find(p) != std::string::npos; });
  };
  if (has(pre, {"jina-v2-de", "jina-v2-es", "jina-v2-code", "mmbert"})) {
    if (const auto id = find("<mask>")) strip_left_ = {*id};
  } else if (has(name, {"phi-3", "phi3"})) {
    strip_right_ = special_;
    if (const auto id = find("</s>");
        id && std::find(special_.begin(), special_.end(), *id) == special_.end())
      strip_right_.insert(std::lower_bound(strip_right_.begin(), strip_right_.end(), *id), *id);
    for (std::string_view text : {"<unk>", "<s>", "<|endoftext|>"})
      if (const auto id = find(text)) std::erase(strip_right_, *id);
  } else if (has(name, {"modern-bert"})) {
    if (const auto id = find("[MASK]")) strip_left_ = {*id};
  }

  const auto less = [&](int a, int b) { return texts[a] < texts[b]; };
  const auto same = [&](int a, int b) { return texts[a] == texts[b]; };
  std::stable_sort(special_.begin(), special_.end(), less);
  special_.erase(std::unique(special_.begin(), special_.end(), same), special_.end());
}

// Control tokens, end tokens of any type, and user-defined ones that look like them: <|...|>.
bool Vocabulary::is_markup(int id) const {
  const std::string& text = texts[id];
  return types[id] != TokenType::user_defined || (text.starts_with("<|") && text.ends_with("|>")) ||
         std::binary_search(end_ids.begin(), end_ids.end(), id);
}

std::vector<SpecialMatch> Vocabulary::find_special(std::string_view text, bool parse_special,
                                                   std::span<const ByteRange> literal) const {
  const auto is_literal = [&](size_t begin, size_t end) {
    const auto range = std::upper_bound(literal.begin(), literal.end(), begin,
                                        [](size_t at, const ByteRange& r) { return at < r.end; });
    return range != literal.end() && range->begin < end;
  };
  // Every match at every position: `special_` is sorted, so the tokens that begin with the same bytes are a
  // range of it, which each further byte narrows.
  std::vector<SpecialMatch> found;
  for (size_t begin = 0; begin < text.size(); begin++) {
    auto low = special_.begin(), high = special_.end();
    for (size_t length = 0; low != high && begin + length < text.size(); length++) {
      const auto byte_at = [&](int id) { return static_cast<unsigned char>(texts[id][length]); };
      const auto byte = static_cast<unsigned char>(text[begin + length]);
      low = std::partition_point(low, high, [&](int id) { return byte_at(id) < byte; });
      high = std::partition_point(low, high, [&](int id) { return byte_at(id) == byte; });
      // The one that ends here comes first.
      if (low == high || texts[*low].size() != length + 1) continue;
      if ((parse_special || types[*low] == TokenType::user_defined) &&
          !(is_markup(*low) && is_literal(begin, begin + length + 1)))
        found.push_back({begin, begin + length + 1, *low});
      ++low;
    }
  }
  // Longest first, then by id, then from left to right; what overlaps one placed before it is dropped.
  std::sort(found.begin(), found.end(), [](const SpecialMatch& a, const SpecialMatch& b) {
    const size_t a_bytes = a.end - a.begin, b_bytes = b.end - b.begin;
    if (a_bytes != b_bytes) return a_bytes > b_bytes;
    return a.id != b.id ? a.id < b.id : a.begin < b.begin;
  });
  std::vector<bool> taken(found.empty() ? 0 : text.size());
  std::erase_if(found, [&](SpecialMatch& m) {
    // Those before it are at least as long, so they cover an end of it or nothing.
    if (taken[m.begin] || taken[m.end - 1]) return true;
    if (strips(strip_left_, m.id))
      while (m.begin > 0 && !taken[m.begin - 1] && is_space(text[m.begin - 1])) m.begin--;
    if (strips(strip_right_, m.id))
      while (m.end < text.size() && !taken[m.end] && is_space(text[m.end])) m.end++;
    std::fill(taken.begin() + static_cast<ptrdiff_t>(m.begin), taken.begin() + static_cast<ptrdiff_t>(m.end),
              true);
    return false;
  });
  std::sort(found.begin(), found.end(),
            [](const SpecialMatch& a, const SpecialMatch& b) { return a.begin < b.begin; });
  return found;
}

}  // namespace spindle
