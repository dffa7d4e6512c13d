// `spindle positions`, and the words about positions of subcommands that run models.
#include <doctest/doctest.h>
#include <fmt/core.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/command_line.h"
#include "tests/reference_model.h"

using namespace spindle;
using namespace spindle::test;

namespace {

bool contains(const std::string& text, const std::string& words) {
  const bool found = text.find(words) != std::string::npos;
  if (!found) MESSAGE("text: ", text);
  return found;
}

void check_error(const std::string& arguments, const std::string& words) {
  const Output o = spindle_command(arguments);
  CAPTURE(arguments);
  CHECK(o.code == 2);
  CHECK(o.out.empty());
  CHECK(contains(o.err, words));
}

std::string positions(const std::string& arguments) {
  const Output o = spindle_command("positions " + arguments);
  CAPTURE(arguments);
  CHECK_MESSAGE(o.code == 0, o.err);
  return o.out;
}

}  // namespace

TEST_CASE("spindle positions derives what a session would") {
  CHECK(contains(positions("--rope-scaling yarn -c 4096 --length 16384"), "factor 4"));
  CHECK(contains(positions("--rope-scaling yarn -c 4096"), "factor 1"));
  const std::string at_5000 = positions("--rope-scaling dynamic -c 4096 --length 5000");
  CHECK(contains(at_5000, "frequencies of 5120 positions"));
  CHECK(at_5000 == positions("--rope-scaling dynamic -c 4096 --length 5120"));
  const auto json =
      nlohmann::json::parse(positions("--rope-scaling dynamic -c 4096 --length 6144 --json --dim 128"));
  CHECK(json["length"] == 6144);  // A8, s = 1.5
  CHECK(json["inv_freq"][1].get<double>() ==
        doctest::Approx(std::pow(1e4 * std::pow(1.5, 128.0 / 126), -2.0 / 128)));
}

TEST_CASE("0 and -1 stand for defaults, as llama.cpp's users write them") {
  const std::string base = "--rope-scaling yarn --rope-scale 4 -c 512";
  CHECK(positions(base + " --rope-freq-base 0 --yarn-orig-ctx 0 --yarn-ext-factor -1 --yarn-attn-factor -1 "
                         "--yarn-beta-fast -1 --yarn-beta-slow -1") == positions(base));
  check_error("positions " + base + " --yarn-ext-factor -2", "--yarn-ext-factor -2: allowed is 0 to 1");
  check_error("positions --rope-freq-base -1", "--rope-freq-base -1");
}

TEST_CASE("wrong combinations of positions are one line") {
  const Folder folder("positions");
  RandomModel m;
  m.architecture = "bloom";
  m.n_kv_heads = m.n_heads;
  m.head_dim = 16;
  const std::string bloom = folder.write("bloom.gguf", m.bytes());
  CHECK(contains(positions("-m " + bloom), "ALiBi, largest exponent 8"));
  for (const char* wish : {"--rope-scaling yarn --rope-scale 4", "--yarn-orig-ctx 100",
                           "--yarn-attn-factor 2", "--rope-freq-base 1e6", "--log-n"})
    for (const char* command : {"positions", "eval logits --ids 1,2"})
      check_error(fmt::format("{} -m {} {}", command, bloom, wish), "for rotary positions; this bloom model");
  check_error("run -p x --sinks 7", "--sinks: for --context-shift sinks, not none");
  check_error("run -p x --rope-scaling linear --rope-scale 2 --rerope-window 1", "--rerope-window: not a");
  check_error("run -p x --rope-scaling rerope --context-shift sinks",
              "--context-shift sinks and --rope-scaling rerope both say which keys are near");
  check_error("run -p x --rope-scaling rerope --attention-pattern window:8",
              "--attention-pattern window:8 and --rope-scaling rerope both");
  check_error("run -p x --rope-scaling rerope --rerope-window 512",
              "--rerope-window 512: allowed is 1 to 511");
  check_error("run -p x --rope-scaling yarn --rope-scale 2 --log-n", "--log-n");
}

TEST_CASE("the load lines tell the plan, its reach and where a pattern holds") {
  const auto lines = [](const std::string& arguments) {
    const Output o = spindle_command("run -p x -n 1 " + arguments);
    CHECK_MESSAGE(o.code == 0, o.err);
    return o.err;
  };
  CHECK(contains(lines("-c 2048 --rope-scaling yarn"), "factor 4"));
  CHECK(!contains(lines("-c 2048 --rope-scaling yarn --rope-scale 4"), "warning"));
  CHECK(contains(lines("-c 4096 --rope-scaling yarn --rope-scale 4"),
                 "4096 positions; these extend the model to 2048"));
  CHECK(contains(lines("-c 2048"), "2048 positions; the model was trained for 512: see --rope-scaling"));
  CHECK(contains(lines("--attention-pattern window:8"), "attention  --attention-pattern window:8\n"));
}

TEST_CASE("spindle positions reads a config.json") {
  const Folder folder("config");
  const auto written = [&](const char* text) {
    std::ofstream(folder / "config.json") << text;
    return "--config " + (folder / "config.json");
  };
  const std::string deepseek =
      written(R"({"hidden_size": 7168, "num_attention_heads": 128, "max_position_embeddings": 163840,
    "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "rope_scaling": {"type": "yarn", "factor": 40,
    "mscale": 1, "mscale_all_dim": 1, "original_max_position_embeddings": 4096}})");
  CHECK(contains(positions(deepseek), "64 of 192 dimensions"));
  CHECK(contains(positions(deepseek), "scores times 1.87385"));
  CHECK(nlohmann::json::parse(positions(deepseek + " --json"))["logit_scale"].get<double>() ==
        doctest::Approx(1.3688879 * 1.3688879));
  const Output o = spindle_command("positions " + written(R"({"rope_parameters": {
    "full_attention": {"rope_theta": 1e6}, "sliding_attention": {"rope_theta": 1e4}}})"));
  CHECK(contains(o.out, "base 1e+06"));
  CHECK(contains(o.err, "full_attention of"));
}
