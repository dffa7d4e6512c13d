// Messages -> the text of a prompt, by the model's own chat template.
#ifndef SPINDLE_MODELS_CHAT_TEMPLATE_H
#define SPINDLE_MODELS_CHAT_TEMPLATE_H
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "models/jinja/template.h"
#include "models/tokenizer.h"

namespace spindle {

// A file's templates by name, without empty ones; "" is `tokenizer.chat_template`, the others are
// `tokenizer.chat_template.NAME`.
std::map<std::string, std::string> read_chat_templates(const Gguf& file);

struct ChatPrompt {
  std::string text;
  std::vector<ByteRange> literal;  // what came from messages and tools: no control tokens are seen there
};

class ChatTemplate {
 public:
  // `choice`: "" for the file's own, the name of a variant in the file, "chatml", the path of a template, or
  // a template itself: a text with {{ or {%. `file` is for errors. Throws ErrorKind::usage where there is no
  // template to be had.
  ChatTemplate(const Tokenizer& tokenizer, const std::map<std::string, std::string>& templates,
               const std::string& choice, const std::string& file);
  ChatTemplate(const Tokenizer& tokenizer, const std::string& name, std::string_view source);

  // `messages`: [{"role", "content", ...}]; `variables`: tools, documents and what else the template reads.
  // Bytes that are no UTF-8 become U+FFFD. Throws ErrorKind::usage for what the template itself refuses.
  // `stop` is asked now and then; true ends the work with ErrorKind::interrupted.
  ChatPrompt render(const nlohmann::ordered_json& messages, const nlohmann::ordered_json& variables,
                    bool add_generation_prompt = true, std::function<bool()> stop = {}) const;
  // With BOS where the file wants one and the text has none.
  std::vector<int> encode(const ChatPrompt& prompt) const;

 private:
  const Tokenizer& tokenizer_;
  jinja::Template template_;
  std::string bos_, eos_;
};

}  // namespace spindle
#endif
