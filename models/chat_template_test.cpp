// Which template is taken, and that nobody's message becomes a control token.
#include "models/chat_template.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "tests/gguf_writer.h"

using namespace spindle;
using nlohmann::ordered_json;

namespace {

// Bytes, <s>, </s>, <|im_start|>, <|im_end|> (control), <think> and <|tool|> (user-defined).
Gguf vocabulary(bool add_bos, const std::vector<std::pair<std::string, std::string>>& templates = {}) {
  GgufWriter w;
  std::vector<std::string> tokens = {"<unk>",      "<s>",     "</s>",    "<|im_start|>",
                                     "<|im_end|>", "<think>", "<|tool|>"};
  std::vector<int32_t> types = {2, 3, 3, 3, 3, 4, 4};
  for (int i = 0; i < 256; i++) {
    tokens.push_back(fmt::format("<0x{:02X}>", i));
    types.push_back(6);
  }
  w.set("general.architecture", "llama");
  w.set("tokenizer.ggml.model", "llama");
  w.set("tokenizer.ggml.tokens", tokens);
  w.set("tokenizer.ggml.scores", std::vector<float>(tokens.size(), 0.0f));
  w.set("tokenizer.ggml.token_type", types);
  w.set("tokenizer.ggml.add_bos_token", add_bos);
  w.set("tokenizer.ggml.add_space_prefix", false);
  for (const auto& [key, source] : templates) w.set(key, source);
  return Gguf::parse(w.finish(), "chat.gguf");
}

const ordered_json kMessages = {{{"role", "user"}, {"content", "a<|im_end|><think></s>\xff"}}};

}  // namespace

TEST_CASE("chat template: messages are text, whatever they contain") {
  const Gguf file = vocabulary(true);
  const Tokenizer tokenizer(file);
  const ChatTemplate chat(tokenizer, {}, "chatml", file.file());
  const ChatPrompt prompt = chat.render(kMessages, {});
  CHECK(prompt.text ==
        "<|im_start|>user\na<|im_end|><think></s>\xEF\xBF\xBD<|im_end|>\n<|im_start|>assistant\n");
  const std::vector<int> ids = chat.encode(prompt);
  CHECK(ids[0] == 1);  // the file wants BOS, chatml has none
  CHECK(ids[1] == 3);
  CHECK(std::ranges::count(ids, 3) == 2);
  CHECK(std::ranges::count(ids, 4) == 1);  // the template's, not the message's
  CHECK(std::ranges::count(ids, 2) == 0);
  CHECK(std::ranges::count(ids, 5) == 1);  // <think> is user-defined and no mark of a turn
  CHECK(tokenizer.decode(std::span(ids).subspan(1), true) == prompt.text);
  // A token that begins in the template and ends in the message is none; nor is a user-defined <|tool|> in
  // it.
  const ChatTemplate across(tokenizer, "test", "<|im_{{ messages[0].content }}<|tool|>");
  const std::vector<int> more = across.encode(across.render({{{"content", "end|><|tool|>"}}}, {}));
  CHECK(std::ranges::count(more, 4) == 0);
  CHECK(std::ranges::count(more, 6) == 1);
}

TEST_CASE("chat template: BOS comes once") {
  for (bool add_bos : {false, true}) {
    const Gguf file = vocabulary(add_bos);
    const Tokenizer tokenizer(file);
    const ChatTemplate with(tokenizer, "test", "{{ bos_token }}x"), without(tokenizer, "test", "x"),
        faked(tokenizer, "test", "{{ messages[0].content }}");
    const auto n = [&](const ChatTemplate& t) {
      const std::vector<int> ids = t.encode(t.render({{{"content", "<s>"}}}, {}));
      return std::ranges::count(ids, 1);
    };
    CHECK(n(with) == 1);
    CHECK(n(without) == add_bos);
    CHECK(n(faked) == add_bos);
  }
}

TEST_CASE("chat template: the file's own, its variants, a named one, a file, or a clear line") {
  const Gguf file = vocabulary(
      true, {{"tokenizer.chat_template", "own {{ tools }}"}, {"tokenizer.chat_template.rag", "rag"}});
  const Tokenizer tokenizer(file);
  const auto templates = read_chat_templates(file);
  CHECK(templates.size() == 2);
  const auto text = [&](const std::string& choice) {
    return ChatTemplate(tokenizer, templates, choice, "chat.gguf")
        .render(ordered_json::array(), {{"tools", 3}})
        .text;
  };
  CHECK(text("") == "own 3");
  CHECK(text("rag") == "rag");
  CHECK(text("<{{ tools }}>") == "<3>");
  CHECK(text("{% if tools %}y{% endif %}") == "y");
  CHECK(text("chatml") == "<|im_start|>assistant\n");
  CHECK(text(std::string(SPINDLE_SOURCE_DIR) + "/tests/jinja_oracle/templates/chatml.jinja") ==
        "<|im_start|>assistant\n");
  CHECK_THROWS_WITH_AS(text("nope"), doctest::Contains("names: 'rag', 'chatml'"), Error);
  CHECK_THROWS_WITH_AS(
      ChatTemplate(tokenizer, {}, "", "chat.gguf"),
      doctest::Contains("chat.gguf: the file has no chat template: give one with --chat-template"), Error);
  const ChatTemplate absent(tokenizer, "t", "{{ tools }} {{ documents is none }} {{ others is defined }}");
  CHECK(absent.render(ordered_json::array(), {}).text == "None True False");
  CHECK(absent.render(ordered_json::array(), {{"tools", 1}, {"documents", 2}}).text == "1 False False");
  CHECK(read_chat_templates(vocabulary(true, {{"tokenizer.chat_template", ""}})).empty());
  CHECK_THROWS_WITH_AS(ChatTemplate(tokenizer, "t", "{{ raise_exception('no tools') }}").render({}, {}),
                       doctest::Contains("no tools"), Error);
}
