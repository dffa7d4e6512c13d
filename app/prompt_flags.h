// -p, -f and --no-escape: the text that a command begins with.
#ifndef SPINDLE_APP_PROMPT_FLAGS_H
#define SPINDLE_APP_PROMPT_FLAGS_H
#include <CLI/CLI.hpp>
#include <string>

namespace spindle {

// Every byte of a file. Throws ErrorKind::usage for what cannot be read.
std::string read_text_file(const std::string& file);
// The same but for the line break that editors end a file with, as llama.cpp.
std::string read_prompt_file(const std::string& file);

struct PromptFlags {
  std::string prompt, file;
  bool no_escape = false;
  void add(CLI::App& command, const std::string& what);
  std::string read() const;
};

}  // namespace spindle
#endif
