// Tokenizers: the ids a reference gives, streaming in whole characters, special tokens, bad vocabularies.
#include "models/tokenizer.h"

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "models/utf8.h"
#include "runtime/error.h"
#include "tests/gguf_writer.h"
#include "tests/shared_data.h"

using namespace spindle;

namespace {

// A small SentencePiece vocabulary, whose parts a test may change before writing it.
struct TinyVocabulary {
  std::vector<std::string> tokens = {"<unk>", "<s>", "</s>"};
  std::vector<float> scores = {0, 0, 0};
  std::vector<int32_t> types = {2, 3, 3};
  GgufWriter writer;

  TinyVocabulary() {
    for (int byte = 0; byte < 256; byte++) add(fmt::format("<0x{:02X}>", byte), 6);
    // Scores: "ab" before "bc"; "lo" twice as good as "ll".
    for (const char* text : {"\xE2\x96\x81", "a", "b", "c", "h", "e", "l", "o"}) add(text, 1, -100);
    add("ab", 1, -1);
    add("bc", 1, -2);
    add("ll", 1, -4);
    add("lo", 1, -3);
    add("\xE2\x96\x81h", 1, -5);
    add("\xE2\x96\x81he", 1, -6);
    add("aa", 1, -7);
  }
  int add(const std::string& text, int32_t type, float score = 0) {
    tokens.push_back(text);
    types.push_back(type);
    scores.push_back(score);
    return static_cast<int>(tokens.size()) - 1;
  }
  Gguf file() {
    GgufWriter w = writer;
    w.set("tokenizer.ggml.model", "llama");
    w.set("tokenizer.ggml.tokens", tokens);
    w.set("tokenizer.ggml.scores", scores);
    w.set("tokenizer.ggml.token_type", types);
    return Gguf::parse(w.finish(), "t.gguf");
  }
  Tokenizer make() { return Tokenizer(file()); }
  std::string error() {
    try {
      make();
    } catch (const Error& e) {
      CHECK(e.kind() == ErrorKind::model_file);
      return e.what();
    }
    return "";
  }
};

std::string joined(const Tokenizer& tokenizer, const std::vector<int>& ids) {
  std::string text;
  for (int id : ids) text += (text.empty() ? "" : "|") + tokenizer.vocabulary().texts[id];
  return text;
}

std::string pieces_of(const Tokenizer& tokenizer, std::string_view text, bool parse_special = false) {
  return joined(tokenizer, tokenizer.encode(text, {.add_bos = false, .parse_special = parse_special}));
}

bool contains(const std::string& text, std::string_view part) {
  const bool found = text.find(part) != std::string::npos;
  if (!found) MESSAGE("message: ", text);
  return found;
}

std::string read_text(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

void check_published(const std::filesystem::path& path) {
  CAPTURE(path.string());
  const Tokenizer t(Gguf::open(path.string()));
  const std::string texts = read_text(path.string() + ".inp");
  std::istringstream expected(read_text(path.string() + ".out"));
  const std::string_view mark = "\n__ggml_vocab_test__\n";
  size_t begin = 0, n = 0;
  for (std::string line; std::getline(expected, line); n++) {
    REQUIRE(begin <= texts.size());
    const size_t end = std::min(texts.find(mark, begin), texts.size());
    const std::string text = texts.substr(begin, end - begin);
    begin = end + mark.size();
    std::vector<int> ids;
    std::istringstream numbers(line);
    for (int id = 0; numbers >> id;) ids.push_back(id);
    CHECK_MESSAGE(t.encode(text, {.add_bos = false}) == ids, "text ", n, ": ", text);
    CHECK_MESSAGE(t.decode(ids) == text, "text ", n, ": ", text);
  }
  CHECK(begin >= texts.size());  // every text had its line
  CHECK(n > 40);
}

uint32_t next_random(uint32_t& state) { return (state = state * 1664525u + 1013904223u) >> 8; }

}  // namespace

TEST_CASE("tokenizer: the best score merges first, of equal ones the leftmost") {
  TinyVocabulary v;
  const Tokenizer t = v.make();
  CHECK(pieces_of(t, "abc") == "▁|ab|c");
  CHECK(pieces_of(t, "hello") == "▁he|l|lo");
  CHECK(pieces_of(t, "aaaaa") == "▁|aa|aa|a");
  CHECK(pieces_of(t, "a  a") == "▁|a|▁|▁|a");
  CHECK(pieces_of(t, "é") == "▁|<0xC3>|<0xA9>");
  CHECK(pieces_of(t, "a\xC3") == "▁|a|<0xC3>");
  CHECK(pieces_of(t,
                  "\xC3"
                  "a\xFF\x80") == "▁|<0xC3>|a|<0xFF>|<0x80>");
  CHECK(pieces_of(t, std::string_view("a\0b", 3)) == "▁|a|<0x00>|b");
  CHECK(pieces_of(t, "") == "");
  CHECK(t.encode("") == std::vector<int>{1});
  CHECK(t.encode("a") == std::vector<int>{1, 259, 260});
  CHECK(t.warnings().empty());
  v.writer.set("tokenizer.ggml.add_space_prefix", false);
  v.writer.set("tokenizer.ggml.add_bos_token", false);
  v.writer.set("tokenizer.ggml.add_eos_token", true);
  const Tokenizer plain = v.make();
  CHECK(pieces_of(plain, "abc") == "ab|c");
  CHECK(plain.encode("a", {.add_eos = true}) == std::vector<int>{260, 2});
}

TEST_CASE("tokenizer: special tokens") {
  TinyVocabulary v;
  const int user = v.add("<user>", 4), user_a = v.add("<user>a", 4), over = v.add("a<us", 4);
  const int end = v.add("<|im_end|>", 3);
  const Tokenizer t = v.make();
  CHECK(pieces_of(t, "b<user>c") == "▁|b|<user>|▁|c");
  CHECK(pieces_of(t, "<user>") == "<user>");
  CHECK(pieces_of(t, "<user>ab") == "<user>a|▁|b");
  CHECK(pieces_of(t, "a<user>ab").find("a|<user>a|▁|b") !=
        std::string::npos);  // the longer one wins, not the left one
  CHECK(t.encode("a<use", {.add_bos = false})[0] == over);
  CHECK(t.encode("<user>a<user>", {.add_bos = false}) == std::vector<int>{user_a, user});
  CHECK(pieces_of(t, "<s>b</s>", true) == "<s>|▁|b|</s>");
  CHECK(t.encode("<s>", {.add_bos = false}).size() > 1);
  CHECK(t.is_end(2));
  CHECK(t.is_end(end));
  CHECK(!t.is_end(1));
  CHECK(t.piece(1) == "");
  CHECK(t.piece(1, true) == "<s>");
  CHECK(t.piece(user) == "<user>");
  CHECK_THROWS_WITH_AS(t.piece(10000), "token id 10000 is out of range, allowed 0 to 277", Error);
  CHECK_THROWS_AS(t.piece(-1), Error);
}

TEST_CASE("detokenizer: whole characters only") {
  TinyVocabulary v;
  const Tokenizer t = v.make();
  const auto byte = [](int value) { return 3 + value; };
  Detokenizer d(t);
  CHECK(d.push(byte(0xF0)) == "");
  CHECK(d.push(byte(0x9F)) == "");
  CHECK(d.push(byte(0xA6)) == "");
  CHECK(d.push(byte(0x99)) == "🦙");
  CHECK(d.push(byte(0xC3)) == "");
  CHECK(d.push(260) ==
        "\xEF\xBF\xBD"
        "a");
  CHECK(d.push(byte(0xE2)) == "");
  CHECK(d.push(byte(0x96)) == "");
  CHECK(d.flush() == "\xEF\xBF\xBD");
  CHECK(d.flush() == "");
  CHECK(d.push(byte(0xFF)) == "\xEF\xBF\xBD");
}

TEST_CASE("detokenizer: the space in front of a text is dropped once, and the stream continues a prompt") {
  TinyVocabulary v;
  const Tokenizer t = v.make();
  for (const std::string text : {"hello", " hello", "  a b", "", "é a", "a é"})
    CHECK(t.decode(t.encode(text)) == text);
  const std::vector<int> prompt = t.encode("hello"), more = {259, 260, 3 + 0xC3, 3 + 0xA9};
  Detokenizer stream(t);
  stream.skip(prompt);
  std::string text = "hello";
  for (int id : more) text += stream.push(id);
  text += stream.flush();
  CHECK(text == "hello aé");
  std::vector<int> all = prompt;
  all.insert(all.end(), more.begin(), more.end());
  CHECK(t.decode(all) == text);
  v.writer.set("tokenizer.ggml.add_space_prefix", false);
  const Tokenizer plain = v.make();
  CHECK(plain.decode(std::vector<int>{1, 259, 260}) == " a");
}

TEST_CASE("detokenizer: any ids give valid UTF-8, any text survives the way there and back") {
  TinyVocabulary v;
  v.add("<user>", 4);
  const Tokenizer t = v.make();
  uint32_t random = 1;
  for (int round = 0; round < 300; round++) {
    std::vector<int> ids;
    for (int i = 0; i < 40; i++)
      ids.push_back(static_cast<int>(next_random(random) % static_cast<uint32_t>(t.n_tokens())));
    Detokenizer d(t);
    std::string text;
    for (int id : ids) {
      const std::string part = d.push(id);
      CHECK(is_utf8(part));
      text += part;
    }
    text += d.flush();
    CHECK(is_utf8(text));
    CHECK(text == t.decode(ids));
    CHECK(t.decode(t.encode(text)).size() >= text.size());  // a space more after a user-defined token
    std::string bytes;
    for (int i = 0; i < 40; i++) bytes += static_cast<char>(next_random(random));
    std::string back;
    for (int id : t.encode(bytes, {.add_bos = false})) back += t.piece(id);
    CHECK(back == " " + bytes);
  }
}

TEST_CASE("tokenizer: vocabularies that are wrong (G30, G31, G33)") {
  {
    TinyVocabulary v;
    v.scores.pop_back();
    CHECK(contains(v.error(), "key 'tokenizer.ggml.scores': value at byte "));
    CHECK(contains(v.error(), "273 values, but tokenizer.ggml.tokens has 274"));
  }
  {
    TinyVocabulary v;
    v.types.push_back(1);
    CHECK(contains(v.error(), "key 'tokenizer.ggml.token_type'"));
  }
  {
    TinyVocabulary v;
    v.types[5] = 7;
    CHECK(contains(v.error(), "type of token 5 is 7, allowed 0 to 6"));
  }
  {
    TinyVocabulary v;
    v.scores[3] = std::numeric_limits<float>::quiet_NaN();
    CHECK(contains(v.error(), "score 3 is nan"));
  }
  for (const char* key : {"bos", "eos", "eot", "eom", "unknown"}) {
    TinyVocabulary v;
    v.writer.set(fmt::format("tokenizer.ggml.{}_token_id", key), uint32_t{274});
    CHECK(contains(v.error(), fmt::format("key 'tokenizer.ggml.{}_token_id': value at byte", key)));
    CHECK(contains(v.error(), "token id 274, allowed 0 to 273"));
  }
  for (const char* text : {"<0x-1>", "<0xZZ>", "<0x1>", "<0x100>", "0x01", ""}) {
    TinyVocabulary v;
    v.tokens[4] = text;
    CHECK(contains(v.error(), fmt::format("token 4: bad byte token '{}', allowed <0x00> to <0xFF>", text)));
  }
  {
    TinyVocabulary v;
    v.tokens[4] = "<0x00>";
    CHECK(contains(v.error(), "bad byte token: <0x01> is missing"));
  }
  {
    TinyVocabulary v;
    v.tokens.clear(), v.scores.clear(), v.types.clear();
    CHECK(contains(v.error(), "0 tokens, allowed 1 to"));
  }
  const auto error_of_model = [](GgufWriter w) {
    try {
      Tokenizer(Gguf::parse(w.finish(), "t.gguf"));
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  GgufWriter w;
  CHECK(error_of_model(w) == "t.gguf: key 'tokenizer.ggml.model' is missing");
  w.set("tokenizer.ggml.model", "word\npiece");
  CHECK(contains(error_of_model(w), "tokenizer 'word\\x0Apiece' is not supported, allowed 'llama'"));
  GgufWriter no_tokens;
  no_tokens.set("tokenizer.ggml.model", "llama");
  CHECK(error_of_model(no_tokens) == "t.gguf: key 'tokenizer.ggml.tokens' is missing");
}

TEST_CASE("tokenizer: vocabularies that load with a warning (G32)") {
  TinyVocabulary v;
  const int later = v.add("a", 1, -1);
  v.add("", 5);
  v.writer.set("tokenizer.ggml.padding_token_id", uint32_t{0xFFFFFFFF});
  const Tokenizer t = v.make();
  REQUIRE(t.warnings().size() == 3);
  CHECK(contains(t.warnings()[0], "1 empty tokens"));
  CHECK(contains(t.warnings()[1], "1 duplicate tokens, the first is 'a'"));
  CHECK(contains(t.warnings()[2], "padding_token_id: token id 4294967295"));
  CHECK(t.encode("a", {.add_bos = false}) == std::vector<int>{259, later});

  GgufWriter bare;  // tokens only: types are guessed
  bare.set("tokenizer.ggml.model", "llama");
  bare.set("tokenizer.ggml.tokens", TinyVocabulary().tokens);
  const Tokenizer guessed(Gguf::parse(bare.finish(), "t.gguf"));
  CHECK(guessed.warnings().size() == 2);
  CHECK(guessed.decode(guessed.encode("aé")) == "aé");
  CHECK(guessed.piece(2) == "");

  GgufWriter words;  // no byte tokens
  words.set("tokenizer.ggml.model", "llama");
  words.set("tokenizer.ggml.tokens", std::vector<std::string>{"<unk>", "<s>", "</s>", "\xE2\x96\x81", "a"});
  const Tokenizer no_bytes(Gguf::parse(words.finish(), "t.gguf"));
  CHECK(no_bytes.encode("aé") == std::vector<int>{1, 3, 4, 0, 0});
}

TEST_CASE("tokenizer: a megabyte takes no longer than its length asks for") {
  TinyVocabulary v;
  for (int i = 1; i < 5000; i++) v.add("<unused" + std::to_string(i) + ">", 4);
  const Tokenizer t = v.make();
  for (const std::string part : {"a", "<", " ", "hello <unused77>", "\xF0", "é"}) {
    std::string text;
    while (text.size() < 1 << 20) text += part;
    const std::clock_t start = std::clock();
    CHECK(!t.encode(text).empty());
    const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
    CHECK_MESSAGE(seconds < 10, "repeated: ", part);  // a quadratic one takes hours
  }
}

TEST_CASE("tokenizer: published vocabularies give the expected ids") {
  const auto folder = shared_or_skip("vocab");
  if (!folder) return;
  int n_files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(*folder)) {
    if (entry.path().extension() != ".gguf") continue;
    n_files++;
    check_published(entry.path());
  }
  CHECK(n_files >= 5);
}

TEST_CASE("tokenizer: the shared models' vocabularies load, and a text comes back") {
  const auto stories = shared_or_skip("models/stories260K-f32.gguf");
  if (!stories) return;
  const Tokenizer t(Gguf::open(stories->string()));
  CHECK(t.n_tokens() == 512);
  CHECK(t.bos() == 1);
  CHECK(t.eos() == 2);
  CHECK(t.warnings().empty());
  CHECK(t.encode("Once upon a time") == std::vector<int>{1, 403, 407, 261, 378});
  const std::string text = read_text(*shared_or_skip("models/stories260K.expected.txt"));
  CHECK(t.decode(t.encode(text)) == text);
  for (const auto& entry : std::filesystem::directory_iterator(*shared_or_skip("golden"))) {
    if (entry.path().extension() != ".gguf") continue;
    const Tokenizer golden(Gguf::open(entry.path().string()));
    CHECK(golden.vocabulary().unknown == 0);
    CHECK(is_utf8(golden.decode(golden.encode(text))));
  }
}
