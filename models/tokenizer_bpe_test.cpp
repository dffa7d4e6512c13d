// Byte-level BPE: where families cut a text, the order of merges, bad vocabularies, any bytes there and back.
#include <doctest/doctest.h>
#include <fmt/core.h>

#include <ctime>
#include <limits>
#include <set>

#include "models/pretokenizer.h"
#include "models/tokenizer.h"
#include "models/utf8.h"
#include "runtime/error.h"
#include "tests/gguf_writer.h"

using namespace spindle;

namespace {

// GPT-2's letter of a byte.
std::string letters(std::string_view bytes) {
  std::string text;
  for (char ch : bytes) {
    const auto byte = static_cast<unsigned char>(ch);
    unsigned c = byte;
    if (byte < 0x21) c = 0x100 + byte;
    else if (byte >= 0x7F && byte <= 0xA0) c = 0x121 + byte - 0x7Fu;
    else if (byte == 0xAD) c = 0x143;
    if (c >= 0x80) text += static_cast<char>(0xC0 | c >> 6);
    text += static_cast<char>(c < 0x80 ? c : 0x80 | (c & 0x3F));
  }
  return text;
}

struct TinyBpe {
  std::vector<std::string> tokens, merges;
  std::vector<int32_t> types;
  GgufWriter writer;
  std::string pre = "gpt-2", model = "gpt2";

  TinyBpe() {
    for (int byte = 0; byte < 256; byte++) add(letters(std::string(1, static_cast<char>(byte))));
    for (const char* m : {"l l", "h e", "he ll", "hell o", "\xC4\xA0 hello", "a b", "b c", "a a", "aa aa"})
      merge(m);
  }
  int add(const std::string& text, int32_t type = 1) {
    tokens.push_back(text);
    types.push_back(type);
    return static_cast<int>(tokens.size()) - 1;
  }
  void merge(const std::string& line) {
    merges.push_back(line);
    std::string both = line;
    both.erase(both.find(' ', 1), 1);
    add(both);
  }
  Tokenizer make() const {
    GgufWriter w = writer;
    w.set("tokenizer.ggml.model", model);
    if (!pre.empty()) w.set("tokenizer.ggml.pre", pre);
    w.set("tokenizer.ggml.tokens", tokens);
    w.set("tokenizer.ggml.token_type", types);
    w.set("tokenizer.ggml.merges", merges);
    return Tokenizer(Gguf::parse(w.finish(), "t.gguf"));
  }
  std::string error() const {
    try {
      make();
    } catch (const Error& e) {
      CHECK(e.kind() == ErrorKind::model_file);
      return e.what();
    }
    return "";
  }
};

std::string pieces_of(const Tokenizer& t, std::string_view text, bool special = false) {
  std::string out;
  for (int id : t.encode(text, {.add_bos = false, .parse_special = special}))
    out += (out.empty() ? "" : "|") + t.piece(id, true);
  return out;
}

std::string cut(std::string_view name, std::string_view text) {
  const PretokenizerKind* kind = find_pretokenizer(name);
  REQUIRE(kind != nullptr);
  std::string out;
  size_t begin = 0;
  for (size_t end : Pretokenizer(kind->steps).split(text)) {
    out += (begin == 0 ? "" : "|") + std::string(text.substr(begin, end - begin));
    begin = end;
  }
  CHECK(begin == text.size());
  return out;
}

uint32_t next_random(uint32_t& state) { return (state = state * 1664525u + 1013904223u) >> 8; }

}  // namespace

TEST_CASE("bpe tokenizer: merges by rank, of equal ones the leftmost") {
  TinyBpe v;
  const Tokenizer t = v.make();
  CHECK(t.warnings().empty());
  CHECK(pieces_of(t, "hello hello") == "hello| hello");
  CHECK(pieces_of(t, "abc") == "ab|c");
  CHECK(pieces_of(t, "aaaaa") == "aaaa|a");
  CHECK(pieces_of(t, "hel") == "he|l");
  CHECK(pieces_of(t, "é") == "\xC3|\xA9");
  CHECK(t.encode("\xC3\xFF", {.add_bos = false}) == std::vector<int>{0xC3, 0xFF});
  CHECK(t.encode("").empty());
  CHECK(!t.vocabulary().add_bos);
  CHECK(t.bos() == 11);
  // A piece that is a token, though no merge makes it.
  v.add("hexx");
  CHECK(pieces_of(v.make(), "hexx") == "he|x|x");
  v.pre = "llama-bpe";
  CHECK(pieces_of(v.make(), "hexx") == "hexx");
  CHECK(v.make().encode("a") == std::vector<int>{11, 'a'});
  v.writer.set("tokenizer.ggml.add_bos_token", false);
  CHECK(v.make().encode("a") == std::vector<int>{'a'});
  v.pre = "chatglm-bpe";
  CHECK(!v.make().bos());
}

TEST_CASE("bpe tokenizer: special tokens, and those that take white space") {
  TinyBpe v;
  v.add("<|user|>", 4), v.add("<ctl>", 3);
  const int turn = v.add("<|im_end|>", 1);
  const Tokenizer t = v.make();
  CHECK(pieces_of(t, "a<|user|>hello") == "a|<|user|>|hello");
  CHECK(pieces_of(t, "<ctl>") == "<|c|t|l|>");
  CHECK(pieces_of(t, "a <ctl>\n hello", true) == "a| |<ctl>|\n| hello");
  CHECK(t.is_end(turn));
  CHECK(t.piece(turn) == "");
  CHECK(t.encode("<|im_end|>", {.add_bos = false, .parse_special = true}) == std::vector<int>{turn});
  REQUIRE(t.warnings().size() == 1);
  CHECK(t.warnings()[0].find("1 tokens are control tokens by their text") != std::string::npos);
  v.writer.set("general.name", "Phi-3 mini");
  CHECK(pieces_of(v.make(), "a <ctl>\n hello", true) == "a| |<ctl>|hello");
}

TEST_CASE("pre-tokenizers: where families cut") {
  CHECK(cut("gpt-2", "Hello, world's 123  it'S\n\n x") == "Hello|,| world|'s| 123| | it|'|S|\n\n| x");
  CHECK(cut("llama-bpe", "Hello, world'S 12345  x\n\n y\t") == "Hello|,| world|'S| |123|45| | x|\n\n| y|\t");
  CHECK(cut("qwen2", "x123.\n\na\u00A0b") == "x|1|2|3|.\n\n|a|\u00A0b");
  CHECK(cut("qwen2", "न\u092E\u0938\u094D\u0924") == "नमस|\u094Dत");
  CHECK(cut("qwen35", "न\u092E\u0938\u094D\u0924") == "नमस्त");
  CHECK(cut("falcon", "a1234.b") == "a|123|4|.|b");
  CHECK(cut("starcoder", " 12 a") == " |1|2| a");
  CHECK(cut("tekken", "HTTPServer 12") == "HTTPServer| |1|2");
  CHECK(cut("gpt-4o", "helloWorld's ÉCOLE/\n") == "hello|World's| É|COLE|/\n");  // as llama.cpp has it
  CHECK(cut("deepseek-llm", "ab 漢字 12\n  ") == "ab| |漢字| |12|\n|  ");
  CHECK(cut("deepseek-v3", "12345漢字_ab") == "123|45|漢字|_ab");
  CHECK(cut("bloom", "a, b") == "a|,| b");
  CHECK(cut("superbpe", "1234567") == "1|234|567");
  CHECK(cut("tiny_aya", "12345") == "12|345");
  CHECK(cut("afmoe", "x12345y") == "x|12|345|y");
  CHECK(cut("kimi-k2", "abc漢字def") == "abc|漢字|def");
  CHECK(cut("exaone-moe", "good day 1") == "good day| |1");
  CHECK(cut("jais-2", std::string(11, ' ') + "x") == "        |  | x");
  // Unicode 15's letters and numbers, whatever version the expressions' library has.
  CHECK(cut("llama-bpe", "a\U0001E030\U00031350b") == "a\U0001E030\U00031350b");
  CHECK(cut("qwen2", "\U0001E4F0\U0001E4F1") == "\U0001E4F0|\U0001E4F1");
  CHECK(cut("gpt-2", "a\u3000\u2003b") == "a|\u3000|\u2003|b");
  std::set<std::string_view> names;
  for (const PretokenizerKind& kind : pretokenizer_kinds())
    for (std::string_view name : kind.names) CHECK_MESSAGE(names.insert(name).second, "twice: ", name);
}

TEST_CASE("bpe tokenizer: any bytes come back, and what is streamed is UTF-8") {
  uint32_t random = 7;
  const std::vector<std::string> parts = {"a",    "B",        "1",      "23", " ",    "\n",     "\r\n",
                                          "\t",   "'s",       "é",      "漢", "٣",    "\u0301", "🦙",
                                          "\xFF", "\xE2\x96", "\u3000", ".",  "hello"};
  for (const PretokenizerKind& kind : pretokenizer_kinds()) {
    if (kind.rules.plain) continue;
    TinyBpe v;
    v.pre = std::string(kind.names[0]);
    const Tokenizer t = v.make();
    CAPTURE(v.pre);
    for (int round = 0; round < 60; round++) {
      std::string text;
      while (text.size() < 60)
        text += round % 2 == 0 ? parts[next_random(random) % parts.size()]
                               : std::string(1, static_cast<char>(next_random(random)));
      std::string back, streamed;
      Detokenizer d(t);
      for (int id : t.encode(text, {.add_bos = false})) {
        back += t.piece(id);
        const std::string part = d.push(id);
        CHECK(is_utf8(part));
        streamed += part;
      }
      streamed += d.flush();
      CHECK(back == text);
      if (is_utf8(text)) CHECK(streamed == text);
    }
  }
}

TEST_CASE("bpe tokenizer: time is linear in the text") {
  TinyBpe v;
  for (const PretokenizerKind& kind : pretokenizer_kinds()) {
    const Pretokenizer p(kind.steps);
    for (const std::string part : {"a", "A", "1", " ", "\n", "é", "漢", ".", "\u0301", " a", "'"}) {
      std::string text;
      while (text.size() < 100000) text += part;
      text += "x";
      const std::clock_t start = std::clock();
      CHECK(!p.split(text).empty());
      const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
      CHECK_MESSAGE(seconds < 3, kind.names[0], " repeated: '", part, "'");  // a quadratic one takes minutes
    }
  }
  const Tokenizer t = v.make();
  const std::string word(1000000, 'a');
  const std::clock_t start = std::clock();
  CHECK(t.encode(word).size() == 250000);
  CHECK(static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC < 5);
}

TEST_CASE("bpe tokenizer: a byte without a token never becomes the end of the text") {
  for (const int32_t type : {3, 1, 2}) {  // control, normal, unknown
    TinyBpe b;
    b.tokens[0xFF] = "no byte";
    const int end = b.add("<|some end|>", type);
    b.writer.set("tokenizer.ggml.unknown_token_id", static_cast<uint32_t>(end));
    b.writer.set("tokenizer.ggml.eos_token_id", static_cast<uint32_t>(type == 2 ? 0 : end));
    const Tokenizer t = b.make();
    const std::vector<int> ids = t.encode("a\xFF");
    if (type == 2) {
      CHECK(ids == std::vector<int>{'a', end});
      continue;
    }
    CHECK(ids == std::vector<int>{'a'});
    CHECK(t.warnings().at(0).find("1 bytes have no token, the first is 0xFF") != std::string::npos);
  }
}

TEST_CASE("bpe tokenizer: bad vocabularies (G31, G32, G35) and a pre-tokenizer that is missing or unknown") {
  const auto contains = [](const std::string& text, std::string_view part) {
    CAPTURE(text);
    CHECK(text.find(part) != std::string::npos);
  };
  for (const char* line : {"ab", "", "a ", " a"}) {
    TinyBpe v;
    v.merges[2] = line;
    contains(v.error(), fmt::format("key 'tokenizer.ggml.merges'"));
    contains(v.error(), fmt::format("bad merge 2: '{}': allowed: two parts with a space between", line));
  }
  {
    TinyBpe v;
    v.merges[3] = "hell \xC4\xA0zz";
    contains(v.error(), "bad merge 3");
    contains(v.error(), "'\xC4\xA0zz' is no token");
  }
  {
    TinyBpe v;
    v.merges.push_back("x y");  // a result that is no token: its bytes come out, with a warning
    const Tokenizer t = v.make();
    REQUIRE(t.warnings().size() == 1);
    contains(t.warnings()[0], "merge 9 makes 'xy', which is no token");
    CHECK(t.encode("xy", {.add_bos = false}) == std::vector<int>{'x', 'y'});
  }
  {
    TinyBpe v;
    v.writer.set("tokenizer.ggml.bos_token_id", uint32_t{100000});
    contains(v.error(), "token id 100000, allowed 0 to");
  }
  {
    TinyBpe v;
    const int later = v.add("hello");
    const Tokenizer t = v.make();
    REQUIRE(t.warnings().size() == 1);
    contains(t.warnings()[0], "1 duplicate tokens");
    CHECK(t.encode("hello", {.add_bos = false}) == std::vector<int>{later});
  }
  {
    TinyBpe v;
    v.tokens[0] = "gone";
    const Tokenizer t = v.make();
    REQUIRE(t.warnings().size() == 1);
    contains(t.warnings()[0], "1 bytes have no token, the first is 0x00");
    CHECK(t.encode(std::string_view("a\0b", 3), {.add_bos = false}) == std::vector<int>{'a', 'b'});
  }
  TinyBpe v;
  v.pre = "nonsense\n";
  contains(v.error(), "key 'tokenizer.ggml.pre'");
  contains(v.error(), "pre-tokenizer 'nonsense\\x0A' is not known, allowed ");
  contains(v.error(), "'llama-bpe'");
  v.pre = "";
  REQUIRE(v.make().warnings().size() == 1);
  contains(v.make().warnings()[0], "tokenizer.ggml.pre is missing: 'default'");
  CHECK(pieces_of(v.make(), "hello.hello") == "hello|.|hello");
  GgufWriter w;
  w.set("tokenizer.ggml.model", "gpt2");
  w.set("tokenizer.ggml.pre", "gpt-2");
  w.set("tokenizer.ggml.tokens", v.tokens);
  CHECK_THROWS_WITH_AS(Tokenizer(Gguf::parse(w.finish(), "t.gguf")),
                       "t.gguf: key 'tokenizer.ggml.merges' is missing", Error);
}
