// The `spindle` program as people use it: what goes where, exit codes, and the words of its errors.
#include <doctest/doctest.h>
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string>

#include "tests/command_line.h"
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
       {"", " -ub 7", " -ctk f32 -ctv f32 -b 3", " --limit-binding 16384", " --disable all"}) {
    const Output o = spindle_command(base + more);
    CAPTURE(more);
    CHECK(o.code == 0);
    CHECK(o.out == expected);
    CHECK(o.err.find("tokens/s") != std::string::npos);
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
  CHECK(ids.out == "[1]\n");
  CHECK(spindle_command("tokenize --ids </dev/null").out == "[]\n");
  const std::string file = fmt::format("{}.test-{}.in", SPINDLE_EXECUTABLE, ::getpid());
  std::ofstream(file, std::ios::binary) << std::string("a\0\xFF\n'", 5);
  const Output pieces = spindle_command(fmt::format("tokenize <'{}'", file));
  const auto list = nlohmann::json::parse(spindle_command(fmt::format("tokenize --ids <'{}'", file)).out);
  std::remove(file.c_str());
  CHECK(pieces.code == 0);
  for (const char* part : {"\\x00'", "\\xFF'", "\\n'", "\\''"})
    CHECK(pieces.out.find(part) != std::string::npos);
  CHECK(static_cast<long>(list.size()) == std::count(pieces.out.begin(), pieces.out.end(), '\n'));
  check_error("tokenize -m /no/such/file.gguf </dev/null", 3, "/no/such/file.gguf");
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
}

TEST_CASE("the manual and the completions know every command") {
  for (const std::string what : {"manual", "completion bash", "completion zsh", "completion fish"}) {
    const Output o = spindle_command(what);
    CAPTURE(what);
    CHECK(o.code == 0);
    CHECK(o.err.empty());
    for (const char* word : {"run", "eval", "logits", "devices", "model", "temp", "cache"})
      CHECK(o.out.find(word) != std::string::npos);
  }
  CHECK(spindle_command("completion csh").code == 2);
}
