// `spindle bench`: llama-bench's names and columns, and figures that are what they say.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "tests/command_line.h"
#include "tests/device.h"

using namespace spindle::test;

namespace {

nlohmann::json bench_json(const std::string& arguments) {
  const Output o = spindle_command("bench -o json " + arguments);
  CHECK_MESSAGE(o.code == 0, o.err);
  return nlohmann::json::parse(o.out);
}

}  // namespace

TEST_CASE("spindle bench measures prompts, tokens and depths of the model that ships") {
  const nlohmann::json list = bench_json("-p 16,33 -n 4 -d 0,70 -r 2 -ub 32");
  std::vector<std::string> names;
  for (const auto& row : list) {
    names.push_back(row["test"]);
    const double tokens = row["n_prompt"].get<double>() + row["n_gen"].get<double>();
    CHECK(row["samples_ns"].size() == 2);
    for (size_t i = 0; i < 2; i++)
      CHECK(row["samples_ts"][i].get<double>() ==
            doctest::Approx(tokens / row["samples_ns"][i].get<double>() * 1e9));
    CHECK(row["n_ubatch"] == 32);
    CHECK(row["model_n_params"].get<double>() > 1e6);
  }
  CHECK(names == std::vector<std::string>{"pp16", "pp33", "tg4", "pp16 @ d70", "pp33 @ d70", "tg4 @ d70"});
  const Output text = spindle_command("bench -p 8 -n 0 -r 1 --ops");
  CHECK(text.out.starts_with("| model "));
  CHECK(text.out.find(" pp8 |") != std::string::npos);
  CHECK(text.out.find("| matmul") != std::string::npos);
  CHECK(text.out.find("% |") != std::string::npos);
  const Output csv = spindle_command("bench -p 8 -n 0 -r 1 -o csv");
  CHECK(csv.out.starts_with("model,model_size,model_n_params,backend"));
  CHECK(std::ranges::count(csv.out, '\n') == 2);
}

TEST_CASE("spindle bench measures one operation of any shape, and the device") {
  const auto rows = bench_json("--op matmul --type q8_0,f32 --shape rows=3,n=64,k=96 -r 2");
  bool found = false;
  for (const auto& row : rows)
    if (row["operation"] == "matmul" && row["what"].get<std::string>().starts_with("f32")) {
      found = true;
      CHECK(row["operations"] == 2.0 * 3 * 64 * 96);
      CHECK(row["flops"].get<double>() == doctest::Approx(2e9 * 3 * 64 * 96 / row["ns"].get<double>()));
    }
  CHECK(found);
  CHECK(!bench_json("--op attention --type q8_0 --shape keys=300,rows=2,heads=4,kv_heads=2,dim=64 "
                    "--attention-pattern window:100 -r 1")
             .empty());
  CHECK(!bench_json("--op rms_norm --shape dim=64 -r 1").empty());
  const auto limits = bench_json("--device-limits")[0];
  for (const char* what : {"copy", "read", "multiply"}) CHECK(limits[what].get<double>() > 1e6);
}

TEST_CASE("spindle bench --tune keeps a choice that later runs read, and a damaged one is ignored") {
  const Folder folder("tune");
  const char* own = std::getenv("SPINDLE_CACHE_DIR");
  const std::string usual = own ? own : "";
  ::setenv("SPINDLE_CACHE_DIR", (folder / "cache").c_str(), 1);
  const std::string text = "eval logits --ids 1,2,3,4,5 --top 0 --json";
  const Output before = spindle_command(text), tuned = spindle_command("bench --tune -r 1 --type q8_0");
  CHECK_MESSAGE(tuned.code == 0, tuned.err);
  CHECK(tuned.out.find("chosen:") != std::string::npos);
  const size_t at = tuned.out.find("kept in ");
  REQUIRE(at != std::string::npos);
  const std::string file = tuned.out.substr(at + 8, tuned.out.find('\n', at) - at - 8);
  CHECK(read_file(file).starts_with("spindle tuning 1\n"));
  const Output after = spindle_command(text);
  CHECK(after.out == before.out);
  CHECK(after.err.find("warning") == std::string::npos);
  std::ofstream(file, std::ios::app) << "x";
  const Output damaged = spindle_command(text);
  CHECK(damaged.out == before.out);
  CHECK_MESSAGE(damaged.err.find("is damaged") != std::string::npos, damaged.err);
  if (own) ::setenv("SPINDLE_CACHE_DIR", usual.c_str(), 1);
  else ::unsetenv("SPINDLE_CACHE_DIR");
}

TEST_CASE("spindle bench names what it cannot measure") {
  for (const auto& [arguments, words] : std::vector<std::pair<std::string, std::string>>{
           {"-p 0 -n 0", "nothing to measure"},
           {"--op matmul --shape m=3", "--shape 'm=3': matmul takes numbers from 1 to 2^24, such as k=4096"},
           {"--op attention --shape rows=9,keys=8", "rows are the last of the keys"},
           {"--op attention --type q4_k", "a cache is f32, f16, q8_0 or q4_0"},
           {"--op nothing", "--op nothing: allowed are matmul, attention"},
           {"-ctk q3_k", "q3_k"}}) {
    const Output o = spindle_command("bench " + arguments);
    CHECK(o.code == 2);
    CHECK_MESSAGE(o.err.find(words) != std::string::npos, o.err);
  }
}
