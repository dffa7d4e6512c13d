// `spindle manual` and `spindle completion`: the manual page and the shells' completions, made from the same
// table of options that parses the command line.
#include <algorithm>
#include <map>

#include "app/command.h"

namespace spindle {
namespace {

using Options = std::vector<const CLI::Option*>;

// A subcommand's options by the heading they stand under; groups are nameless subcommands to the parser.
std::vector<std::pair<std::string, Options>> options_by_group(const CLI::App& command) {
  std::vector<std::pair<std::string, Options>> groups;
  const auto own = command.get_options([](const CLI::Option* o) { return !o->get_group().empty(); });
  if (!own.empty()) groups.emplace_back("Options", Options(own.begin(), own.end()));
  for (const CLI::App* group :
       command.get_subcommands([](const CLI::App* a) { return a->get_name().empty(); })) {
    const auto options = group->get_options([](const CLI::Option* o) { return !o->check_lname("help"); });
    groups.emplace_back(group->get_group(), Options(options.begin(), options.end()));
  }
  return groups;
}

std::vector<const CLI::App*> subcommands(const CLI::App& command) {
  const auto list = command.get_subcommands([](const CLI::App* a) { return !a->get_name().empty(); });
  return {list.begin(), list.end()};
}

// -ub of --ubatch-size, or nothing.
std::string find_short(const CLI::Option& o) {
  for (const auto& [brief, full] : kShortOptions)
    if (o.check_lname(full + 2)) return brief;
  return "";
}

// -m, --model
std::vector<std::string> names(const CLI::Option& o) {
  std::vector<std::string> list;
  for (const std::string& n : o.get_snames()) list.push_back(fmt::format("-{}", n));
  if (const std::string brief = find_short(o); !brief.empty()) list.push_back(brief);
  for (const std::string& n : o.get_lnames()) list.push_back(fmt::format("--{}", n));
  return list;
}

bool takes_value(const CLI::Option& o) { return o.get_items_expected_max() > 0; }

// The names in a type such as TEXT:{f16,f32}, for the shells.
std::string choices(const CLI::Option& o) {
  const std::string type = o.get_type_name();
  const size_t from = type.find('{'), to = type.find('}');
  if (from == std::string::npos || to == std::string::npos) return "";
  std::string words = type.substr(from + 1, to - from - 1);
  std::ranges::replace(words, ',', ' ');
  return words;
}

bool is_file(const CLI::Option& o) {
  return std::ranges::any_of(
      std::initializer_list<const char*>{"model", "file", "config", "chat-template-file", "open", "compare",
                                         "capture", "png", "npy"},
      [&](const char* name) { return o.check_lname(name); });
}

std::string roff(std::string text) {
  std::string out;
  for (char c : text) out += c == '\\' ? "\\e" : c == '-' ? "\\-" : std::string(1, c);
  return out.starts_with(".") || out.starts_with("'") ? fmt::format("\\&{}", out) : out;
}

void manual_options(const CLI::App& command) {
  for (const auto& [title, options] : options_by_group(command)) {
    if (title != "Options") fmt::print("{}:\n", roff(title));
    for (const CLI::Option* o : options) {
      std::string heading;
      for (const std::string& name : o->get_positional() ? std::vector{o->get_name(true)} : names(*o))
        heading += fmt::format("{}\\fB{}\\fR", heading.empty() ? "" : ", ", roff(name));
      if (takes_value(*o) && !o->get_positional())
        heading += fmt::format(" \\fI{}\\fR", roff(o->get_type_name()));
      std::string text = roff(o->get_description());
      if (!o->get_default_str().empty()) text += fmt::format(" (default {})", roff(o->get_default_str()));
      if (!o->get_envname().empty()) text += fmt::format(" [{}]", roff(o->get_envname()));
      fmt::print(".TP\n{}\n{}\n", heading, text);
    }
    fmt::print(".PP\n");
  }
}

void manual_command(const CLI::App& command, const std::string& name) {
  fmt::print(".SS \"{}\"\n{}\n.PP\n", roff(name), roff(command.get_description()));
  manual_options(command);
  for (const CLI::App* sub : subcommands(command))
    manual_command(*sub, fmt::format("{} {}", name, sub->get_name()));
}

void manual(const CLI::App& app) {
  fmt::print(
      ".TH SPINDLE 1 \"\" \"spindle {0}\" \"User Commands\"\n.SH NAME\nspindle \\- {1}\n"
      ".SH SYNOPSIS\n.B spindle\n.I command\n[options]\n.SH DESCRIPTION\n{2}\n"
      "Standard output carries results only; everything else is on standard error.\n.SH COMMANDS\n",
      SPINDLE_VERSION, "run language models with long contexts on any Vulkan device",
      roff(app.get_description()));
  for (const CLI::App* command : subcommands(app))
    manual_command(*command, fmt::format("spindle {}", command->get_name()));
  fmt::print(
      ".SH EXIT STATUS\n0 ok, 1 runtime, 2 usage, 3 model file, 4 no usable device, 5 out of memory, "
      "130 interrupted\n");
}

// All words that may follow: options and subcommands.
std::string words_of(const CLI::App& command) {
  std::string words;
  const auto add = [&](const std::string& word) {
    if (word.empty()) return;  // a positional of any value
    words += fmt::format("{}{}", words.empty() ? "" : " ", word);
  };
  for (const CLI::App* sub : subcommands(command)) add(sub->get_name());
  for (const auto& [title, options] : options_by_group(command))
    for (const CLI::Option* o : options)
      for (const std::string& name : o->get_positional() ? std::vector{choices(*o)} : names(*o)) add(name);
  return words;
}

// Calls visit(path, command) for every command, "" being spindle itself; path: "eval logits".
template <class F>
void walk(const CLI::App& command, const std::string& path, F&& visit) {
  visit(path, command);
  for (const CLI::App* sub : subcommands(command))
    walk(*sub, path.empty() ? sub->get_name() : fmt::format("{} {}", path, sub->get_name()), visit);
}

// Values that options of any command take, by name: the words to offer, or "" for a file.
std::map<std::string, std::string> values(const CLI::App& app) {
  std::map<std::string, std::string> found;
  walk(app, "", [&](const std::string&, const CLI::App& command) {
    for (const auto& [title, options] : options_by_group(command))
      for (const CLI::Option* o : options)
        if (takes_value(*o) && (is_file(*o) || !choices(*o).empty()))
          for (const std::string& name : names(*o)) found[name] = choices(*o);
  });
  return found;
}

void bash(const CLI::App& app) {
  fmt::print(
      "# bash completion of spindle\n_spindle() {{\n"
      "  local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} path= i\n"
      "  case $before in\n");
  for (const auto& [name, words] : values(app))
    if (words.empty()) fmt::print("    {}) COMPREPLY=($(compgen -f -- \"$word\")); return;;\n", name);
    else fmt::print("    {}) COMPREPLY=($(compgen -W '{}' -- \"$word\")); return;;\n", name, words);
  fmt::print("  esac\n  for ((i = 1; i < COMP_CWORD; i++)); do\n    case \"$path ${{COMP_WORDS[i]}}\" in\n");
  std::string paths;
  walk(app, "", [&](const std::string& path, const CLI::App&) {
    if (!path.empty()) paths += fmt::format("{}' {}'", paths.empty() ? "" : "|", path);
  });
  fmt::print(
      "      {}) path=\"$path ${{COMP_WORDS[i]}}\";;\n    esac\n  done\n  local words=\n  case $path in\n",
      paths);
  walk(app, "", [&](const std::string& path, const CLI::App& command) {
    fmt::print("    '{}') words='{}';;\n", path.empty() ? "" : fmt::format(" {}", path), words_of(command));
  });
  fmt::print(
      "  esac\n  COMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n"
      "  [ ${{#COMPREPLY[@]}} = 0 ] && COMPREPLY=($(compgen -f -- \"$word\"))\n}}\n"
      "complete -o filenames -F _spindle spindle\n");
}

// In single quotes, as zsh and fish take it; `escape` holds characters that want a backslash.
std::string single_quoted(const std::string& text, std::string_view escape = "") {
  std::string out;
  for (char c : text)
    if (c == '\'') out += "'\\''";
    else out += (escape.find(c) != std::string_view::npos ? "\\" : "") + std::string(1, c);
  return fmt::format("'{}'", out);
}

void zsh(const CLI::App& app) {
  fmt::print(
      "#compdef spindle\n# zsh completion of spindle\n_spindle() {{\n  local path= i\n"
      "  for ((i = 2; i < CURRENT; i++)); do\n    case \"$path ${{words[i]}}\" in\n");
  walk(app, "", [&](const std::string& path, const CLI::App&) {
    if (!path.empty()) fmt::print("      ' {0}') path=' {0}';;\n", path);
  });
  fmt::print("    esac\n  done\n  case $path in\n");
  walk(app, "", [&](const std::string& path, const CLI::App& command) {
    fmt::print("    '{}')\n      _arguments -S", path.empty() ? "" : fmt::format(" {}", path));
    for (const auto& [title, options] : options_by_group(command))
      for (const CLI::Option* o : options)
        for (const std::string& name : names(*o)) {
          const std::string spec = fmt::format("{}[{}]", name, o->get_description());
          std::string action;
          if (takes_value(*o))
            action = fmt::format(":value:{}", is_file(*o)           ? "_files"
                                              : choices(*o).empty() ? ""
                                                                    : fmt::format("({})", choices(*o)));
          std::string escaped;
          for (char c : spec) escaped += c == ':' ? "\\:" : std::string(1, c);
          fmt::print(" \\\n        {}", single_quoted(escaped + action));
        }
    std::string subs;
    for (const CLI::App* sub : subcommands(command)) subs += fmt::format(" {}", sub->get_name());
    fmt::print(" \\\n        {};;\n",
               single_quoted(subs.empty() ? "*:file:_files" : fmt::format("*:command:({})", subs.substr(1))));
  });
  fmt::print("  esac\n}}\n_spindle \"$@\"\n");
}

void fish(const CLI::App& app) {
  fmt::print("# fish completion of spindle\n");
  walk(app, "", [&](const std::string& path, const CLI::App& command) {
    std::string condition = "__fish_use_subcommand";
    if (!path.empty()) {
      condition.clear();
      for (size_t at = 0; at < path.size();) {
        const size_t end = std::min(path.find(' ', at), path.size());
        condition +=
            fmt::format("{}__fish_seen_subcommand_from {}", at ? "; and " : "", path.substr(at, end - at));
        at = end + 1;
      }
    }
    for (const CLI::App* sub : subcommands(command))
      fmt::print("complete -c spindle -n {} -f -a {} -d {}\n", single_quoted(condition), sub->get_name(),
                 single_quoted(sub->get_description()));
    for (const auto& [title, options] : options_by_group(command))
      for (const CLI::Option* o : options) {
        fmt::print("complete -c spindle -n {}", single_quoted(condition));
        for (const std::string& n : o->get_snames()) fmt::print(" -s {}", n);
        if (const std::string brief = find_short(*o); !brief.empty()) fmt::print(" -o {}", brief.substr(1));
        for (const std::string& n : o->get_lnames()) fmt::print(" -l {}", n);
        if (takes_value(*o)) fmt::print("{}", is_file(*o) ? " -rF" : " -x");
        if (!choices(*o).empty()) fmt::print(" -a {}", single_quoted(choices(*o)));
        fmt::print(" -d {}\n", single_quoted(o->get_description()));
      }
  });
}

}  // namespace

void add_manual(CLI::App& app) {
  app.add_subcommand("manual", "print the manual page: spindle manual | man -l -")->callback([&app] {
    manual(app);
  });
  auto shell = std::make_shared<std::string>();
  CLI::App* completion = app.add_subcommand("completion", "print a shell's completions: bash, zsh or fish");
  completion->add_option("shell", *shell, "bash, zsh or fish")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  completion->callback([&app, shell] {
    if (*shell == "bash") bash(app);
    else if (*shell == "zsh") zsh(app);
    else fish(app);
  });
}

}  // namespace spindle
