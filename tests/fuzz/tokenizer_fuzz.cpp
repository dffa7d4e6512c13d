// libFuzzer target: bytes choose a pre-tokenizer and a small vocabulary, the rest is a text that must come
// back.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "models/pretokenizer.h"
#include "models/tokenizer.h"
#include "models/utf8.h"
#include "runtime/error.h"
#include "tests/gguf_writer.h"

namespace {

using namespace spindle;

// GPT-2's letter of a byte, as UTF-8.
std::string letter(unsigned byte) {
  unsigned c = byte;
  if (byte < 0x21) c = 0x100 + byte;
  else if (byte >= 0x7F && byte <= 0xA0) c = 0x121 + byte - 0x7F;
  else if (byte == 0xAD) c = 0x143;
  if (c < 0x80) return std::string(1, static_cast<char>(c));
  return {static_cast<char>(0xC0 | c >> 6), static_cast<char>(0x80 | (c & 0x3F))};
}

void check(bool ok) {
  if (!ok) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 4) return 0;
  const auto& kinds = pretokenizer_kinds();
  const PretokenizerKind& kind = kinds[data[0] % kinds.size()];
  const bool sentence_piece = data[1] & 1, valid = data[1] & 2;
  const size_t n_merges = data[2] % 32;
  size_t at = 3;
  std::vector<std::string> tokens, merges;
  std::vector<int32_t> types;
  std::vector<float> scores;
  const auto add = [&](const std::string& text, int32_t type) {
    tokens.push_back(text);
    types.push_back(type);
    scores.push_back(-static_cast<float>(tokens.size()));
  };
  for (unsigned byte = 0; byte < 256; byte++) {
    char tag[8];
    std::snprintf(tag, sizeof tag, "<0x%02X>", byte);
    add(tag, 6);
    if (!sentence_piece) add(letter(byte), 1);
  }
  // Merges of any two tokens before them; what is not valid must be refused or do no harm.
  for (size_t i = 0; i < n_merges && at + 2 < size; i++, at += 2) {
    const std::string left = tokens[data[at] % tokens.size()], right = tokens[data[at + 1] % tokens.size()];
    merges.push_back(valid || data[at] % 16 != 0 ? left + " " + right : left);
    add(left + right, valid ? 1 : static_cast<int32_t>(data[at + 1] % 7));
  }
  GgufWriter w;
  w.set("tokenizer.ggml.model", sentence_piece ? "llama" : "gpt2");
  w.set("tokenizer.ggml.pre", std::string(kind.names[0]));
  w.set("tokenizer.ggml.tokens", tokens);
  w.set("tokenizer.ggml.token_type", types);
  w.set("tokenizer.ggml.scores", scores);
  if (!merges.empty()) w.set("tokenizer.ggml.merges", merges);
  const std::string text(reinterpret_cast<const char*>(data + at), size - at);
  try {
    const Tokenizer tokenizer(Gguf::parse(w.finish(), "fuzz"));
    const std::vector<int> ids = tokenizer.encode(text, {.add_bos = false, .parse_special = !valid});
    check(is_utf8(tokenizer.decode(ids)));
    if (!valid || sentence_piece || kind.rules.plain) return 0;
    std::string back;
    for (int id : ids) back += tokenizer.piece(id, true);
    check(back == text);
  } catch (const Error&) {
    check(!valid || merges.empty());  // a sound vocabulary takes any text
  }
  return 0;
}
