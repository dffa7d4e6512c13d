// The `spindle` command: chooses the subcommand, and turns errors into one line and an exit code.
#include <csignal>
#include <cstring>

#include "app/command.h"
#include "runtime/error.h"

namespace {

// llama.cpp's short options of more than one letter, which the option parser would take apart.
constexpr std::pair<const char*, const char*> kShort[] = {
    {"-ub", "--ubatch-size"}, {"-ctk", "--cache-type-k"}, {"-ctv", "--cache-type-v"}, {"-dev", "--device"}};

// Options whose value may be any text, also one that looks like an option.
bool takes_value(const std::string& word) {
  return word == "-p" || word == "--prompt" || word == "-f" || word == "--file" || word == "-m" ||
         word == "--model";
}

int run(int argc, char** argv) {
  CLI::App app("Spindle runs language models with long contexts on any Vulkan device.", "spindle");
  app.set_version_flag("--version", "spindle " SPINDLE_VERSION);
  app.require_subcommand(1);
  app.failure_message(CLI::FailureMessage::simple);
  spindle::add_run(app);
  spindle::add_eval(app);
  spindle::add_devices(app);
  std::vector<std::string> arguments;
  for (int i = argc - 1; i > 0; i--) {  // the parser wants them backwards
    std::string word = argv[i];
    const bool is_value = i > 1 && takes_value(argv[i - 1]);
    for (const auto& [brief, full] : kShort)
      if (!is_value && (word == brief || word.starts_with(std::string(brief) + "=")))
        word = full + word.substr(std::strlen(brief));
    arguments.push_back(word);
  }
  try {
    app.parse(arguments);
  } catch (const CLI::ParseError& e) {
    const int code = app.exit(e);
    return code == 0 ? 0 : static_cast<int>(spindle::ErrorKind::usage);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGINT, [](int) { std::_Exit(static_cast<int>(spindle::ErrorKind::interrupted)); });
  std::signal(SIGPIPE, SIG_IGN);
  try {
    return run(argc, argv);
  } catch (const spindle::Error& e) {
    fmt::print(stderr, "spindle: {}\n", e.what());
    return static_cast<int>(e.kind());
  } catch (const std::bad_alloc&) {
    fmt::print(stderr, "spindle: out of memory\n");
    return static_cast<int>(spindle::ErrorKind::out_of_memory);
  } catch (const std::exception& e) {
    fmt::print(stderr, "spindle: {}\n", e.what());
    return static_cast<int>(spindle::ErrorKind::runtime);
  }
}
