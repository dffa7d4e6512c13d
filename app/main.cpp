// The `spindle` command: chooses the subcommand, and turns errors into one line and an exit code.
#include <algorithm>
#include <csignal>
#include <cstring>
#include <span>

#include "app/command.h"
#include "app/interrupt.h"
#include "runtime/error.h"

namespace {

// Options whose value may be any text, also one that looks like an option.
bool takes_value(const std::string& word) {
  return word == "-p" || word == "--prompt" || word == "-f" || word == "--file" || word == "-m" ||
         word == "--model" || word == "-sys" || word == "--system";
}

// The innermost subcommand that was given: "spindle eval logits".
std::string chosen(const CLI::App& app) {
  std::string path = app.get_name();
  for (const CLI::App* a = &app; !a->get_subcommands().empty();) {
    a = a->get_subcommands().front();
    path += fmt::format(" {}", a->get_name());
  }
  return path;
}

// The parser's message, but words it could not place are named as they were typed.
std::string explain(const CLI::App& app, const CLI::ParseError& e, int argc, char** argv) {
  const CLI::App* command = &app;
  while (!command->get_subcommands().empty()) command = command->get_subcommands().front();
  const bool wants_subcommand = command->get_require_subcommand_min() > 0;
  if (!wants_subcommand && dynamic_cast<const CLI::ExtrasError*>(&e) == nullptr) {
    // "-xyz" was taken for -x with the value "yz".
    const std::string what = e.what();
    for (const std::string typed : std::span(argv, static_cast<size_t>(argc)).subspan(1))
      if (typed.size() > 2 && typed[0] == '-' && typed[1] != '-' && what.ends_with(" = " + typed.substr(2)))
        return fmt::format("'{}' is not an option of this command; as {}: {}", typed, typed.substr(0, 2),
                           what);
    return what;
  }
  const std::vector<std::string> extra = app.remaining(true);
  std::string word = extra.empty() ? argc > 1 && app.get_subcommands().empty() ? argv[1] : "" : extra.front();
  for (const auto& [brief, full] : spindle::kShortOptions)  // as it was typed
    if (word == full && std::find(argv, argv + argc, std::string_view(full)) == argv + argc) word = brief;
  std::string known;
  for (const CLI::App* sub :
       command->get_subcommands([](const CLI::App* a) { return !a->get_name().empty(); }))
    known += fmt::format("{}{}", known.empty() ? "" : ", ", sub->get_name());
  if (wants_subcommand && word.empty()) return fmt::format("a command is missing: {}", known);
  if (wants_subcommand) return fmt::format("'{}' is not a command: {}", word, known);
  return fmt::format("'{}' is not an option of this command", word);
}

int run(int argc, char** argv) {
  CLI::App app("Spindle runs language models with long contexts on any Vulkan device.", "spindle");
  app.set_version_flag("--version", "spindle " SPINDLE_VERSION);
  app.require_subcommand(1);
  app.failure_message(CLI::FailureMessage::simple);
  spindle::add_run(app);
  spindle::add_chat(app);
  spindle::add_eval(app);
  spindle::add_bench(app);
  spindle::add_attention(app);
  spindle::add_tokenize(app);
  spindle::add_devices(app);
  spindle::add_inspect(app);
  spindle::add_fit(app);
  spindle::add_positions(app);
  spindle::add_manual(app);
  std::vector<std::string> arguments;
  for (int i = argc - 1; i > 0; i--) {  // the parser wants them backwards
    std::string word = argv[i];
    const bool is_value = i > 1 && takes_value(argv[i - 1]);
    for (const auto& [brief, full] : spindle::kShortOptions)
      if (!is_value && (word == brief || word.starts_with(std::string(brief) + "=")))
        word = full + word.substr(std::strlen(brief));
    arguments.push_back(word);
  }
  try {
    app.parse(arguments);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return app.exit(e);  // help and version
    spindle::fail(spindle::ErrorKind::usage, "{} (see {} --help)", explain(app, e, argc, argv), chosen(app));
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  spindle::install_interrupts();
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
