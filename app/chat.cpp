// `spindle chat`: a conversation through the model's chat template. Standard output carries the replies
// alone.
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <clocale>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>

#include "app/command.h"
#include "app/interrupt.h"
#include "app/line_reader.h"
#include "models/chat_template.h"
#include "models/utf8.h"
#include "runtime/error.h"

namespace spindle {
namespace {

using nlohmann::ordered_json;

struct Flags {
  DeviceFlags device;
  ModelFlags model;
  SamplingFlags sampling;
  std::string system, prompt, chat_template, variables;
  int n = -1;
  bool single_turn = false, verbose_prompt = false;
};

constexpr const char* kHelp =
    "/help            this text\n"
    "/clear, /reset   forget the conversation, keep the system message\n"
    "/system TEXT     another system message; without TEXT: none\n"
    "/regen           another reply to the last message\n"
    "/undo            take the last message and its reply back\n"
    "/save FILE       write the conversation as JSON\n"
    "/stats           tokens, rates, memory\n"
    "/exit            end (Ctrl-D too)\n"
    "A line that ends with \\ goes on in the next one; \"\"\" begins and ends a message of several lines.\n"
    "Ctrl-C stops a reply and keeps the chat; twice within 2 seconds ends.";

ordered_json message(const char* role, const std::string& text) {
  ordered_json m;
  m["role"] = role;
  m["content"] = text;
  return m;
}

class Chat {
 public:
  Chat(const Flags& flags, ordered_json variables, const Model& model)
      : model_(model),
        template_(model.tokenizer(), model.chat_templates(), flags.chat_template, flags.model.file()),
        session_(model, flags.model.session()),
        sampling_(flags.sampling.resolve()),
        most_(flags.n < 0 ? UINT32_MAX : static_cast<uint32_t>(flags.n)),
        verbose_prompt_(flags.verbose_prompt),
        variables_(std::move(variables)) {
    set_system(flags.system);
    slot_ = session_.open(sampling_);
    if (sampling_.temperature > 0) say("seed    {}", sampling_.seed);
  }

  // One line of the user, a command or a message. False: the end.
  bool take(const std::string& text);
  void converse(const std::string& text);
  const Session& session() const { return session_; }

 private:
  void set_system(const std::string& text) {
    if (!messages_.empty() && messages_[0]["role"] == "system") messages_.erase(0);
    if (!text.empty()) messages_.insert(messages_.begin(), message("system", text));
  }
  size_t n_system() const { return !messages_.empty() && messages_[0]["role"] == "system"; }
  bool undo();                      // the last message of the user and what came after it
  std::vector<int> prompt() const;  // the conversation through the template
  void reply();
  std::string generate(std::span<const int> ids, double start);
  void save(const std::string& path) const;
  void statistics() const;

  const Model& model_;
  ChatTemplate template_;
  Session session_;
  Sampling sampling_;
  uint32_t most_;
  bool verbose_prompt_;
  int slot_ = 0;
  ordered_json messages_ = ordered_json::array(), variables_;
};

std::string rate(uint64_t tokens, double seconds) {
  return fmt::format("{} tokens in {:.2f} s ({:.1f} tokens/s)", tokens, seconds,
                     seconds > 0 ? static_cast<double>(tokens) / seconds : 0.0);
}

void write(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
  require(!std::ferror(stdout), "standard output was closed");
}

bool Chat::undo() {
  const auto& m = messages_;
  size_t n = m.size();
  while (n > n_system() && m[n - 1]["role"] != "user") n--;
  if (n <= n_system()) return false;
  messages_.erase(messages_.begin() + static_cast<ptrdiff_t>(n - 1), messages_.end());
  return true;
}

void Chat::converse(const std::string& text) {
  messages_.push_back(message("user", text));
  const size_t n = messages_.size();
  try {
    reply();
  } catch (const Error& e) {
    if (e.kind() != ErrorKind::interrupted) {
      messages_.erase(n - 1);  // the conversation is what it was
      throw;
    }
    CatchInterrupts::take();
  } catch (...) {
    messages_.erase(n - 1);
    throw;
  }
  if (messages_.size() == n) {
    messages_.erase(n - 1);
    say("(stopped before the reply began: the message is taken back)");
  }
}

// As it is, but for what a terminal would obey.
std::string printable_lines(std::string_view text) {
  std::string out;
  while (true) {
    const size_t end = std::min(text.find('\n'), text.size());
    out += printable(text.substr(0, end), SIZE_MAX);
    if (end == text.size()) return out;
    out += '\n';
    text.remove_prefix(end + 1);
  }
}

std::vector<int> Chat::prompt() const {
  const ChatPrompt prompt = template_.render(messages_, variables_, true, &CatchInterrupts::requested);
  require(!prompt.text.empty(), ErrorKind::usage,
          "the chat template makes an empty text of this conversation: it drops the messages");
  if (verbose_prompt_) say("{}", printable_lines(prompt.text));
  return template_.encode(prompt);
}

// Appends the reply, if any came.
void Chat::reply() {
  const double start = now_seconds();
  CatchInterrupts::take();
  const std::vector<int> ids = prompt();
  require(
      ids.size() < session_.cache().limit(), ErrorKind::usage,
      "the conversation has {} tokens, the context {}: try -c {} or more, /undo, /clear, or --context-shift",
      ids.size(), session_.cache().limit(), ids.size() + 256);
  const std::string text = generate(ids, start);
  if (!text.empty()) messages_.push_back(message("assistant", text));
}

std::string Chat::generate(std::span<const int> ids, double start) {
  const Tokenizer& tokenizer = model_.tokenizer();
  const SessionStatistics before = session_.statistics();
  // What the cache holds already stays; the last token is always computed, its logits are wanted.
  const std::span<const int> have = session_.tokens(slot_);
  const size_t same =
      static_cast<size_t>(std::ranges::mismatch(have, ids.first(ids.size() - 1)).in1 - have.begin());
  const uint32_t kept = session_.truncate(slot_, static_cast<uint32_t>(same));

  const auto all = static_cast<uint32_t>(ids.size());
  Progress progress("prefill", "tokens");
  for (uint32_t done = kept; done < all;) {
    if (CatchInterrupts::requested()) return "";
    const uint32_t n = std::min(all - done, session_.prefill_chunk());
    session_.prefill(slot_, ids.subspan(done, n), {.sample = done + n == all});
    done += n;
    progress.update(done - kept, all - kept);
  }
  progress.finish();

  Detokenizer stream(tokenizer);
  stream.skip(ids);
  std::string text;
  double first_token = 0;
  bool ended = false;
  const auto put = [&](const std::string& more) {
    text += more;
    write(more);
  };
  if (!CatchInterrupts::requested())
    session_.generate({&slot_, 1}, most_, [&](int, int id) {
      if (first_token == 0) first_token = now_seconds() - start;
      ended = tokenizer.is_end(id);
      if (!ended) put(stream.push(id));
      return !CatchInterrupts::requested();
    });
  put(stream.flush());
  write("\n");
  const SessionStatistics& s = session_.statistics();
  const uint32_t used = session_.n_tokens(slot_);
  if (CatchInterrupts::take()) say("(stopped)");
  else if (!ended && used >= session_.cache().limit())
    say("the context of {} positions is full, the reply ends here: try -c {}, /undo, /clear, or "
        "--context-shift",
        session_.context(), 2 * session_.context());
  say("prefill {}; decode {}; first token after {:.2f} s; {} tokens kept; {} of {} positions",
      rate(s.prefill_tokens - before.prefill_tokens, s.prefill_seconds - before.prefill_seconds),
      rate(s.decode_tokens - before.decode_tokens, s.decode_seconds - before.decode_seconds), first_token,
      kept, used, session_.context());
  return text;
}

void Chat::save(const std::string& path) const {
  std::ofstream out(path, std::ios::binary);
  out << ordered_json{{"messages", messages_}}.dump(2, ' ', false, ordered_json::error_handler_t::replace)
      << "\n";
  out.close();
  if (out.good()) say("{} messages in {}", messages_.size(), path);
  else say("/save {}: cannot be written", path);
}

void Chat::statistics() const {
  const SessionStatistics& s = session_.statistics();
  say("prefill {}; decode {}; cache {:.1f} MiB for {} of {} positions; {} messages",
      rate(s.prefill_tokens, s.prefill_seconds), rate(s.decode_tokens, s.decode_seconds),
      static_cast<double>(session_.cache().allocated_bytes()) / (1 << 20), session_.n_tokens(slot_),
      session_.context(), messages_.size());
}

bool Chat::take(const std::string& text) {
  if (text.empty()) return true;
  if (text[0] != '/') {
    converse(text);
    return true;
  }
  const size_t space = std::min(text.find(' '), text.size());
  const std::string command = text.substr(0, space), rest = text.substr(std::min(space + 1, text.size()));
  if (command == "/exit" || command == "/quit") return false;
  if (command == "/help" || command == "/?") {
    say("{}", kHelp);
  } else if (command == "/clear" || command == "/reset") {
    messages_.erase(messages_.begin() + static_cast<ptrdiff_t>(n_system()), messages_.end());
    say("(the conversation is empty)");
  } else if (command == "/system") {
    set_system(rest);
    say("{}", rest.empty() ? "(no system message)" : "(the system message is set)");
  } else if (command == "/undo") {
    say("{}", undo() ? "(the last message is taken back)" : "(there is nothing to take back)");
  } else if (command == "/regen") {
    const ordered_json before = messages_;
    if (!undo()) {
      say("(there is nothing to answer again)");
      return true;
    }
    const std::string last = before[messages_.size()]["content"];
    sampling_.sequence++;  // another draw of the same seed
    session_.set_sampling(slot_, sampling_);
    try {
      converse(last);
    } catch (...) {
      messages_ = before;
      throw;
    }
    if (messages_.size() == n_system() || messages_.back()["role"] != "assistant") messages_ = before;
  } else if (command == "/save") {
    if (rest.empty()) say("/save wants a file");
    else save(rest);
  } else if (command == "/stats") {
    statistics();
  } else {
    say("{}: no such command; /help lists them", printable(command));
  }
  return true;
}

// A message of one line, or of several: lines that end with \, or between two """, which may stand alone.
LineReader::Result read_message(LineReader& reader, std::string& text) {
  constexpr std::string_view quotes = "\"\"\"";
  std::vector<std::string> lines;
  std::string line;
  bool quoted = false;
  for (bool first = true, more = true; more; first = false) {
    const LineReader::Result result = reader.read(first ? "> " : ". ", line);
    if (result == LineReader::Result::interrupted || (first && result == LineReader::Result::end))
      return result;
    if (result == LineReader::Result::end) break;
    const bool opens = first && line.starts_with(quotes);
    if (opens) {
      quoted = true;
      line.erase(0, quotes.size());
    }
    const bool closes = quoted && line.ends_with(quotes);
    if (closes) line.resize(line.size() - quotes.size());
    more = quoted ? !closes : line.ends_with('\\');
    if (more && !quoted) line.pop_back();
    if (!line.empty() || !(opens || closes)) lines.push_back(line);
  }
  text = fmt::format("{}", fmt::join(lines, "\n"));
  return LineReader::Result::line;
}

ordered_json read_variables(const std::string& text) {
  if (text.empty()) return ordered_json::object();
  ordered_json variables = ordered_json::parse(text, nullptr, false);
  require(variables.is_object(), ErrorKind::usage, "--chat-template-kwargs: expected a JSON object, found {}",
          printable(text));
  return variables;
}

// Throws where the file cannot chat, before anything is loaded.
void require_chats(const Gguf& file, const Flags& flags) {
  const Tokenizer tokenizer(file);
  constexpr const char* key = "tokenizer.chat_template";
  if (flags.chat_template.empty() && file.has(key)) file.get<std::string>(key);  // or it is no string
  const ChatTemplate parsed(tokenizer, read_chat_templates(file), flags.chat_template, file.file());
}

void chat(const Flags& flags) {
  std::setlocale(LC_CTYPE, "C.UTF-8");
  require(flags.n != 0, ErrorKind::usage, "-n 0: a reply has one token or more; -1: until it ends");
  ordered_json variables = read_variables(flags.variables);
  Gguf file = Gguf::open(flags.model.file());
  require_chats(file, flags);
  Device device(flags.device.options());
  flags.model.require_fits(file, device);
  Progress loading("loading");
  const Model model(device, std::move(file), [&](uint64_t done, uint64_t all) { loading.update(done, all); });
  loading.finish();
  describe(model);
  const CatchInterrupts catching;
  Chat talk(flags, std::move(variables), model);
  LineReader reader;
  if (reader.is_terminal()) say("/help lists the commands");
  if (!flags.prompt.empty()) talk.converse(flags.prompt);
  std::string text;
  while (flags.prompt.empty() || !flags.single_turn) {
    const LineReader::Result result = read_message(reader, text);
    if (result == LineReader::Result::end) break;
    if (result == LineReader::Result::interrupted) {
      CatchInterrupts::take();
      say("\n(Ctrl-C again within 2 seconds ends, so does /exit)");
      continue;
    }
    try {
      const bool is_message = !text.empty() && text[0] != '/';
      if (!talk.take(text) || (is_message && flags.single_turn)) break;
    } catch (const Error& e) {
      // What the user can mend keeps the chat; from a pipe nobody mends anything.
      if (e.kind() != ErrorKind::usage || !reader.is_terminal()) throw;
      say("{}", e.what());
    }
  }
}

}  // namespace

void add_chat(CLI::App& app) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = app.add_subcommand("chat", "talk, by the model's chat template");
  command->add_option("--system", flags->system, "the system message");
  command->add_option("-p,--prompt", flags->prompt, "the first message");
  command->add_option("-n,--predict", flags->n, "most tokens of a reply; -1: until it ends")
      ->capture_default_str();
  command->add_flag("--single-turn", flags->single_turn, "end after one reply");
  command->add_flag("--verbose-prompt", flags->verbose_prompt,
                    "show what the template makes of the conversation, on standard error");
  command->add_flag_function(
      "--conversation,--jinja", [](int64_t) {}, "nothing: a chat always is so; as llama.cpp's");
  command
      ->add_option("--chat-template,--chat-template-file", flags->chat_template,
                   "a file with a template, a named one of the model's, chatml, or a template with {{ or {%")
      ->envname("SPINDLE_CHAT_TEMPLATE");
  command->add_option("--chat-template-kwargs", flags->variables,
                      "more variables of the template, a JSON object: {\"enable_thinking\": false}");
  flags->model.add(*command);
  flags->sampling.add(*command);
  flags->device.add(*command);
  command->callback([flags] { chat(*flags); });
}

}  // namespace spindle
