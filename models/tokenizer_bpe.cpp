// Byte-level BPE ("gpt2"): a pre-tokenizer cuts the text, then in every piece the pair of neighbours that was
// learnt first is merged, until none is left. Sennrich et al. 2016; the byte alphabet is that of GPT-2.
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <limits>
#include <queue>

#include "models/code_points.h"
#include "models/pretokenizer.h"
#include "models/tokenizer_model.h"
#include "models/utf8.h"

namespace spindle {
namespace {

constexpr std::string_view kSpace = "\xE2\x96\x81";  // U+2581
constexpr const char* kMerges = "tokenizer.ggml.merges";
constexpr const char* kPre = "tokenizer.ggml.pre";
constexpr int kNoToken = -1;
constexpr size_t kNone = std::numeric_limits<size_t>::max();

// GPT-2 writes every byte as a character that can be seen: those of Latin-1 that can stand for themselves,
// the others are numbered from U+0100 on.
constexpr std::array<char32_t, 256> make_alphabet() {
  std::array<char32_t, 256> letters{};
  char32_t next = 0x100;
  for (unsigned byte = 0; byte < 256; byte++) {
    const bool visible = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
    letters[byte] = visible ? byte : next++;
  }
  return letters;
}
constexpr std::array<char32_t, 256> kAlphabet = make_alphabet();

void append_letter(std::string& text, unsigned char byte) {
  const char32_t c = kAlphabet[byte];  // below U+0800
  if (c >= 0x80) text += static_cast<char>(0xC0 | c >> 6);
  text += static_cast<char>(c >= 0x80 ? 0x80 | (c & 0x3F) : c);
}

std::string in_letters(std::string_view bytes) {
  std::string text;
  for (char c : bytes) append_letter(text, static_cast<unsigned char>(c));
  return text;
}

// The bytes that a token's text stands for; characters outside of the alphabet stand for themselves.
std::string from_letters(std::string_view text) {
  static const std::array<int, 0x144> bytes = [] {
    std::array<int, 0x144> of{};
    of.fill(-1);
    for (int byte = 0; byte < 256; byte++) of[kAlphabet[static_cast<size_t>(byte)]] = byte;
    return of;
  }();
  const CodePoints decoded = to_code_points(text);
  std::string out;
  for (size_t i = 0; i < decoded.code_points.size(); i++) {
    const char32_t c = decoded.code_points[i];
    if (c < bytes.size() && bytes[c] >= 0) out += static_cast<char>(bytes[c]);
    else out += text.substr(decoded.offsets[i], decoded.offsets[i + 1] - decoded.offsets[i]);
  }
  return out;
}

std::string replaced(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const bool here = text.substr(at).starts_with(from);
    out += here ? to : text.substr(at, 1);
    at += here ? from.size() : 1;
  }
  return out;
}

struct Merge {
  int rank;  // its line in the file
  int result;
};

struct Symbol {
  int id;               // kNoToken: no token, and part of no merge
  size_t begin, bytes;  // in the piece; 0 bytes: merged into the one before it
  size_t previous, next;
};

struct Candidate {
  int rank, result;
  size_t left, right;     // symbols
  int left_id, right_id;  // of both when this was found: tells whether one has grown since
  // The top of the queue is the lowest rank, of equal ones the leftmost.
  bool operator<(const Candidate& other) const {
    return rank > other.rank || (rank == other.rank && left > other.left);
  }
};

class Bpe : public TokenizerModel {
 public:
  Bpe(const Gguf& file, Vocabulary& vocabulary, const PretokenizerKind& kind);
  void encode(const Vocabulary& vocabulary, std::string_view text, std::vector<int>& ids) const override;
  std::string piece(const Vocabulary& vocabulary, int id) const override;

 private:
  struct Work {
    std::vector<Symbol> symbols;
    std::vector<Candidate> heap;
  };

  void read_merges(const Gguf& file, Vocabulary& vocabulary, bool required);
  void find_bytes(Vocabulary& vocabulary);
  void encode_piece(const Vocabulary& vocabulary, std::string_view piece, Work& work,
                    std::vector<int>& ids) const;
  int symbol_of(const Vocabulary& vocabulary, std::string_view text) const;
  static uint64_t pair(int left, int right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }

  Pretokenizer pretokenizer_;
  PretokenizerRules rules_;
  std::unordered_map<uint64_t, Merge> merges_;
  // Results of merges that are no tokens, numbered behind the tokens: they may be merged further.
  std::unordered_map<std::string, int> extra_;
  std::array<int, 256> letters_;   // the symbol of a byte
  std::array<int, 256> fallback_;  // the token of a byte that is part of no token
};

Bpe::Bpe(const Gguf& file, Vocabulary& vocabulary, const PretokenizerKind& kind)
    : pretokenizer_(kind.steps), rules_(kind.rules) {
  vocabulary.add_space_prefix = false;  // SentencePiece's alone
  vocabulary.add_bos = file.get_or("tokenizer.ggml.add_bos_token", rules_.add_bos);
  if (!rules_.default_bos && !file.has("tokenizer.ggml.bos_token_id")) vocabulary.bos.reset();
  const bool merges_elsewhere =
      std::find(kind.names.begin(), kind.names.end(), "kimi-k2") != kind.names.end();
  read_merges(file, vocabulary, !merges_elsewhere);
  find_bytes(vocabulary);
}

int Bpe::symbol_of(const Vocabulary& vocabulary, std::string_view text) const {
  if (const auto id = vocabulary.find(text)) return *id;
  if (extra_.empty()) return kNoToken;
  const auto found = extra_.find(std::string(text));
  return found == extra_.end() ? kNoToken : found->second;
}

void Bpe::read_merges(const Gguf& file, Vocabulary& vocabulary, bool required) {
  if (!required && !file.has(kMerges)) return;
  const auto lines = file.get<std::vector<std::string>>(kMerges);
  if (lines.size() > INT32_MAX - vocabulary.texts.size())
    file.fail_value(kMerges, fmt::format("{} merges, allowed {}", lines.size(), INT32_MAX));
  merges_.reserve(lines.size());
  const auto bad = [&](size_t i, std::string_view what) {
    file.fail_value(kMerges, fmt::format("bad merge {}: '{}': {}", i, printable(lines[i]), what));
  };
  for (size_t i = 0; i < lines.size(); i++) {
    const std::string_view line = lines[i];
    const size_t space = line.find(' ', 1);
    if (line.empty() || space == std::string_view::npos || space + 1 == line.size())
      bad(i, "allowed: two parts with a space between");
    const std::string_view left = line.substr(0, space), right = line.substr(space + 1);
    // A part may be a token of the file or what an earlier merge made.
    const int left_id = symbol_of(vocabulary, left), right_id = symbol_of(vocabulary, right);
    for (const auto& [id, part] : {std::pair(left_id, left), std::pair(right_id, right)})
      if (id == kNoToken) bad(i, fmt::format("'{}' is no token", printable(part)));
    std::string both(left);
    both += right;
    int result = symbol_of(vocabulary, both);
    if (result == kNoToken) {
      result = vocabulary.n_tokens() + static_cast<int>(extra_.size());
      if (extra_.empty())
        vocabulary.warnings.push_back(
            fmt::format("{}: merge {} makes '{}', which is no token", kMerges, i, printable(both)));
      extra_.emplace(std::move(both), result);
    }
    merges_.emplace(pair(left_id, right_id), Merge{static_cast<int>(i), result});  // the first one counts
  }
}

void Bpe::find_bytes(Vocabulary& vocabulary) {
  letters_.fill(kNoToken);
  int n_lost = 0, first_lost = 0;
  // Some files call the end of the text their unknown token: a stray byte would end the prompt's meaning.
  const auto is_unknown = [&](int id) {
    return vocabulary.types[id] != TokenType::control &&
           !std::binary_search(vocabulary.end_ids.begin(), vocabulary.end_ids.end(), id);
  };
  const int unknown = vocabulary.unknown && is_unknown(*vocabulary.unknown) ? *vocabulary.unknown : kNoToken;
  for (int byte = 0; byte < 256; byte++) {
    const char c = static_cast<char>(byte);
    const auto at = static_cast<size_t>(byte);
    const auto tagged = vocabulary.find(fmt::format("<0x{:02X}>", byte));
    if (!rules_.plain) letters_[at] = symbol_of(vocabulary, in_letters({&c, 1}));
    const bool is_token = letters_[at] >= 0 && letters_[at] < vocabulary.n_tokens();
    fallback_[at] = is_token ? letters_[at] : tagged ? *tagged : unknown;
    if (fallback_[at] == kNoToken && n_lost++ == 0) first_lost = byte;
  }
  if (n_lost > 0)
    vocabulary.warnings.push_back(fmt::format(
        "{} bytes have no token, the first is 0x{:02X}: they are lost in tokenization", n_lost, first_lost));
}

void Bpe::encode(const Vocabulary& vocabulary, std::string_view text, std::vector<int>& ids) const {
  std::string escaped;
  if (rules_.escape_spaces) text = escaped = replaced(text, " ", kSpace);
  Work work;
  size_t begin = 0;
  for (size_t end : pretokenizer_.split(text)) {
    const std::string_view piece = text.substr(begin, end - begin);
    begin = end;
    if (rules_.space_before_lines && piece[0] != '\n' && !piece.starts_with(kSpace))
      encode_piece(vocabulary, std::string(kSpace).append(piece), work, ids);
    else encode_piece(vocabulary, piece, work, ids);
  }
}

void Bpe::encode_piece(const Vocabulary& vocabulary, std::string_view piece, Work& work,
                       std::vector<int>& ids) const {
  const bool newlines = rules_.whole_newlines && piece.find_first_not_of('\n') == std::string_view::npos;
  if ((rules_.ignore_merges || newlines) && piece.size() <= vocabulary.longest_text) {
    if (const auto id = vocabulary.find(rules_.plain ? std::string(piece) : in_letters(piece))) {
      ids.push_back(*id);
      return;
    }
  }

  std::vector<Symbol>& symbols = work.symbols;
  symbols.clear();
  for (size_t at = 0; at < piece.size();) {
    size_t bytes = 1;
    int id = letters_[static_cast<unsigned char>(piece[at])];
    if (rules_.plain) {
      const Utf8Step step = utf8_step(piece.substr(at));
      if (step.kind == Utf8Step::Kind::valid) bytes = step.bytes;
      id = symbol_of(vocabulary, piece.substr(at, bytes));
    }
    symbols.push_back({id, at, bytes, symbols.size() - 1, symbols.size() + 1});  // the first's is kNone
    at += bytes;
  }
  symbols.back().next = kNone;

  std::vector<Candidate>& heap = work.heap;
  heap.clear();
  const auto find = [&](size_t left, size_t right) -> const Merge* {
    if (left == kNone || right == kNone) return nullptr;
    const auto found = merges_.find(pair(symbols[left].id, symbols[right].id));
    return found == merges_.end() ? nullptr : &found->second;
  };
  const auto candidate = [&](const Merge& m, size_t left, size_t right) {
    return Candidate{m.rank, m.result, left, right, symbols[left].id, symbols[right].id};
  };
  const auto consider = [&](size_t left, size_t right) {
    const Merge* merge = find(left, right);
    if (merge == nullptr) return;
    heap.push_back(candidate(*merge, left, right));
    std::push_heap(heap.begin(), heap.end());
  };
  for (size_t i = 1; i < symbols.size(); i++)
    if (const Merge* merge = find(i - 1, i)) heap.push_back(candidate(*merge, i - 1, i));
  std::make_heap(heap.begin(), heap.end());
  while (!heap.empty()) {
    const Candidate best = heap.front();
    std::pop_heap(heap.begin(), heap.end());
    heap.pop_back();
    Symbol& left = symbols[best.left];
    Symbol& right = symbols[best.right];
    if (left.bytes == 0 || right.bytes == 0 || left.id != best.left_id || right.id != best.right_id) continue;
    left.id = best.result;
    left.bytes += right.bytes;
    right.bytes = 0;
    left.next = right.next;
    if (right.next != kNone) symbols[right.next].previous = best.left;
    consider(left.previous, best.left);
    consider(best.left, left.next);
  }

  for (size_t i = 0; i != kNone; i = symbols[i].next) {
    const Symbol& symbol = symbols[i];
    if (symbol.id >= 0 && symbol.id < vocabulary.n_tokens()) {
      ids.push_back(symbol.id);
      continue;
    }
    for (char c : piece.substr(symbol.begin, symbol.bytes))
      if (const int id = fallback_[static_cast<unsigned char>(c)]; id != kNoToken) ids.push_back(id);
  }
}

std::string Bpe::piece(const Vocabulary& vocabulary, int id) const {
  const std::string_view text = vocabulary.texts[id];
  if (vocabulary.types[id] == TokenType::byte)
    return std::string(1, static_cast<char>(*find_byte_token(text)));
  if (!rules_.plain) return from_letters(text);
  return rules_.escape_spaces ? replaced(text, kSpace, " ") : std::string(text);
}

}  // namespace

std::unique_ptr<const TokenizerModel> make_bpe_tokenizer(const Gguf& file, Vocabulary& vocabulary) {
  const auto name = file.find<std::string>(kPre);
  if (!name || name->empty())
    vocabulary.warnings.push_back(fmt::format(
        "{} is missing: 'default' is taken, which may cut text other than the model expects", kPre));
  const PretokenizerKind* kind = find_pretokenizer(!name || name->empty() ? "default" : *name);
  if (kind == nullptr) {
    std::vector<std::string_view> names;
    for (const PretokenizerKind& k : pretokenizer_kinds())
      names.insert(names.end(), k.names.begin(), k.names.end());
    std::sort(names.begin(), names.end());
    std::string list;
    for (std::string_view n : names) list += fmt::format("{}'{}'", list.empty() ? "" : ", ", n);
    file.fail_value(kPre, fmt::format("pre-tokenizer '{}' is not known, allowed {}", printable(*name), list));
  }
  return std::make_unique<Bpe>(file, vocabulary, *kind);
}

std::unique_ptr<const TokenizerModel> make_gemma4_tokenizer(const Gguf& file, Vocabulary& vocabulary) {
  const PretokenizerKind* kind = find_pretokenizer("gemma4");
  auto model = std::make_unique<Bpe>(file, vocabulary, *kind);
  vocabulary.add_bos = true;  // published files say false, and mean true
  return model;
}

}  // namespace spindle
