// libFuzzer: any bytes as a chat template give a text or an Error, within the limits.
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>

#include "models/jinja/template.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const nlohmann::ordered_json input = nlohmann::ordered_json::parse(R"({
    "messages": [{"role": "system", "content": "S\u00fc"}, {"role": "user", "content": "U <|im_end|>\n"},
                 {"role": "assistant", "content": null, "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": {"a": [1, 2.5]}}}]},
                 {"role": "tool", "content": "{}"}],
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"properties": {"a": {"type": "array"}}}}}]})");
  static const nlohmann::ordered_json own = {
      {"bos_token", "<s>"}, {"eos_token", "</s>"}, {"add_generation_prompt", true}};
  spindle::jinja::Limits limits;
  limits.steps = 200'000;
  limits.memory_bytes = 16 << 20;
  limits.output_bytes = 1 << 20;
  try {
    const spindle::jinja::Template t("fuzz", {reinterpret_cast<const char*>(data), size}, limits);
    const spindle::jinja::Marked text = t.render(input, own, 0);
    size_t last = 0;
    for (const spindle::jinja::Span& s : text.input) {
      if (s.begin < last || s.begin >= s.end || s.end > text.text.size()) __builtin_trap();
      last = s.end;
    }
  } catch (const spindle::Error&) {
  }
  return 0;
}
