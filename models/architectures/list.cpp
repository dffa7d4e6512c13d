// The list of architectures: a new family adds its line here and its file beside this one.
#include "models/architecture.h"
#include "models/utf8.h"
#include "runtime/error.h"

namespace spindle {

const std::vector<Architecture>& architectures() {
  static const std::vector<Architecture> list = {
      llama(),    qwen2(),     qwen3(),      gpt2(),     gptneox(),       starcoder2(), stablelm(),
      falcon(),   bloom(),     mpt(),        baichuan(), phi3(),          olmo2(),      granite(),
      minicpm(),  command_r(), cohere2(),    gemma(),    gemma2(),        gemma3(),     qwen2moe(),
      qwen3moe(), olmoe(),     granitemoe(), mistral3(), spindle_family()};
  return list;
}

const Architecture* find_architecture(std::string_view name) {
  for (const Architecture& a : architectures())
    if (a.name == name) return &a;
  return nullptr;
}

const Architecture& get_architecture(std::string_view name) {
  if (const Architecture* found = find_architecture(name)) return *found;
  std::string known;
  for (const Architecture& a : architectures()) known += (known.empty() ? "" : ", ") + a.name;
  fail(ErrorKind::model_file, "architecture '{}' is not supported; supported are: {}", printable(name),
       known);
}

}  // namespace spindle
