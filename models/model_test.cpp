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
#include "shaders/matmul/matmul_coopmat.h"
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
  const bool has_exact = golden["prompts"][0].contains("exact");
  double tolerance = has_exact ? 2e-3 : golden["tolerance"].get<double>();
  // Cooperative matrices round what f16 weights are multiplied with to f16. So does the peer, whose own
  // difference is allowed, and as much again for other sums.
  if (matmul_uses_coopmat(device().caps(), Phase::prefill, DType::f16))
    tolerance = std::max(tolerance, 2 * golden.value("peer_f16_spread", 0.0));
  const Model model(device(), path->string());
  Session session(model, exact(golden["context"]));
  double worst = 0;
  int index = 0;
  for (const auto& prompt : golden["prompts"]) {
    if (quick() && index > 0) break;
    const std::vector<int> ids = prompt["ids"];
    const std::vector<double> expected = prompt[has_exact ? "exact" : "logprobs"];
    for (bool token_by_token : {false, true}) {
      CAPTURE(name);
      CAPTURE(index);
      CAPTURE(token_by_token);
      const int slot = session.open({.temperature = 0});
      std::vector<float> logits;
      if (token_by_token) {
        // Quickly: the last four, the rest as a prompt.
        const size_t first = quick() && ids.size() > 4 ? ids.size() - 4 : 0;
        if (first) session.prefill(slot, std::span(ids).first(first), {.sample = false});
        for (int id : std::span(ids).subspan(first)) logits = session.decode(slot, id);
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
  size_t turn = 0;
  for (const char* name : {"llama-gqa",
                           "llama-tied",
                           "llama-bias",
                           "llama-f16",
                           "qwen2",
                           "qwen3",
                           "llama-rope-linear",
                           "llama-rope-freqs",
                           "llama-yarn",
                           "llama-yarn-attn",
                           "gpt2",
                           "gptneox",
                           "gptneox-seq",
                           "starcoder2",
                           "stablelm",
                           "stablelm-12b",
                           "falcon",
                           "falcon-40b",
                           "olmo2",
                           "granite",
                           "minicpm",
                           "command-r",
                           "gemma",
                           "baichuan-7b",
                           "llama-moe",
                           "qwen2moe",
                           "qwen3moe",
                           "olmoe",
                           "granitemoe",
                           "bloom",
                           "mpt",
                           "mpt-12h",
                           "mpt-clamp",
                           "baichuan-13b",
                           "gemma2",
                           "gemma3",
                           "gemma3-linear",
                           "phi3",
                           "phi3-long",
                           "olmo2-swa",
                           "cohere2",
                           "mistral3"})
    if (!passes_over(turn++, 4)) check_golden(name);
}

TEST_CASE("random models agree with a double-precision reference of the whole model") {
  std::vector<RandomModel> models;
  for (uint32_t head_dim : {64u, 80u, 96u, 128u, 256u})
    models.push_back({.head_dim = head_dim, .seed = head_dim});
  models.push_back(
      {.n_heads = 6, .n_kv_heads = 2, .head_dim = 32, .ffn_dim = 172, .type = DType::f16, .bias = true});
  models.insert(
      models.end(),
      {
          {.architecture = "qwen2", .n_heads = 3, .n_kv_heads = 1, .head_dim = 40},
          {.architecture = "qwen3", .n_kv_heads = 4, .head_dim = 24, .tied = true},
          {.architecture = "gpt2", .n_kv_heads = 4, .head_dim = 16, .context = 128, .tied = true},
          {.architecture = "gpt2",
           .n_kv_heads = 4,
           .head_dim = 16,
           .context = 128,
           .tensors = {"attn_q.weight"}},
          {.architecture = "gptneox", .n_kv_heads = 4, .head_dim = 24, .n_rot = 6},
          {.architecture = "gptneox",
           .n_kv_heads = 4,
           .head_dim = 24,
           .type = DType::f16,
           .n_rot = 6,
           .keys = {{"use_parallel_residual", false}}},
          {.architecture = "starcoder2", .head_dim = 16, .tied = true, .tensors = {"attn_q.weight"}},
          {.architecture = "stablelm",
           .head_dim = 32,
           .bias = true,
           .n_rot = 8,
           .tensors = {"ffn_norm.weight"}},
          {.architecture = "stablelm", .head_dim = 32, .n_rot = 8, .tensors = {"attn_q_norm.weight"}},
          {.architecture = "falcon", .n_kv_heads = 1, .head_dim = 16},
          {.architecture = "falcon", .head_dim = 16, .tied = true, .tensors = {"attn_norm_2.weight"}},
          {.architecture = "mpt",
           .head_dim = 16,
           .tied = true,
           .bias = true,
           .keys = {{"attention.clamp_kqv", 0.7f}},
           .tensors = {"attn_q_norm.weight", "position_embd.weight"}},
          {.architecture = "baichuan", .n_kv_heads = 4, .head_dim = 8},
          {.architecture = "phi3", .head_dim = 16, .ffn_dim = 48},
          {.architecture = "olmo2", .head_dim = 16},
          {.architecture = "granite",
           .head_dim = 16,
           .keys = {{"embedding_scale", 3.f},
                    {"residual_scale", 0.6f},
                    {"logit_scale", 4.f},
                    {"attention.scale", 0.15f}}},
          {.architecture = "granite", .head_dim = 16, .keys = {{"rope.scaling.finetuned", false}}},
          {.architecture = "minicpm", .head_dim = 16},
          {.architecture = "command-r",
           .head_dim = 16,
           .tied = true,
           .keys = {{"logit_scale", 0.25f}},
           .tensors = {"attn_q_norm.weight"}},
          {.architecture = "gemma", .n_kv_heads = 1, .head_dim = 32, .tied = true, .dim = 64},
          {.architecture = "gemma2",
           .head_dim = 16,
           .dim = 48,
           .keys = {{"attn_logit_softcapping", 0.f},
                    {"final_logit_softcapping", 5.f},
                    {"attention.sliding_window", 0u}}},
          {.architecture = "gemma3",
           .n_layers = 3,
           .head_dim = 16,
           .dim = 48,
           .keys = {{"attention.sliding_window", 0u}}},
          {.head_dim = 16,
           .ffn_dim = 40,
           .keys = {{"expert_count", 5u}, {"expert_used_count", 2u}},
           .tensors = {"ffn_gate.0.weight"}},
          {.head_dim = 32,
           .type = DType::f16,
           .keys = {{"expert_count", 8u}, {"expert_used_count", 2u}, {"expert_weights_scale", 1.5f}}},
          {.architecture = "qwen2moe",
           .head_dim = 16,
           .keys = {{"expert_count", 6u},
                    {"expert_used_count", 3u},
                    {"expert_feed_forward_length", 24u},
                    {"expert_shared_feed_forward_length", 56u}}},
          {.architecture = "qwen3moe",
           .head_dim = 24,
           .keys = {{"expert_count", 40u}, {"expert_used_count", 8u}, {"expert_feed_forward_length", 16u}}},
          {.architecture = "olmoe",
           .head_dim = 16,
           .keys = {{"expert_count", 7u}, {"expert_used_count", 7u}}},
          {.architecture = "spindle", .head_dim = 16, .tied = true, .keys = {{"position_method", "none"}}},
          {.architecture = "spindle", .head_dim = 16, .keys = {{"position_method", "alibi"}}},
          {.architecture = "spindle",
           .head_dim = 16,
           .keys = {{"position_method", "t5bias"},
                    {"attention.relative_buckets_count", 6u},
                    {"attention.relative_max_distance", 20u}}},
          {.architecture = "spindle",
           .head_dim = 16,
           .dim = 56,
           .keys = {{"position_method", "sinusoidal"}, {"embedding_scale", 7.5f}}},
          {.architecture = "granitemoe",
           .head_dim = 16,
           .keys = {{"expert_count", 4u},
                    {"expert_used_count", 1u},
                    {"expert_shared_feed_forward_length", 33u},
                    {"residual_scale", 0.6f},
                    {"logit_scale", 4.f}}},
      });
  size_t turn = 0;
  for (const RandomModel& random : models) {
    if (passes_over(turn++)) continue;
    const std::vector<std::byte> bytes = random.bytes();
    const ReferenceModel reference(Gguf::parse(bytes, "random"));
    const Model model(device(), Gguf::parse(bytes, "random"));
    Session session(model, exact(128));
    const std::vector<int> ids = random_ids(quick() ? 20 : 70, random.vocab, 3);
    const std::vector<double> expected = reference.logits(ids);
    // Rows rounded to the 11 bits of f16, here in nine products in a row.
    const bool rounded = matmul_uses_coopmat(device().caps(), Phase::prefill, random.type);
    const double allowed = rounded ? 1e-2 : 5e-4;
    const size_t vocab = random.vocab;
    const auto check = [&](size_t row, std::span<const float> logits, const char* how) {
      const std::vector<double> e(expected.begin() + static_cast<std::ptrdiff_t>(row * vocab),
                                  expected.begin() + static_cast<std::ptrdiff_t>((row + 1) * vocab));
      const double difference = largest_difference(log_softmax(logits), log_softmax(e));
      CHECK_MESSAGE(difference <= allowed,
                    fmt::format("{} head size {}, {}, token {}: {}", random.architecture, random.head_dim,
                                how, row, difference));
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

TEST_CASE("what a family needs beyond others is checked") {
  const auto load = [](const RandomModel& m) { Model(device(), Gguf::parse(m.bytes(), "file.gguf")); };
  using Keys = decltype(RandomModel::keys);
  for (const auto& [keys, message] : std::initializer_list<std::pair<Keys, const char*>>{
           {{{"logit_scale", 0.f}}, "granite.logit_scale': value at byte"},
           {{{"residual_scale", -1.f}}, "found -1, expected a positive number"},
           {{{"embedding_scale", NAN}}, "found nan, expected a positive number"},
           {{{"attention.scale", INFINITY}}, "found inf, expected a positive number"},
           {{{"attention.clamp_kqv", -1.f}}, "found -1, expected 0 or a positive number"},
           {{{"attention.max_alibi_bias", NAN}}, "found nan, expected 0 or a positive number"},
           {{{"attention.sliding_window_pattern", 0u}}, "found 0, expected 1 to 4096"}}) {
    CAPTURE(message);
    CHECK_THROWS_WITH_AS(load({.architecture = "granite", .head_dim = 16, .keys = keys}),
                         doctest::Contains(message), Error);
  }
  for (const auto& [keys, message] : std::initializer_list<std::pair<Keys, const char*>>{
           {{{"expert_count", 4u}, {"expert_used_count", 5u}}, "found 5, expected 1 to 4"},
           {{{"expert_count", 4u}, {"expert_used_count", 0u}}, "found 0, expected 1 to 4"},
           {{{"expert_count", 4u}}, "expert_used_count"},
           {{{"expert_count", 513u}, {"expert_used_count", 2u}}, "found 513, expected 0 to 512"},
           {{{"expert_count", 64u}, {"expert_used_count", 33u}}, "found 33, expected 1 to 32"},
           {{{"expert_count", 4u}, {"expert_used_count", 2u}, {"expert_gating_func", 2u}},
            "found 2, expected 0 to 1"},
           {{{"expert_count", 4u}, {"expert_used_count", 2u}, {"expert_weights_scale", NAN}}, "found nan"}}) {
    CAPTURE(message);
    CHECK_THROWS_WITH_AS(load({.head_dim = 16, .keys = keys}), doctest::Contains(message), Error);
  }
  for (const auto& [keys, message] : std::initializer_list<std::pair<Keys, const char*>>{
           {{{"position_method", "rope"}}, "found 'rope', expected one of none, alibi, t5bias, sinusoidal"},
           {{}, "key 'spindle.position_method' is missing"},
           {{{"position_method", "t5bias"}, {"attention.relative_buckets_count", 1u}},
            "found 1, expected 2 to"},
           {{{"position_method", "t5bias"}, {"attention.relative_max_distance", 16u}},
            "found 16, expected 17"}}) {
    CAPTURE(message);
    CHECK_THROWS_WITH_AS(load({.architecture = "spindle", .head_dim = 16, .keys = keys}),
                         doctest::Contains(message), Error);
  }
  const RandomModel learned{.architecture = "gpt2", .n_kv_heads = 4, .head_dim = 16, .context = 128};
  const Model model(device(), Gguf::parse(learned.bytes(), "file.gguf"));
  CHECK(Session(model, {}).context() == 128);
  CHECK(Session(model, {}).rope().description == "128 learned positions");
  CHECK_THROWS_WITH_AS(Session(model, exact(129)),
                       doctest::Contains("a context of 129 positions, the model has embeddings for 128"),
                       Error);
}

TEST_CASE("models of every type of weights agree with the reference, in f32 and as the device computes") {
  DeviceOptions options = DeviceOptions::from_environment();
  options.precision_f32 = true;
  Device f32(options);
  double worst[2] = {};
  for (DType type : kWeightTypes) {
    if (quick() && type != DType::bf16 && type != DType::q4_k && type != DType::q6_k && type != DType::mxfp4)
      continue;
    // Outputs that are no multiple of 16, inputs of whole blocks.
    const RandomModel random{.n_layers = 1, .ffn_dim = 256, .vocab = 101, .type = type};
    const std::vector<std::byte> bytes = random.bytes();
    const std::vector<int> ids = random_ids(20, random.vocab, 3);
    const std::vector<double> logits = ReferenceModel(Gguf::parse(bytes, "random")).logits(ids),
                              expected = log_softmax(std::span(logits).last(random.vocab));
    for (bool exactly : {true, false}) {
      const Model model(exactly ? f32 : device(), Gguf::parse(bytes, "random"));
      Session session(model, exact(64));
      const int chunk = session.open();
      std::vector<float> got;
      session.prefill(chunk, ids, {.sample = false, .on_logits = [&](uint32_t, std::span<const float> row) {
                                     got.assign(row.begin(), row.end());
                                   }});
      const double prefill = largest_difference(log_softmax(got), expected);
      session.close(chunk);
      const int single = session.open();
      for (int id : ids) got = session.decode(single, id);
      const double decode = largest_difference(log_softmax(got), expected);
      // Rows quantised to 8 bits are within 1 in 254 of their largest, here in seven products in a row.
      CHECK_MESSAGE(
          std::max(prefill, decode) <= (exactly ? 5e-4 : 0.25),
          fmt::format("{}{}: {} and {}", info(type).name, exactly ? " in f32" : "", prefill, decode));
      worst[exactly] = std::max({worst[exactly], prefill, decode});
    }
  }
  fmt::print("  every type: largest difference of a log-probability {:.2g} in f32, {:.2g} by default\n",
             worst[1], worst[0]);
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
