// `spindle inspect` and `spindle fit` on sound, unsupported and bad files.
#include <doctest/doctest.h>
#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "tests/bad_files.h"
#include "tests/command_line.h"
#include "tests/device.h"
#include "tests/reference_model.h"

using namespace spindle;
using namespace spindle::test;

namespace {

nlohmann::json json_of(const std::string& arguments) {
  const Output o = spindle_command(arguments);
  CHECK_MESSAGE(o.code == 0, o.err);
  return nlohmann::json::parse(o.out);
}

bool contains(const std::string& text, const std::string& words) {
  const bool found = text.find(words) != std::string::npos;
  if (!found) MESSAGE("text: ", text);
  return found;
}

}  // namespace

TEST_CASE("spindle inspect shows metadata, tensors, sizes and what the model needs") {
  const Folder folder("inspect");
  GgufWriter w = tiny_model();
  w.set("long", std::vector<int32_t>{1, 2, 3, 4, 5, 6, 7, 8, 9});
  w.set("bad text", std::string("a\x1B[2J\xFF") + std::string(500, 'x'));
  const std::string file = folder.write("m.gguf", w.finish());
  const Output text = spindle_command("inspect " + file);
  CHECK(text.code == 0);
  CHECK(text.out.starts_with("runs        yes\nfile "));
  CHECK(contains(text.out, "[1, 2, 3, 4, 5, 6, ...] 9 values"));
  CHECK(contains(text.out, "a\\x1B[2J\\xFF"));
  CHECK(contains(text.out, "(506 bytes)"));
  CHECK(contains(text.out, "blk.0.ffn_up.weight"));
  CHECK(contains(text.out, "32.00 bits per weight"));
  CHECK(contains(text.out, "tokenizer   kind llama, tokens 7, bos 1, eos 2"));
  CHECK(contains(text.out, "supported true, layers 1"));
  CHECK(contains(text.out, "for 64 positions, keys f16, values f16"));
  CHECK(contains(spindle_command("inspect --all -m " + file).out, "[1, 2, 3, 4, 5, 6, 7, 8, 9] 9 values"));

  const nlohmann::json j = json_of("inspect --json -c 1k -ctk f32 -ctv f32 " + file);
  CHECK(j["metadata"]["long"]["count"] == 9);
  CHECK(j["metadata"]["long"]["first"].size() == 6);
  CHECK(j["metadata"]["llama.rope.freq_base"]["value"] == 10000.0);
  CHECK(j["tensors"].size() == 12);
  CHECK(j["tensors"][0]["shape"] == nlohmann::json{16, 7});
  // 2 matrices of 7 x 16, q and output of 16 x 16, k, v, gate, up and down of 8 x 16, 3 norms.
  CHECK(j["parameters"] == 2 * 112 + 2 * 256 + 5 * 128 + 3 * 16);
  CHECK(j["bits_per_weight"] == 32);
  const nlohmann::json& memory = j["model"]["memory"];
  CHECK(memory["context"] == 1024);
  CHECK(memory["cache"] >= 1024 * 8 * 4 * 2);  // positions, head size, bytes, keys and values
  CHECK(memory["total"] == memory["weights"].get<int64_t>() + memory["cache"].get<int64_t>() +
                               memory["activations"].get<int64_t>() + memory["scratch"].get<int64_t>() +
                               memory["state"].get<int64_t>());
  CHECK(memory["free"] > 0);
}

TEST_CASE("spindle inspect groups the layers that are alike") {
  const Folder folder("inspect-layers");
  GgufWriter w;
  for (const int layer : {0, 1, 2, 4, 5, 7})
    w.add_tensor(fmt::format("blk.{}.x.weight", layer), {8}, std::vector<float>(8));
  w.add_tensor("blk.3.x.weight", DType::f16, {16}, Bytes(32));
  w.add_tensor("blk.x", {8}, std::vector<float>(8));
  const std::string file = folder.write("m.gguf", w.finish());
  const std::string out = spindle_command("inspect " + file).out;
  CHECK(contains(out, "blk.0-2,4-5,7.x.weight"));
  CHECK(contains(out, "192 B in 6"));
  CHECK(contains(out, "  blk.3.x.weight "));
  CHECK(contains(out, "  blk.x "));
  CHECK(contains(out, "parameters  72, "));
  CHECK(contains(spindle_command("inspect --all " + file).out, "  blk.4.x.weight "));
}

TEST_CASE("spindle inspect says why a model cannot run, and reads vocabularies and shards") {
  const Folder folder("inspect-others");
  GgufWriter unknown = tiny_model();
  unknown.replace("general.architecture", "mamba");
  const std::string other = folder.write("other.gguf", unknown.finish());
  CHECK(contains(spindle_command("inspect " + other).out,
                 "architecture 'mamba' is not supported; supported are: llama"));
  CHECK(json_of("inspect --json " + other)["model"]["supported"] == false);
  const std::string vocabulary = folder.write("v.gguf", tiny_vocabulary().finish());
  CHECK(contains(spindle_command("inspect " + vocabulary).out, "tokenizer   kind llama, tokens 7"));
  CHECK(contains(spindle_command("inspect " + vocabulary).out, "supported false, why "));
  const std::string bare = folder.write("bare.gguf", GgufWriter().finish());
  CHECK(contains(spindle_command("inspect " + bare).out, "tokenizer   none"));
  const Shards shards = finish(tiny_split());
  for (size_t i = 0; i < 3; i++) folder.write(fmt::format("s-0000{}-of-00003.gguf", i + 1), shards[i]);
  const nlohmann::json j = json_of("inspect --json " + folder / "s-00002-of-00003.gguf");
  CHECK(j["shards"] == 3);
  CHECK(j["tensors"][11]["shard"] == 3);
  CHECK(j["model"]["supported"] == true);
  CHECK(spindle_command("run -m " + folder / "s-00002-of-00003.gguf" + " -p ab -n 1 --temp 0").code == 0);
}

TEST_CASE("spindle inspect says whether spindle run takes a file, and whether the chat template parses") {
  const Folder folder("inspect-runs");
  const auto check = [&](bool runs, const std::string& why, auto change) {
    GgufWriter w = tiny_model();
    change(w);
    const std::string file = folder.write("m.gguf", w.finish());
    const Output run = spindle_command("run -p ab -n 1 --temp 0 -m " + file);
    CHECK((run.code == 0) == runs);
    CHECK(json_of("inspect --json " + file)["runs"] == runs);
    const Output text = spindle_command("inspect " + file);
    CHECK(contains(text.out.substr(0, text.out.find('\n')), runs ? "runs        yes" : "runs        no: "));
    CHECK(contains(text.out, why));
  };
  check(true, "chat_template parses",
        [](GgufWriter& w) { w.set("tokenizer.chat_template", "{{ messages[0].content }}"); });
  check(true, "the tag 'include' is not supported",
        [](GgufWriter& w) { w.set("tokenizer.chat_template", "{% include 'x' %}"); });
  check(false, "tokenizer 't5' is not supported",
        [](GgufWriter& w) { w.replace("tokenizer.ggml.model", "t5"); });
  check(false, "no: the file has no tokenizer", [](GgufWriter& w) { w.erase("tokenizer.ggml.model"); });
  check(false, "token id 99", [](GgufWriter& w) {
    w.erase("tokenizer.ggml.bos_token_id");
    w.set("tokenizer.ggml.bos_token_id", uint32_t{99});
  });
  check(false, "found 'adapter', allowed 'model'", [](GgufWriter& w) { w.set("general.type", "adapter"); });
  check(false, "architecture 'mamba' is not supported",
        [](GgufWriter& w) { w.replace("general.architecture", "mamba"); });
}

TEST_CASE("spindle fit finds the context that a run with that much memory takes") {
  const Folder folder("fit");
  const std::string file =
      folder.write("m.gguf", RandomModel{.context = 64}.bytes());  // heads of 64: whole blocks of q8_0, q4_0
  uint64_t before = 0;
  for (const char* memory : {"8000000", "9MiB", "0.1GiB", "4G"}) {
    const nlohmann::json j = json_of(fmt::format("fit {} --json --memory {}", file, memory));
    CHECK(j["trained_context"] == 64);
    REQUIRE(j["fits"].size() >= 2);
    uint64_t f32 = 0;
    for (const auto& fit : j["fits"]) {
      const std::string type = fit["cache_type"];
      const uint64_t context = fit["context"];
      CHECK(context > before);
      CHECK(fit["bytes"]["total"] <= j["memory_bytes"]);
      if (type == "f32") f32 = context;
      else CHECK(context > f32);  // a smaller cache, a longer context
      // What inspect says of that context is the same, and one more page is too much.
      const std::string inspect = fmt::format("inspect {} --json -ctk {} -ctv {} -c ", file, type, type);
      CHECK(json_of(inspect + std::to_string(context))["model"]["memory"]["total"] == fit["bytes"]["total"]);
      CHECK(json_of(inspect + std::to_string(context + 64))["model"]["memory"]["total"] > j["memory_bytes"]);
    }
    before = f32;
  }
  CHECK(contains(spindle_command("fit " + file).out, "trained for 64 positions"));
  const Output none = spindle_command("fit --memory 2k " + file);
  CHECK(none.code == 5);
  CHECK(contains(none.err, "try a smaller model or a smaller quantisation"));
  CHECK(spindle_command("fit --memory much " + file).code == 2);
}

TEST_CASE("what needs more memory than there is, is refused before it is loaded") {
  const Output o = spindle_command("run -p x -c 1000m");
  CHECK(o.code == 5);
  CHECK(contains(o.err, "free on "));
  CHECK(contains(o.err, ": try -c "));
  CHECK(o.err.find("device  ") == std::string::npos);
  CHECK(spindle_command("run -p x -n 1 -c 1k -ub 1k -b 2k").code == 0);
  CHECK(spindle_command("run -p x -n 1 -c 1q").code == 2);
}

TEST_CASE("the program says one line about every bad file") {
  const Folder folder("bad-program");
  int n = 0, seen = 0;
  std::string last;
  for (const BadFile& bad : bad_files()) {
    const bool another = bad.id != last;
    last = bad.id;
    if (bad.when == BadFile::When::warning || (!another && (quick() || seen++ % 8 != 0))) continue;
    n++;
    CAPTURE(bad.id);
    for (size_t i = 0; i < bad.shards.size(); i++)
      folder.write(
          bad.shards.size() == 1 ? "t.gguf" : fmt::format("t-{:05}-of-{:05}.gguf", i + 1, bad.shards.size()),
          bad.shards[i]);
    const std::string first =
        bad.shards.size() == 1 ? "t.gguf" : fmt::format("t-00001-of-{:05}.gguf", bad.shards.size());
    const Output o = spindle_command("run -p ab -n 1 -m " + folder / first);
    CHECK(o.code == (bad.when == BadFile::When::run ? 1 : 3));
    CHECK(o.out.empty());
    const size_t at = o.err.find("spindle: ");
    REQUIRE(at != std::string::npos);
    CHECK(o.err.find('\n', at) == o.err.size() - 1);
    const int inspected = spindle_command("inspect " + folder / first).code;
    CHECK(inspected == (bad.when == BadFile::When::opened ? 3 : 0));
  }
  fmt::print("  {} bad files given to the program\n", n);
}
