// The `spindle` program as people use it: what goes where, exit codes, and the words of its errors.
#include <doctest/doctest.h>
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string>

#include "tests/bad_files.h"
#include "tests/command_line.h"
#include "tests/device.h"
#include "tests/shared_data.h"

using namespace spindle;
using namespace spindle::test;

namespace {

// One line that holds `words`, nothing on standard output, and the exit code.
void check_error(const std::string& arguments, int code, const std::string& words) {
  const Output o = spindle_command(arguments);
  CAPTURE(arguments);
  CAPTURE(o.err);
  CHECK(o.code == code);
  CHECK(o.out.empty());
  CHECK(o.err.find(words) != std::string::npos);
}

}  // namespace

TEST_CASE("spindle run writes the text and nothing else to standard output") {
  const auto model = shared_or_skip("models/stories260K-f32.gguf");
  if (!model) return;
  const std::string expected = read_file((model->parent_path() / "stories260K.expected.txt").string());
  const std::string base = fmt::format("run -m '{}' -p 'Once upon a time' --temp 0 -n 200", model->string());
  for (const char* more :
       {" -ctk f32 -ctv f32 -b 3", "", " -ub 7", " --limit-binding 16384", " --disable all"}) {
    const Output o = spindle_command(base + more);
    CAPTURE(more);
    CHECK(o.code == 0);
    CHECK(o.out == expected);
    CHECK(o.err.find("tokens/s") != std::string::npos);
    if (quick()) break;
  }
}

TEST_CASE("the model that ships runs without being named, and a seed gives one text") {
  const Output a = spindle_command("run -p 'Once upon a time' -n 30 -s 7"),
               b = spindle_command("run -p 'Once upon a time' -n 30 -s 7");
  CHECK(a.code == 0);
  CHECK(a.out.size() > 30);
  CHECK(a.out.ends_with('\n'));
  CHECK(a.out == b.out);
}

TEST_CASE("spindle eval logits prints log-probabilities as JSON") {
  const Output o = spindle_command("eval logits --ids 1,300,301 --top 0 --json");
  CHECK(o.code == 0);
  const nlohmann::json top = nlohmann::json::parse(o.out)["top"];
  CHECK(top.size() == 1024);
  double sum = 0;
  for (const auto& entry : top) sum += std::exp(entry[1].get<double>());
  CHECK(sum == doctest::Approx(1));
  CHECK(nlohmann::json::parse(spindle_command("eval logits --ids 1 --top 5 --json").out)["top"].size() == 5);
}

TEST_CASE("spindle devices lists what is there") {
  const Output o = spindle_command("devices --json");
  CHECK(o.code == 0);
  const nlohmann::json list = nlohmann::json::parse(o.out);
  REQUIRE(!list.empty());
  CHECK(list[0].contains("subgroup_size"));
  CHECK(list[0].contains("fast_paths"));
}

TEST_CASE("spindle tokenize reads standard input as it is") {
  const Output ids = spindle_command("tokenize --ids --bos </dev/null");
  CHECK(ids.code == 0);
  CHECK(ids.out == "[0]\n");
  CHECK(spindle_command("tokenize --ids </dev/null").out == "[]\n");
  const std::string file = fmt::format("{}.test-{}.in", SPINDLE_EXECUTABLE, ::getpid());
  std::ofstream(file, std::ios::binary) << std::string("a\0\xFF\n'", 5);
  const Output pieces = spindle_command(fmt::format("tokenize <'{}'", file));
  CHECK(spindle_command(fmt::format("tokenize '{}'", file)).out == pieces.out);
  const auto list = nlohmann::json::parse(spindle_command(fmt::format("tokenize --ids <'{}'", file)).out);
  std::remove(file.c_str());
  CHECK(pieces.code == 0);
  for (const char* part : {"\\x00'", "\\xFF'", "\\n'", "\\''"})
    CHECK(pieces.out.find(part) != std::string::npos);
  CHECK(static_cast<long>(list.size()) == std::count(pieces.out.begin(), pieces.out.end(), '\n'));
  check_error("tokenize -m /no/such/file.gguf </dev/null", 3, "/no/such/file.gguf");
  check_error("tokenize /no/such/file", 2, "/no/such/file: cannot be read");
  check_error("tokenize /", 2, "/: is a directory");
}

TEST_CASE("errors are one line with an exit code") {
  check_error("", 2, "a command is missing: run, ");
  check_error("run --no-such-option", 2, "--no-such-option");
  check_error("run -p x -ctk q9", 2, "q9");
  check_error("run -m /no/such/file.gguf -p x", 3, "/no/such/file.gguf");
  check_error("run -m / -p x", 3, "not a regular file");
  check_error("run -p x --device nonsense", 4, "no such device");
  check_error("run -p x --disable nonsense", 2, "no such feature");
  check_error("run -c 4 -p 'Once upon a time there was'", 2, "the context 4");
  check_error("run -c 4294967295 -p x", 2, "positions");
  check_error("run -f /no/such/file", 2, "cannot be read");
  check_error("run -p x --repeat-last-n 100000", 2, "allowed is -1 to 512");
  check_error("run -p x --temp -1", 2, "--temp: -1, allowed is 0 or more");
  check_error("run -p x --top-p nan", 2, "--top-p: nan, allowed is 0 to 1");
  check_error("rnu", 2, "'rnu' is not a command: run");
  check_error("run --tmp 0", 2, "'--tmp' is not an option");
  check_error("eval", 2, "a command is missing: logits");
  check_error("run -p x -cnv", 2, "'-cnv' is not an option of this command");
  check_error("run -p x --conversation", 2, "'--conversation' is not an option of this command");
  check_error("run -p x -cxy", 2, "'-cxy' is not an option of this command; as -c: ");
}

TEST_CASE("the manual and the completions know every command") {
  for (const std::string what : {"manual", "completion bash", "completion zsh", "completion fish"}) {
    const Output o = spindle_command(what);
    CAPTURE(what);
    CHECK(o.code == 0);
    CHECK(o.err.empty());
    for (const char* word :
         {"run", "eval", "logits", "devices", "model", "temp", "cache", "ctk", "dev", "sys"})
      CHECK(o.out.find(word) != std::string::npos);
  }
  const std::string bash = spindle_command("completion bash").out;
  CHECK(bash.find(" -ctk --cache-type-k ") != std::string::npos);
  CHECK(bash.find("    -ctk) COMPREPLY=($(compgen -W 'f32 f16 ") != std::string::npos);
  CHECK(bash.find("    --chat-template-file) COMPREPLY=($(compgen -f ") != std::string::npos);
  CHECK(bash.find("    --config) COMPREPLY=($(compgen -f ") != std::string::npos);
  CHECK(bash.find(" ';;") == std::string::npos);  // no empty word
  CHECK(spindle_command("completion csh").code == 2);
}

TEST_CASE("spindle chat answers messages from a pipe, and a conversation goes on in the cache") {
  const auto chat = [](const std::string& input, const std::string& arguments) {
    const std::string file = fmt::format("{}.chat-{}", SPINDLE_EXECUTABLE, ::getpid());
    std::ofstream(file) << input << "\n";
    const Output o = spindle_command(fmt::format("chat -n 12 -s 3 {} <'{}'", arguments, file));
    std::remove(file.c_str());
    return o;
  };
  const Output o = chat("Hello there\n/stats\nAnd you?\n/regen\n/undo\n/nonsense",
                        "--chat-template chatml -sys 'Be kind.'");
  CAPTURE(o.err);
  CHECK(o.code == 0);
  CHECK(std::ranges::count(o.out, '\n') >= 3);
  CHECK(o.err.find(" 0 tokens kept") != std::string::npos);
  const size_t second = o.err.rfind("tokens kept");
  CHECK(o.err.substr(second - 4, 4) != "; 0 ");  // only the new part was computed
  CHECK(o.err.find("/nonsense: no such command") != std::string::npos);
  CHECK(o.err.find("the last message is taken back") != std::string::npos);
  const Output once = chat("Hello there", "--chat-template chatml -sys 'Be kind.' --single-turn");
  CHECK(o.out.starts_with(once.out));

  const Output quoted = chat("\"\"\"one\ntwo\"\"\"\n/save " + std::string(SPINDLE_EXECUTABLE) + ".chat.json",
                             "--chat-template chatml");
  CHECK(quoted.code == 0);
  const std::string saved = read_file(std::string(SPINDLE_EXECUTABLE) + ".chat.json");
  std::remove((std::string(SPINDLE_EXECUTABLE) + ".chat.json").c_str());
  CHECK(nlohmann::json::parse(saved)["messages"][0]["content"] == "one\ntwo");
  CHECK(nlohmann::json::parse(saved)["messages"][1]["role"] == "assistant");

  const Output alone =
      chat("\"\"\"\n\none\n\ntwo\n\"\"\"\n/save " + std::string(SPINDLE_EXECUTABLE) + ".chat.json",
           "-cnv --jinja --verbose-prompt --chat-template '<{{ messages[0].content }}>'");
  CHECK(alone.code == 0);
  CHECK(alone.err.find("<\none\n\ntwo>\n") != std::string::npos);
  const std::string kept = read_file(std::string(SPINDLE_EXECUTABLE) + ".chat.json");
  std::remove((std::string(SPINDLE_EXECUTABLE) + ".chat.json").c_str());
  CHECK(nlohmann::json::parse(kept)["messages"][0]["content"] == "\none\n\ntwo");

  check_error("chat -p x", 2, "has no chat template: give one with --chat-template");
  check_error("chat -p x --chat-template chatml -c 20", 2, "the context 20: try -c");
  check_error("chat -p x --chat-template chatml -c 1000m", 5, "free on ");
  check_error("chat -p x --chat-template chatml --chat-template-kwargs 3", 2, "expected a JSON object");
}

TEST_CASE("spindle chat says what cannot chat before it loads anything") {
  const Folder folder("chat");
  const auto error = [&](auto change, const std::string& arguments = "") {
    GgufWriter w = tiny_model();
    change(w);
    const std::string file = folder.write("m.gguf", w.finish());
    const Output o = spindle_command(fmt::format("chat -m {} -p ab -n 1 {}", file, arguments));
    CHECK(o.code != 0);
    CHECK(o.out.empty());
    CHECK(o.err.find("model   ") == std::string::npos);  // what is said once it is loaded
    return o.err;
  };
  const auto with = [](auto value) {
    return [=](GgufWriter& w) { w.set("tokenizer.chat_template", value); };
  };
  const auto contains = [](const std::string& text, const char* words) {
    CHECK_MESSAGE(text.find(words) != std::string::npos, text);
  };
  contains(error(with("")), "has no chat template");
  contains(error(with(std::vector<std::string>{"a", "b"})), "expected string, got array of string");
  contains(error(with("{% include 'x' %}")), "the tag 'include' is not supported");
  contains(error(with("x"), "--chat-template-kwargs '[1]'"), "expected a JSON object");
  contains(error([](GgufWriter& w) { w.erase("tokenizer.ggml.model"); }), "tokenizer.ggml.model");
  GgufWriter w = tiny_model();
  w.set("tokenizer.chat_template", "{% if false %}x{% endif %}");
  const Output dropped =
      spindle_command(fmt::format("chat -m {} -p ab -n 1", folder.write("m.gguf", w.finish())));
  CHECK(dropped.code == 2);
  contains(dropped.err, "makes an empty text of this conversation");
}

TEST_CASE("a chat that shifts its context or follows its length answers the same after /undo") {
  const std::string file = fmt::format("{}.undo-{}", SPINDLE_EXECUTABLE, ::getpid());
  std::ofstream(file) << "Once upon a time\n/undo\nOnce upon a time\n";
  for (const char* flags : {"--context-shift window -c 64", "--context-shift sinks -c 64",
                            "--rope-scaling dynamic --yarn-orig-ctx 40 -c 512"}) {
    const Output o = spindle_command(
        fmt::format("chat --chat-template chatml --temp 0 --ignore-eos -n 170 -ub 32 {} <'{}'", flags, file));
    CAPTURE(flags);
    CAPTURE(o.err);
    CHECK(o.code == 0);
    REQUIRE(o.out.size() % 2 == 0);
    CHECK(o.out.size() > 300);
    CHECK(o.out.substr(0, o.out.size() / 2) == o.out.substr(o.out.size() / 2));
    if (quick()) break;
  }
  std::ofstream(file) << "Once upon a time\nAnd then?\nAnd after that?\n";  // longer than what is kept
  const Output o = spindle_command(fmt::format(
      "chat --chat-template chatml --temp 0 --ignore-eos -n 60 -c 64 --context-shift sinks <'{}'", file));
  CAPTURE(o.err);
  CHECK(o.code == 0);
  CHECK(std::ranges::count(o.out, '\n') >= 3);
  std::remove(file.c_str());
}

TEST_CASE("Ctrl-C stops a reply and keeps the chat, twice within 2 seconds ends") {
  const std::string base = fmt::format("{}.interrupt-{}", SPINDLE_EXECUTABLE, ::getpid());
  // The reply would go on to the end of a long context; signals come once it has begun.
  const auto chat = [&](const std::string& signals) {
    std::ofstream(base + ".in") << "hello\n/stats\n";
    std::ofstream(base + ".sh") << fmt::format(
        "'{0}' chat --chat-template chatml --ignore-eos -c 60000 -s 1 <'{1}.in' >'{1}.out' 2>'{1}.err' & "
        "pid=$!\n"
        "n=0; while [ ! -s '{1}.out' ] && [ $n -lt 600 ]; do sleep 0.1; n=$((n+1)); done\n"
        "{2}\nwait $pid\n",
        SPINDLE_EXECUTABLE, base, signals);
    const int status = std::system(fmt::format("sh '{}.sh'", base).c_str());
    const Output o{WIFEXITED(status) ? WEXITSTATUS(status) : 128, read_file(base + ".out"),
                   read_file(base + ".err")};
    for (const char* end : {".in", ".sh", ".out", ".err"}) std::remove((base + end).c_str());
    return o;
  };
  const Output once = chat("kill -INT $pid");
  CAPTURE(once.err);
  CHECK(once.code == 0);
  CHECK(once.err.find("(stopped)") != std::string::npos);
  CHECK(once.err.find("; 2 messages") != std::string::npos);
  CHECK(once.out.ends_with('\n'));
  const Output twice = chat("kill -STOP $pid; kill -INT $pid; kill -CONT $pid; sleep 0.05; kill -INT $pid");
  CHECK(twice.code == 130);
}
