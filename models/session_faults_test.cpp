// Sessions under the test layer: what is recorded, memory full of NaN, and a failure of every Vulkan call.
#include <doctest/doctest.h>
#include <fmt/core.h>

#include "models/session.h"
#include "runtime/error.h"
#include "tests/device.h"
#include "tests/layer/layer.h"
#include "tests/reference_model.h"

using namespace spindle;
using namespace spindle::test;
using namespace spindle::test_layer;

namespace {

constexpr RandomModel kRandom{.n_layers = 2,
                              .n_heads = 2,
                              .n_kv_heads = 2,
                              .head_dim = 16,
                              .ffn_dim = 40,
                              .vocab = 53,
                              .context = 1024};

std::vector<int> generate(Session& session, uint32_t n, const Session::OnToken& on_token = {}) {
  const int slot = session.open({.temperature = 0});
  session.prefill(slot, random_ids(20, kRandom.vocab, 1));
  std::vector<int> tokens;
  session.generate({&slot, 1}, n, [&](int s, int id) {
    tokens.push_back(id);
    return !on_token || on_token(s, id);
  });
  session.close(slot);
  return tokens;
}

// The whole life of a device, from finding it to the last token.
std::vector<int> generate(uint32_t n) {
  Device device;
  const Model model(device, Gguf::parse(kRandom.bytes(), "random"));
  Session session(model, {});
  return generate(session, n);
}

}  // namespace

TEST_CASE("generated tokens record nothing but the shapes that appear") {
  spindle_layer_enable();
  DeviceOptions options = DeviceOptions::from_environment();
  options.limit_binding = 32768;  // segments of 256 positions
  Device device(options);
  const Model model(device, Gguf::parse(kRandom.bytes(), "random"));
  Session session(model, {.page_tokens = 16, .k_type = DType::f32, .v_type = DType::f32});
  REQUIRE(session.cache().n_segments(720) > 2);
  size_t shapes = 0;
  uint64_t commands = 0, tokens = 0, changes = 0;
  generate(session, 700, [&](int, int) {
    const uint64_t now = spindle_layer_counts().commands;
    if (session.n_recordings() == shapes) CHECK(now == commands);
    else changes++;
    shapes = session.n_recordings();
    commands = now;
    tokens++;
    if (tokens == 10 || tokens == 700)
      fmt::print("  recorded after {} tokens: {} commands, {} shapes\n", tokens, commands, shapes);
    return true;
  });
  CHECK(tokens == 700);
  CHECK(changes <= 6);  // prefill, and decode by depth 256, 512, 1024 and segments
  generate(session, 700);
  CHECK(spindle_layer_counts().commands == commands);  // every shape is known now
}

TEST_CASE("memory that is full of NaN at first changes nothing") {
  const std::vector<int> expected = generate(40);
  spindle_layer_enable();
  spindle_layer_set({.poison = true});
  CHECK(generate(40) == expected);
  CHECK(spindle_layer_counts().poisoned > 0);
  spindle_layer_set({});
}

TEST_CASE("a device that is lost and stays so is an error, and nothing worse") {
  spindle_layer_enable();
  spindle_layer_set({});
  generate(3);
  const uint64_t n = spindle_layer_counts().fallible;
  for (uint64_t k = 1; k <= n; k += quick() ? 61 : 17) {
    spindle_layer_set({.fail_at = k, .fail_result = VK_ERROR_DEVICE_LOST, .fail_forever = true});
    CHECK_THROWS_AS(generate(3), Error);
  }
  spindle_layer_set({});
}

TEST_CASE("a failure of any Vulkan call is one error, and the next run is right") {
  const std::vector<int> expected = generate(3);
  spindle_layer_enable();
  spindle_layer_set({});
  generate(3);
  const uint64_t n = spindle_layer_counts().fallible;
  REQUIRE(n > 50);
  uint64_t failed = 0;
  for (uint64_t k = 1; k <= n; k += quick() ? 23 : 5) {
    spindle_layer_set({.fail_at = k});
    try {
      generate(3);
    } catch (const Error& e) {
      CHECK(std::string(e.what()).size() > 10);
      failed++;
    }
    spindle_layer_set({});
    if (k % 10 == 1) CHECK(generate(3) == expected);
  }
  CHECK(failed > 0);
}
