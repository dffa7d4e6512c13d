// Prompts from the command line and from files.
#include "app/prompt_flags.h"

#include <filesystem>
#include <fstream>
#include <iterator>

#include "models/utf8.h"
#include "runtime/error.h"

namespace spindle {
namespace {

// \n, \t, \r, \", \' and \\ of a prompt on the command line, as llama.cpp.
std::string unescape(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size(); i++) {
    constexpr std::string_view from = "ntr\"'\\", to = "\n\t\r\"'\\";
    const size_t which =
        text[i] == '\\' && i + 1 < text.size() ? from.find(text[i + 1]) : std::string_view::npos;
    out += which == std::string_view::npos ? text[i] : to[which];
    if (which != std::string_view::npos) i++;
  }
  return out;
}

}  // namespace

void PromptFlags::add(CLI::App& command, const std::string& what) {
  command.add_option("-p,--prompt", prompt, what);
  command.add_option("-f,--file", file, "read it from a file")->excludes("--prompt");
  command.add_flag("--no-escape", no_escape, "take \\n, \\t, ... in -p as they stand");
}

std::string read_text_file(const std::string& file) {
  std::error_code ignored;
  require(!std::filesystem::is_directory(file, ignored), ErrorKind::usage, "{}: is a directory",
          printable(file));
  std::ifstream in(file, std::ios::binary);
  require(in.good(), ErrorKind::usage, "{}: cannot be read", printable(file));
  return {std::istreambuf_iterator<char>(in), {}};
}

std::string read_prompt_file(const std::string& file) {
  std::string text = read_text_file(file);
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

std::string PromptFlags::read() const {
  if (file.empty()) return no_escape ? prompt : unescape(prompt);
  return read_prompt_file(file);
}

}  // namespace spindle
