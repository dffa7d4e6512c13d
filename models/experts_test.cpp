// Models with experts end to end: the same bits whatever the chunk, the batch and the limits, and routers
// that are not finite.
#include <doctest/doctest.h>
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "models/session.h"
#include "runtime/error.h"
#include "tests/device.h"
#include "tests/reference_model.h"

using namespace spindle;
using namespace spindle::test;

namespace {

// Many rows for each expert, few for each, and a shared one; one in three experts' outputs fills no group
// of 16.
std::vector<RandomModel> models() {
  return {{.head_dim = 16,
           .ffn_dim = 128,
           .type = DType::f16,
           .keys = {{"expert_count", 3u}, {"expert_used_count", 2u}}},
          {.architecture = "qwen2moe",
           .head_dim = 16,
           .keys = {{"expert_count", 48u},
                    {"expert_used_count", 4u},
                    {"expert_feed_forward_length", 24u},
                    {"expert_shared_feed_forward_length", 40u}}}};
}

using Bits = std::vector<float>;

struct Sequence {
  Bits logits;              // after every token of the prompt but the last three
  std::vector<int> tokens;  // drawn after it, in steps with other sequences
  Bits last;                // after one more: of what the cache holds by then
  bool operator==(const Sequence&) const = default;
};

constexpr uint32_t kPrompt = 70, kTokens = 12;

std::vector<Sequence> run(const Model& model, uint32_t chunk, uint32_t n_sequences, uint32_t first = 0) {
  SessionOptions options;
  options.context = 128;
  options.prefill_chunk = options.logit_rows = chunk;
  options.n_slots = n_sequences;
  options.share_prefixes = false;
  Session session(model, options);
  std::vector<Sequence> out(n_sequences);
  std::vector<int> slots;
  for (uint32_t i = 0; i < n_sequences; i++) {
    Sampling sampling;
    sampling.seed = first + i;
    sampling.ignore_end = true;
    slots.push_back(session.open(sampling));
    PrefillOptions prefill;
    prefill.sample = false;
    prefill.on_logits = [&](uint32_t, std::span<const float> logits) {
      out[i].logits.insert(out[i].logits.end(), logits.begin(), logits.end());
    };
    const std::vector<int> ids = random_ids(kPrompt, 97, first + i);
    session.prefill(slots.back(), std::span(ids).first(kPrompt - 3), prefill);
    session.prefill(slots.back(), std::span(ids).last(3));
  }
  session.generate(slots, kTokens, [&](int slot, int id) {
    out[static_cast<size_t>(std::ranges::find(slots, slot) - slots.begin())].tokens.push_back(id);
    return true;
  });
  for (uint32_t i = 0; i < n_sequences; i++) {
    session.prefill(slots[i], {{out[i].tokens.back(), 5}});
    out[i].last = session.last_logits();
  }
  return out;
}

}  // namespace

TEST_CASE("experts give the same bits whatever the chunk, the batch and the limits") {
  size_t turn = 0;
  for (const RandomModel& random : models()) {
    if (passes_over(turn++)) continue;
    const std::vector<std::byte> bytes = random.bytes();
    const Model model(device(), Gguf::parse(bytes, "random"));
    const std::vector<Sequence> whole = run(model, 128, 1);
    REQUIRE(whole[0].logits.size() == (kPrompt - 3) * 97);
    for (uint32_t chunk : {1u, 7u, 64u}) {
      CAPTURE(chunk);
      CHECK(run(model, chunk, 1) == whole);
    }
    const std::vector<Sequence> together = run(model, 64, 5);
    CHECK(together[0] == whole[0]);
    for (uint32_t i : {1u, 4u}) CHECK(together[i] == run(model, 64, 1, i)[0]);

    DeviceOptions limits = DeviceOptions::from_environment();
    limits.limit_binding = 32768;
    Device limited(limits);
    const Model cut(limited, Gguf::parse(bytes, "random"));
    CHECK(cut.weights().layer(0).experts.gate.weight.parts.size() > 1);
    Session session(cut, {.context = 128});
    const Experts experts = cut.architecture().layer(cut.config(), 0).feed_forward.experts;
    CHECK(session.prefill_chunk() == 32768 / (4 * experts.used * std::max(experts.dim, cut.config().dim)));
    CHECK(run(cut, 64, 1) == whole);
  }
}

TEST_CASE("routers that are not finite are an error") {
  const RandomModel random = models()[1];
  for (const auto& [name, bad] : {std::pair{"blk.1.ffn_gate_inp.weight", NAN},
                                  {"blk.1.ffn_gate_inp.weight", INFINITY},
                                  {"blk.1.ffn_gate_inp_shexp.weight", NAN}}) {
    std::vector<std::byte> bytes = random.bytes();
    const Gguf file = Gguf::parse(bytes, "random");
    std::memcpy(bytes.data() + file.get_tensor(name).offset + 32, &bad, 4);
    const Model model(device(), Gguf::parse(bytes, "random"));
    Session session(model, {.context = 128});
    const int slot = session.open();
    CHECK_THROWS_WITH_AS(session.prefill(slot, random_ids(5, random.vocab, 1)),
                         doctest::Contains("non-finite logits"), Error);
  }
}
