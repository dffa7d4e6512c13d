// `spindle tokenize`: the tokens of a file, or of what comes in on standard input.
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "app/command.h"
#include "app/prompt_flags.h"
#include "models/tokenizer.h"
#include "models/utf8.h"
#include "runtime/error.h"

namespace spindle {
namespace {

struct Flags {
  ModelFlags model;
  std::string file;
  bool ids = false, special = false, bos = false;
};

// Every byte until the end, zeros and what is no UTF-8 included.
std::string read_standard_input() {
  if (isatty(STDIN_FILENO)) say("reading standard input, end with Ctrl-D");
  std::string text;
  char buffer[1 << 16];
  while (true) {
    const ssize_t n = ::read(STDIN_FILENO, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    require(n >= 0, ErrorKind::usage, "standard input cannot be read: {}", std::strerror(errno));
    if (n == 0) return text;
    text.append(buffer, static_cast<size_t>(n));
  }
}

// As in C: no line is broken, no terminal obeys it, and it can be read back.
std::string escaped(std::string_view piece) {
  std::string out;
  while (!piece.empty()) {
    const Utf8Step step = utf8_step(piece);
    const std::string_view part = piece.substr(0, step.bytes);
    piece.remove_prefix(step.bytes);
    if (part == "\n") out += "\\n";
    else if (part == "\r") out += "\\r";
    else if (part == "\t") out += "\\t";
    else if (part == "\\" || part == "'") (out += '\\') += part;
    else out += printable(part);
  }
  return out;
}

void run_tokenize(const Flags& flags) {
  const Tokenizer tokenizer(Gguf::open(flags.model.file()));
  for (const std::string& warning : tokenizer.warnings()) say("warning: {}", warning);
  std::vector<int> ids =
      tokenizer.encode(flags.file.empty() ? read_standard_input() : read_text_file(flags.file),
                       {.add_bos = false, .parse_special = flags.special});
  if (flags.bos) {
    require(tokenizer.bos().has_value(), ErrorKind::usage, "--bos: {} has no BOS token", flags.model.file());
    ids.insert(ids.begin(), *tokenizer.bos());
  }
  std::string out;
  if (flags.ids) {
    for (int id : ids) out += fmt::format("{}{}", out.empty() ? "" : ", ", id);
    out = fmt::format("[{}]\n", out);
  } else {
    for (int id : ids) out += fmt::format("{:6} -> '{}'\n", id, escaped(tokenizer.piece(id, true)));
  }
  const bool written =
      std::fwrite(out.data(), 1, out.size(), stdout) == out.size() && std::fflush(stdout) == 0;
  require(written, "standard output cannot be written: {}", std::strerror(errno));
}

}  // namespace

void add_tokenize(CLI::App& app) {
  CLI::App* command = app.add_subcommand("tokenize", "show the tokens of a file or of standard input");
  auto flags = std::make_shared<Flags>();
  command->add_option("FILE", flags->file, "a text; without one: standard input");
  command
      ->add_option("-m,--model", flags->model.path,
                   "GGUF file, tensors or not; default: the model that ships with Spindle")
      ->envname("SPINDLE_MODEL");
  command->add_flag("--ids", flags->ids, "one line of ids, [1, 2, 3], in place of a line for every token");
  command->add_flag("--special", flags->special, "the text of a control token gives that token");
  command->add_flag("--bos", flags->bos, "the token that begins a text in front");
  command->callback([flags] { run_tokenize(*flags); });
}

}  // namespace spindle
