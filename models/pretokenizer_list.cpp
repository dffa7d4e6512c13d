// The pre-tokenizers that GGUF files name, each with the expressions of the models' own tokenizers in the
// form in which llama.cpp runs them: published GGUF files were checked against that. Repeated groups are
// written as classes or possessively, so that no text makes them back up.
#include <algorithm>

#include "models/pretokenizer.h"

namespace spindle {
namespace {

#define CONTRACTION "'[sStTmMdD]|'[rR][eE]|'[vV][eE]|'[lL][lL]"
#define SPACES R"(\s*[\r\n]+|\s+(?!\S)|\s+)"
#define LETTERS R"([^\r\n\p{L}\p{N}]?\p{L}+)"
#define OTHERS R"( ?[^\s\p{L}\p{N}]+)"

constexpr std::string_view kGpt2 =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S))";
constexpr std::string_view kLlama3 = CONTRACTION "|" LETTERS R"(|\p{N}{1,3}|)" OTHERS R"([\r\n]*|)" SPACES;
constexpr std::string_view kQwen2 = CONTRACTION "|" LETTERS R"(|\p{N}|)" OTHERS R"([\r\n]*|)" SPACES;

// Words of capitals, then of small letters; what has no case is both. U and V: letters but a-z and but A-Z.
#define CASED_WORD(U, V, END) R"([^\r\n\p{L}\p{N}]?)" U "*" V "+" END R"(|[^\r\n\p{L}\p{N}]?)" U "+" V "*" END
constexpr std::string_view kTekken =
    CASED_WORD(R"([^\P{L}a-z])", R"([^\P{L}A-Z])", "") R"(|\p{N}|)" OTHERS R"([\r\n/]*|)" SPACES;
constexpr std::string_view kGpt4o =
    CASED_WORD(R"([^\P{L}a-z])", R"([^\P{L}A-Z])", "(?:" CONTRACTION ")?") R"(|\p{N}{1,3}|)" OTHERS
                                                                           R"([\r\n/]*|)" SPACES;
constexpr std::string_view kGraniteEmbedding =  // the same with marks
    CASED_WORD(R"([^\p{N}\p{P}\p{S}\p{Z}\p{C}a-z])", R"([^\p{N}\p{P}\p{S}\p{Z}\p{C}A-Z])",
               "(?:" CONTRACTION ")?") R"(|\p{N}{1,3}|)" OTHERS R"([\r\n/]*|)" SPACES;
#define MARKED_WORD R"([^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+(?:)" CONTRACTION ")?"

#define ASCII_PUNCTUATION R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~])"
constexpr std::string_view kDeepseek3 =
    ASCII_PUNCTUATION R"([A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|)" SPACES;
constexpr std::string_view kHanAndKana = R"([\x{4E00}-\x{9FA5}\x{3040}-\x{309F}\x{30A0}-\x{30FF}]+)";

// Kimi K2: runs of Han characters, and words without any. Unicode's CJK blocks.
#define HAN                                                                               \
  R"(\x{4E00}-\x{9FFF}\x{3400}-\x{4DBF}\x{20000}-\x{2A6DF}\x{2A700}-\x{2B73F}\x{2B740}-)" \
  R"(\x{2B81F}\x{2B820}-\x{2CEAF}\x{2CEB0}-\x{2EBEF}\x{F900}-\x{FAFF}\x{2F800}-\x{2FA1F})"
constexpr std::string_view kKimi = "[" HAN R"(]+|[^\r\n\p{L}\p{N}]?[^\P{L})" HAN "]+(?:" CONTRACTION
                                   R"()?|\p{N}{1,3}|)" OTHERS R"([\r\n]*|)" SPACES;

// DeepSeek LLM: the letters with case, as its tokenizer.json lists them.
constexpr std::string_view kCasedLetters =
    R"(\s?[A-Za-z\x{B5}\x{C0}-\x{D6}\x{D8}-\x{F6}\x{F8}-\x{1BA}\x{1BC}-\x{1BF}\x{1C4}-\x{293})"
    R"(\x{295}-\x{2AF}\x{370}-\x{373}\x{376}\x{377}\x{37B}-\x{37D}\x{37F}\x{386}\x{388}-\x{38A})"
    R"(\x{38C}\x{38E}-\x{3A1}\x{3A3}-\x{3F5}\x{3F7}-\x{481}\x{48A}-\x{52F}\x{531}-\x{556})"
    R"(\x{10A0}-\x{10C5}\x{13A0}-\x{13F5}\x{13F8}-\x{13FD}\x{1C90}-\x{1CBA}\x{1CBD}-\x{1CBF})"
    R"(\x{1D00}-\x{1D2B}\x{1D6B}-\x{1D77}\x{1D79}-\x{1D9A}\x{1E00}-\x{1F15}\x{1F18}-\x{1F1D})"
    R"(\x{1F20}-\x{1F45}\x{1F48}-\x{1F4D}\x{1F50}-\x{1F57}\x{1F59}\x{1F5B}\x{1F5D})"
    R"(\x{1F5F}-\x{1F7D}\x{1F80}-\x{1FB4}\x{1FB6}-\x{1FBC}\x{1FBE}\x{1FC2}-\x{1FC4})"
    R"(\x{1FC6}-\x{1FCC}\x{1FD0}-\x{1FD3}\x{1FD6}-\x{1FDB}\x{1FE0}-\x{1FEC}\x{1FF2}-\x{1FF4})"
    R"(\x{1FF6}-\x{1FFC}\x{2102}\x{2107}\x{210A}-\x{2113}\x{2115}\x{2119}-\x{211D}\x{2124})"
    R"(\x{2126}\x{2128}\x{212A}-\x{212D}\x{212F}-\x{2134}\x{2139}\x{213C}-\x{213F})"
    R"(\x{2145}-\x{2149}\x{214E}\x{2183}\x{2184}\x{2C00}-\x{2C7B}\x{2C7E}-\x{2CE4})"
    R"(\x{2CEB}-\x{2CEE}\x{2CF2}\x{2CF3}\x{A640}-\x{A66D}\x{A680}-\x{A69B}\x{A722}-\x{A76F})"
    R"(\x{A771}-\x{A787}\x{A78B}-\x{A78E}\x{AB70}-\x{ABBF}\x{FB00}-\x{FB06}\x{FB13}-\x{FB17})"
    R"(\x{FF21}-\x{FF3A}\x{FF41}-\x{FF5A}\x{10400}-\x{1044F}\x{104B0}-\x{104D3})"
    R"(\x{104D8}-\x{104FB}\x{10C80}-\x{10CB2}\x{10CC0}-\x{10CF2}\x{118A0}-\x{118DF})"
    R"(\x{1E900}-\x{1E943}]+)";
constexpr std::string_view kCjkAndHangul = R"([\x{4E00}-\x{9FA5}\x{800}-\x{4E00}\x{AC00}-\x{D7FF}]+)";

constexpr std::string_view kBloom = R"( ?[^(\s|.,!?\x{2026}\x{3002}\x{FF0C}\x{3001}\x{964}\x{6D4}\x{60C})]+)";
constexpr std::string_view kLines = "[^\\n]+|[\\n]+";

std::vector<PretokenizerKind> make_kinds() {
  using Steps = std::vector<PretokenizerStep>;
  const Steps gpt2 = {{kGpt2}}, llama3 = {{kLlama3}}, qwen2 = {{kQwen2}},
              single_digits = {{"\\p{N}"}, {kGpt2}}, gpt4o = {{kGpt4o}},
              deepseek3 = {{"\\p{N}{1,3}"}, {kHanAndKana}, {kDeepseek3}};
  return {
      // "default" is also what a file without tokenizer.ggml.pre gets.
      {{"default"}, {{R"([\p{P}\$\+<=>\^~\|]+)"}, {kGpt2}, {"\\p{N}+"}, {"[0-9][0-9][0-9]"}}},
      {{"llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2",
        "jina-v5-nano"},
       llama3,
       {.ignore_merges = true, .add_bos = true}},
      {{"dbrx", "smaug-bpe"}, llama3},
      {{"chatglm-bpe"}, llama3, {.default_bos = false}},
      {{"glm4", "glm5"}, llama3, {.ignore_merges = true, .default_bos = false}},
      {{"deepseek-llm"},
       {{"[\\r\\n]"},
        {kCasedLetters},
        {R"(\s?[!-/:-~\x{FF01}-\x{FF0F}\x{FF1A}-\x{FF5E}\x{2018}-\x{201F}\x{3000}-\x{3002}]+)"},
        {R"((?<!\s)\s+$)"},  // the look behind only spares searching on inside a run
        {kCjkAndHangul},
        {"\\p{N}+"}}},
      {{"deepseek-coder"}, {{"[\\r\\n]"}, {"\\s?\\p{L}+"}, {"\\s?\\p{P}+"}, {kCjkAndHangul}, {"\\p{N}"}}},
      {{"deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"}, deepseek3},
      {{"spark2_5"},
       {{"\\p{N}{1,3}"},
        {kHanAndKana},
        {ASCII_PUNCTUATION
         R"([A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+|[\r\n]|\s+(?!\S)|\s+)"},
        {"\\p{N}"}}},
      {{"youtu"},
       {{R"([\x{AC00}-\x{D7A3}\x{3131}-\x{318E}]+|[\x{FF01}\x{2026}\x{201C}\x{201D}\x{2018}\x{2019})"
         R"(\x{2014}\x{FF1A}\x{FF1B}\x{FF0C}\x{3001}-\x{303F}\x{FE30}-\x{FE4F}]+|[\x{3105}-\x{312F}])"
         R"(+|[\x{4E00}-\x{9FA5}\x{3040}-\x{309F}\x{30A0}-\x{30FF}]+)"},
        {MARKED_WORD R"(|\p{N}|)" OTHERS R"([\r\n/]*|)" SPACES}},
       {.ignore_merges = true}},
      {{"falcon"}, {{R"([\p{P}\$\+<=>\^~\|`]+)"}, {kGpt2}, {"[0-9][0-9][0-9]"}}},
      {{"gpt-2", "phi-2", "mpt", "olmo", "jais", "trillion", "granite-docling", "exaone4", "jina-es",
        "jina-de", "gigachat", "jina-v2-es", "jina-v2-de", "a.x-4.0", "mellum", "modern-bert", "jina-v1-en",
        "jina-v2-code", "roberta-bpe"},
       gpt2},
      {{"starcoder", "refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b", "mellum2"},
       single_digits},
      {{"qwen2", "deepseek-r1-qwen", "kormo", "f2llmv2", "stablelm2", "hunyuan", "megrez", "solar-open",
        "grok-2"},
       qwen2},
      {{"qwen35"},
       {{CONTRACTION R"(|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|)" SPACES}}},
      {{"laguna"}, {{kLines}, {kQwen2}}},
      {{"ufakzeka"}, {{LETTERS R"(|\p{N}|)" OTHERS R"([\r\n]*|)" SPACES}}},
      {{"minicpm5"},
       {{"\\p{N}{1,3}"}, {CONTRACTION "|" LETTERS R"(|\p{N}+|)" OTHERS R"([\r\n]*|)" SPACES}},
       {.ignore_merges = true}},
      {{"jais-2"},
       // Long white space goes in powers of two. The look behind keeps the search for a newline from starting
       // again in every part: once there was none, there is none.
       {{CONTRACTION
         "|" LETTERS R"(|\p{N}{1,3}|)" OTHERS
         R"([\r\n]*|(?<![^\S\r\n])\s*[\r\n]+|\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|)"
         R"(\s{32}(?!\S)|\s{16}(?!\S)|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s)"}}},
      {{"poro-chat", "bloom", "gpt3-finnish"}, {{kBloom}}},
      {{"viking"}, {{kBloom}, {"\\p{N}"}}},
      {{"tekken"}, {{kTekken}}, {.ignore_merges = true, .add_bos = true}},
      {{"gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"}, gpt4o},
      {{"granite-embed-multi-97m"}, {{kGraniteEmbedding}}, {.ignore_merges = true}},
      {{"tiny_aya", "cohere2moe"},
       {{"\\p{N}+", Threes::after}, {MARKED_WORD R"(|\p{N}{1,3}|)" OTHERS R"([\r\n/]*|)" SPACES}}},
      {{"chameleon"},
       {{"<sentinel:[0-9]+>"},
        {"IMGIMG[A-I]{1,4}Z"},
        {"[\\t\\n]|    |  "},
        {"\\p{N}"},
        {R"([\p{P}!-/:-@\[-`{-~])"},
        {kGpt2}},
       {.add_bos = true}},
      {{"kimi-k2"}, {{kKimi}}},
      {{"k2-horizon"},
       {{R"('\x{17F}|)" CONTRACTION R"(|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}\x{200C}\x{200D}]+|\p{N}{1,3}|)" OTHERS
         R"([\r\n]*|)" SPACES}}},
      {{"superbpe"}, {{"\\p{N}+"}, {"[0-9]+", Threes::before}}},
      {{"bailingmoe", "bailingmoe2", "llada-moe"},
       {{CONTRACTION "|" LETTERS R"(|\p{N}|)" OTHERS R"([\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+)"}}},
      {{"seed-coder"}, {{CONTRACTION "|" LETTERS R"(|\p{N}| ?[^\s\p{L}\p{N}\r\n]+|)" SPACES}}},
      {{"afmoe"},
       // From U+8C48 to U+FAFF: llama.cpp's source has lost a compatibility ideograph there to normalisation.
       {{"\\p{N}+", Threes::after},
        {R"([\x{4E00}-\x{9FFF}\x{3400}-\x{4DBF}\x{8C48}-\x{FAFF}\x{3040}-\x{309F}\x{30A0}-\x{30FF})"
         R"(\x{FF65}-\x{FF9F}\x{2F00}-\x{2FDF}\x{E40}-\x{E7F}\x{E80}-\x{EFF}\x{1780}-\x{17FF})"
         R"(\x{1000}-\x{109F}\x{AA60}-\x{AA7F}\x{A9E0}-\x{A9FF}\x{AC00}-\x{D7AF}\x{1100}-\x{11FF}]+)"},
        {kDeepseek3}}},
      {{"exaone-moe"},
       // (?:L M*(?: L M*)*)+: a letter, then letters, marks, and single spaces in front of letters.
       {{CONTRACTION R"(|[^\r\n\p{L}\p{N}]?\p{L}(?:[\p{L}\p{M}]++| (?=\p{L}))*+|\p{N}|)" OTHERS
                     R"([\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+)"}}},
      {{"gemma4", "granite-embed-multi-311m"},
       {{kLines}},
       {.add_bos = true, .plain = true, .escape_spaces = true, .whole_newlines = true}},
      {{"mmbert"},
       {{kLines}},
       {.plain = true, .escape_spaces = true, .whole_newlines = true, .space_before_lines = true}},
      {{"sarvam-moe"}, {{kLines}}, {.plain = true, .escape_spaces = true}},
      {{"whitespace"}, {{"\\S+"}}, {.plain = true}},
  };
}

}  // namespace

const std::vector<PretokenizerKind>& pretokenizer_kinds() {
  static const std::vector<PretokenizerKind> kinds = make_kinds();
  return kinds;
}

const PretokenizerKind* find_pretokenizer(std::string_view name) {
  for (const PretokenizerKind& kind : pretokenizer_kinds())
    if (std::find(kind.names.begin(), kind.names.end(), name) != kind.names.end()) return &kind;
  return nullptr;
}

}  // namespace spindle
