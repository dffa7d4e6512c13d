// -p, -f and --no-escape: the text that a command begins with.
#ifndef SPINDLE_APP_PROMPT_FLAGS_H
#define SPINDLE_APP_PROMPT_FLAGS_H
#include <CLI/CLI.hpp>
#include <string>

namespace spindle {

struct PromptFlags {
  std::string prompt, file;
  bool no_escape = false;
  void add(CLI::App& command, const std::string& what);
  std::string read() const;
};

}  // namespace spindle
#endif
