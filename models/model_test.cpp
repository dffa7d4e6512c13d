// Whole models against a double-precision reference and against published numbers.
#include "models/model.h"

#include <doctest/doctest.h>
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "models/session.h"
#include "runtime/error.h"
#include "tests/compare.h"
#include "tests/device.h"
#include "tests/reference_model.h"
#include "tests/shared_data.h"

using namespace spindle;
using namespace spindle::test;

namespace {

SessionOptions exact(uint32_t n_positions) {
  SessionOptions o;
  o.context = n_positions;
  o.logit_rows = 64;
  o.k_type = o.v_type = DType::f32;
  return o;
}

double largest_difference(std::span<const double> a, std::span<const double> b) {
  double most = 0;
  for (size_t i = 0; i < a.size(); i++) most = std::max(most, std::abs(a[i] - b[i]));
  return most;
}

void check_golden(const std::string& name) {
  const auto path = shared_or_skip("golden/" + name + ".gguf");
  if (!path) return;
  std::ifstream in(path->parent_path() / (name + ".json"));
  const nlohmann::json golden = nlohmann::json::parse(in);
  const double tolerance = golden["tolerance"];
  const Model model(device(), path->string());
  Session session(model, exact(1024));
  double worst = 0;
  int index = 0;
  for (const auto& prompt : golden["prompts"]) {
    const std::vector<int> ids = prompt["ids"];
    const std::vector<double> expected = prompt[prompt.contains("exact") ? "exact" : "logprobs"];
    for (bool token_by_token : {false, true}) {
      CAPTURE(name);
      CAPTURE(index);
      CAPTURE(token_by_token);
      const int slot = session.open({.temperature = 0});
      std::vector<float> logits;
      if (token_by_token) {
        for (int id : ids) logits = session.decode(slot, id);
      } else {
        session.prefill(slot, ids);
        logits = session.last_logits();
      }
      const double difference = largest_difference(log_softmax(logits), expected);
      CHECK(difference <= tolerance);
      worst = std::max(worst, difference);
      if (!token_by_token && index == golden["greedy_prompt"]) {
        std::vector<int> tokens;
        while (tokens.size() < golden["greedy"].size())
          session.generate({&slot, 1}, 1, [&](int, int id) { return tokens.push_back(id), true; });
        CHECK(tokens == golden["greedy"].get<std::vector<int>>());
      }
      session.close(slot);
    }
    index++;
  }
  fmt::print("  {}: largest difference of a log-probability {:.2g} (allowed {:.2g})\n", name, worst,
             tolerance);
}

}  // namespace

TEST_CASE("golden models agree, as one chunk and token by token") {
  for (const char* name : {"llama-gqa", "llama-tied", "llama-bias", "llama-f16", "qwen2", "qwen3",
                           "llama-rope-linear", "llama-rope-freqs"})
    check_golden(name);
}

TEST_CASE("random models agree with a double-precision reference of the whole model") {
  std::vector<RandomModel> models;
  for (uint32_t head_dim : {64u, 80u, 96u, 128u, 256u})
    models.push_back({.head_dim = head_dim, .seed = head_dim});
  models.push_back({.architecture = "qwen2", .n_heads = 3, .n_kv_heads = 1, .head_dim = 40});
  models.push_back({.architecture = "qwen3", .n_heads = 4, .n_kv_heads = 4, .head_dim = 24, .tied = true});
  models.push_back(
      {.n_heads = 6, .n_kv_heads = 2, .head_dim = 32, .ffn_dim = 172, .type = DType::f16, .bias = true});
  for (const RandomModel& random : models) {
    const std::vector<std::byte> bytes = random.bytes();
    const ReferenceModel reference(Gguf::parse(bytes, "random"));
    const Model model(device(), Gguf::parse(bytes, "random"));
    Session session(model, exact(128));
    const std::vector<int> ids = random_ids(quick() ? 20 : 70, random.vocab, 3);
    const std::vector<double> expected = reference.logits(ids);
    const size_t vocab = random.vocab;
    const auto check = [&](size_t row, std::span<const float> logits, const char* how) {
      const std::vector<double> e(expected.begin() + static_cast<std::ptrdiff_t>(row * vocab),
                                  expected.begin() + static_cast<std::ptrdiff_t>((row + 1) * vocab));
      const double difference = largest_difference(log_softmax(logits), log_softmax(e));
      CHECK_MESSAGE(difference <= 5e-4, fmt::format("{} head size {}, {}, token {}: {}", random.architecture,
                                                    random.head_dim, how, row, difference));
    };
    const int chunk = session.open();
    session.prefill(chunk, ids,
                    {.sample = false, .on_logits = [&](uint32_t row, std::span<const float> logits) {
                       check(row, logits, "as one chunk");
                     }});
    session.close(chunk);
    const int slot = session.open();
    for (size_t i = 0; i < ids.size(); i++) check(i, session.decode(slot, ids[i]), "token by token");
  }
}

TEST_CASE("what a model file lacks or contradicts is named") {
  const auto load = [](const std::vector<std::byte>& bytes) {
    Model(device(), Gguf::parse(bytes, "file.gguf"));
  };
  const auto replaced = [](std::vector<std::byte> bytes, const std::string& from, const std::string& to) {
    const auto* f = reinterpret_cast<const std::byte*>(from.data());
    const auto at = std::search(bytes.begin(), bytes.end(), f, f + from.size());
    REQUIRE(at != bytes.end());
    std::copy_n(reinterpret_cast<const std::byte*>(to.data()), to.size(), at);
    return bytes;
  };
  const std::vector<std::byte> good = RandomModel{.head_dim = 16}.bytes();
  CHECK_NOTHROW(load(good));
  CHECK_THROWS_WITH_AS(load(replaced(good, "llama", "lloma")),
                       doctest::Contains("supported are: llama, qwen2, qwen3"), Error);
  CHECK_THROWS_WITH_AS(load(replaced(good, "blk.1.ffn_up", "blk.1.ffn_op")),
                       doctest::Contains("tensor 'blk.1.ffn_up.weight' is missing, expected [64, 96]"),
                       Error);
  CHECK_THROWS_WITH_AS(load(replaced(good, "block_count", "block_cuont")),
                       doctest::Contains("llama.block_count"), Error);
  CHECK_THROWS_WITH_AS(load(RandomModel{.n_heads = 3, .n_kv_heads = 2, .head_dim = 16}.bytes()),
                       doctest::Contains("3 heads cannot be shared evenly among 2"), Error);
  CHECK_THROWS_WITH_AS(load(RandomModel{.head_dim = 20}.bytes()),
                       doctest::Contains("head size 20, supported are multiples of 8"), Error);
}
