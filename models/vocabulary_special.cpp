// Special tokens: which ones there are, whatever a file calls them, and where they stand in a text.
#include <fmt/core.h>

#include <algorithm>
#include <functional>
#include <initializer_list>
#include <map>

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

// Bytes. Longer texts of special tokens are taken for plain ones: nobody has such, and each may cost as much
// at every position of a text.
constexpr size_t kLongestSpecial = 1024;

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
  int n_long = 0, first_long = 0;
  for (int id = 0; id < n_tokens(); id++) {
    const bool stands_alone = types[id] == TokenType::control || types[id] == TokenType::user_defined ||
                              types[id] == TokenType::unknown;
    if (!stands_alone || texts[id].empty()) continue;
    if (texts[id].size() <= kLongestSpecial) special_.push_back(id);
    else if (n_long++ == 0) first_long = id;
  }
  if (n_long > 0)
    warnings.push_back(
        fmt::format("tokenizer.ggml.tokens: {} special tokens are longer than {} bytes, the first is {}: "
                    "they are plain text",
                    n_long, kLongestSpecial, first_long));
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

  std::vector<int> open;  // each begins the next
  for (int i = 0; i < static_cast<int>(special_.size()); i++) {
    const std::string& text = texts[special_[i]];
    while (!open.empty() && !text.starts_with(texts[special_[open.back()]])) open.pop_back();
    shorter_.push_back(open.empty() ? -1 : open.back());
    open.push_back(i);
    first_byte_[static_cast<unsigned char>(text[0]) + 1] = i + 1;
  }
  for (size_t b = 1; b < first_byte_.size(); b++)
    first_byte_[b] = std::max(first_byte_[b], first_byte_[b - 1]);
}

int Vocabulary::longest_special_at(std::string_view text) const {
  const auto byte = static_cast<unsigned char>(text[0]);
  const auto begin = special_.begin() + static_cast<ptrdiff_t>(first_byte_[byte]),
             end = special_.begin() + static_cast<ptrdiff_t>(first_byte_[byte + 1]);
  // Whatever begins the text is the last one that is not behind it in the order, or begins that one.
  text = text.substr(0, kLongestSpecial);
  const auto behind =
      std::upper_bound(begin, end, text, [&](std::string_view t, int id) { return t < texts[id]; });
  if (behind == begin) return -1;
  int place = static_cast<int>(behind - special_.begin()) - 1;
  const std::string& last = texts[special_[place]];
  const auto same = static_cast<size_t>(std::ranges::mismatch(last, text).in1 - last.begin());
  while (place >= 0 && texts[special_[place]].size() > same) place = shorter_[place];
  return place;
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
  const auto is_meant = [&](int id, size_t begin) {
    return (parse_special || types[id] == TokenType::user_defined) &&
           !(is_markup(id) && is_literal(begin, begin + texts[id].size()));
  };
  // Longest first, then by id, then from left to right; what overlaps one placed before it is dropped. A
  // position waits for the turn of the longest token that begins there, then of the next shorter one.
  struct Waiting {
    size_t begin;
    int place;  // in special_
  };
  std::map<size_t, std::vector<Waiting>, std::greater<>> by_bytes;
  std::vector<SpecialMatch> found;
  std::vector<bool> taken;
  // Those placed before are at least as long, so they cover an end of it or nothing.
  const auto is_free = [&](size_t begin, size_t end) {
    return taken.empty() || (!taken[begin] && !taken[end - 1]);
  };
  const auto wait = [&](size_t begin, int place) {
    for (; place >= 0; place = shorter_[place]) {
      const int id = special_[place];
      const size_t bytes = texts[id].size();
      if (!is_meant(id, begin) || !is_free(begin, begin + bytes)) continue;
      by_bytes[bytes].push_back({begin, place});
      return;
    }
  };
  for (size_t begin = 0; begin < text.size(); begin++) wait(begin, longest_special_at(text.substr(begin)));
  if (!by_bytes.empty()) taken.resize(text.size());
  while (!by_bytes.empty()) {
    auto turn = by_bytes.extract(by_bytes.begin());
    std::ranges::sort(turn.mapped(), {},
                      [&](const Waiting& w) { return std::pair(special_[w.place], w.begin); });
    for (const Waiting& w : turn.mapped()) {
      SpecialMatch m{w.begin, w.begin + turn.key(), special_[w.place]};
      if (!is_free(m.begin, m.end)) {
        if (!taken[m.begin]) wait(m.begin, shorter_[w.place]);
        continue;
      }
      if (strips(strip_left_, m.id))
        while (m.begin > 0 && !taken[m.begin - 1] && is_space(text[m.begin - 1])) m.begin--;
      if (strips(strip_right_, m.id))
        while (m.end < text.size() && !taken[m.end] && is_space(text[m.end])) m.end++;
      std::fill(taken.begin() + static_cast<ptrdiff_t>(m.begin),
                taken.begin() + static_cast<ptrdiff_t>(m.end), true);
      found.push_back(m);
    }
  }
  std::sort(found.begin(), found.end(),
            [](const SpecialMatch& a, const SpecialMatch& b) { return a.begin < b.begin; });
  return found;
}

}  // namespace spindle
