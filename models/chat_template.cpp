// Which template, its variables, and prompts as tokens.
#include "models/chat_template.h"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "models/utf8.h"
#include "runtime/error.h"

namespace spindle {
namespace {

constexpr std::string_view kKey = "tokenizer.chat_template";

constexpr std::string_view kChatMl =
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content + "
    "'<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

std::string names(const std::map<std::string, std::string>& templates) {
  std::string list;
  for (const auto& [name, source] : templates)
    if (!name.empty()) list += fmt::format("'{}', ", printable(name));
  return list + "'chatml'";
}

struct Chosen {
  std::string name, source;
};

Chosen choose(const std::map<std::string, std::string>& templates, const std::string& choice,
              const std::string& file) {
  const auto found = templates.find(choice);
  if (found != templates.end())
    return {fmt::format("{}: {}{}{}", file, kKey, choice.empty() ? "" : ".", printable(choice)),
            found->second};
  require(!choice.empty(), ErrorKind::usage,
          "{}: the file has no chat template: give one with --chat-template FILE or NAME (names: {})", file,
          names(templates));
  if (choice.find("{{") != choice.npos || choice.find("{%") != choice.npos)
    return {"--chat-template", choice};
  if (choice == "chatml") return {"chat template 'chatml'", std::string(kChatMl)};
  std::error_code ignored;
  require(std::filesystem::is_regular_file(choice, ignored), ErrorKind::usage,
          "--chat-template {}: there is no such file, and no such name (names: {})", printable(choice),
          names(templates));
  require(std::filesystem::file_size(choice, ignored) <= jinja::Limits().source_bytes, ErrorKind::usage,
          "--chat-template {}: {} bytes, allowed are {}", printable(choice),
          std::filesystem::file_size(choice, ignored), jinja::Limits().source_bytes);
  std::ifstream in(choice, std::ios::binary);
  require(in.good(), ErrorKind::usage, "--chat-template {}: cannot be read", printable(choice));
  return {choice, {std::istreambuf_iterator<char>(in), {}}};
}

std::string sound(std::string_view text) {
  if (is_utf8(text)) return std::string(text);
  std::string out;
  while (!text.empty()) {
    const Utf8Step step = utf8_step(text);
    out += step.kind == Utf8Step::Kind::valid ? text.substr(0, step.bytes) : kReplacementCharacter;
    text.remove_prefix(step.bytes);
  }
  return out;
}

void make_sound(nlohmann::ordered_json& j) {
  if (j.is_string()) j = sound(j.get_ref<const std::string&>());
  if (j.is_structured())
    for (auto& part : j) make_sound(part);
}

jinja::Template parse(const Chosen& chosen) { return {chosen.name, chosen.source}; }

}  // namespace

std::map<std::string, std::string> read_chat_templates(const Gguf& file) {
  std::map<std::string, std::string> templates;
  for (const GgufEntry& entry : file.metadata()) {
    const std::string_view key = entry.key;
    if (!key.starts_with(kKey) || (key.size() > kKey.size() && key[kKey.size()] != '.')) continue;
    const auto* source = std::get_if<std::string>(&entry.value);
    if (source && !source->empty())
      templates[std::string(key.substr(std::min(key.size(), kKey.size() + 1)))] = *source;
  }
  return templates;
}

ChatTemplate::ChatTemplate(const Tokenizer& tokenizer, const std::map<std::string, std::string>& templates,
                           const std::string& choice, const std::string& file)
    : tokenizer_(tokenizer), template_(parse(choose(templates, choice, file))) {
  if (const auto id = tokenizer.bos()) bos_ = sound(tokenizer.vocabulary().texts[static_cast<size_t>(*id)]);
  if (const auto id = tokenizer.eos()) eos_ = sound(tokenizer.vocabulary().texts[static_cast<size_t>(*id)]);
}

ChatTemplate::ChatTemplate(const Tokenizer& tokenizer, const std::string& name, std::string_view source)
    : ChatTemplate(tokenizer, {{"", std::string(source)}}, "", name) {}

ChatPrompt ChatTemplate::render(const nlohmann::ordered_json& messages,
                                const nlohmann::ordered_json& variables, bool add_generation_prompt,
                                std::function<bool()> stop) const {
  nlohmann::ordered_json input = variables.is_object() ? variables : nlohmann::ordered_json::object();
  input["messages"] = messages;
  for (const char* name : {"tools", "documents"})  // None, as transformers has it: defined
    if (!input.contains(name)) input[name] = nullptr;
  make_sound(input);
  const nlohmann::ordered_json own = {
      {"bos_token", bos_}, {"eos_token", eos_}, {"add_generation_prompt", add_generation_prompt}};
  jinja::Marked text = template_.render(input, own, {}, std::move(stop));
  ChatPrompt prompt{std::move(text.text), {}};
  for (const jinja::Span& s : text.input) prompt.literal.push_back({s.begin, s.end});
  return prompt;
}

std::vector<int> ChatTemplate::encode(const ChatPrompt& prompt) const {
  const bool has_bos = !bos_.empty() && prompt.text.starts_with(bos_) &&
                       (prompt.literal.empty() || prompt.literal[0].begin >= bos_.size());
  EncodeOptions options;
  options.add_bos = !has_bos;
  options.parse_special = true;
  options.literal = prompt.literal;
  return tokenizer_.encode(prompt.text, options);
}

}  // namespace spindle
