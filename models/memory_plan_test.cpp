// What is said to be needed is what is allocated, and what does not fit is refused with what would.
#include "models/memory_plan.h"

#include <doctest/doctest.h>

#include "runtime/error.h"
#include "tests/device.h"
#include "tests/reference_model.h"

using namespace spindle;
using namespace spindle::test;

TEST_CASE("the memory that is said to be needed is what a full session allocates") {
  std::vector<RandomModel> models = {
      {.n_layers = 2, .head_dim = 16, .context = 700},
      {.n_layers = 1, .n_heads = 8, .head_dim = 32, .type = DType::f16},
      {.architecture = "spindle", .head_dim = 16, .keys = {{"position_method", "sinusoidal"}}}};
  for (const RandomModel& random : models)
    for (const auto& [context, slots, chunk] : {std::tuple{700u, 1u, 512u}, {256u, 3u, 64u}, {64u, 1u, 7u}}) {
      const MemoryPlan plan(device().caps(), Gguf::parse(random.bytes(), "random"));
      SessionOptions o;
      o.context = context;
      o.n_slots = slots;
      o.prefill_chunk = chunk;
      o.k_type = slots == 1 ? DType::f16 : DType::f32;
      device().placeholder();
      const uint64_t before = device().allocated_bytes();
      const Model model(device(), Gguf::parse(random.bytes(), "random"));
      const uint64_t weights = device().allocated_bytes() - before;
      Session session(model, o);
      for (uint32_t i = 0; i < slots; i++) {
        const int slot = session.open();
        session.prefill(slot, random_ids(context - 2, random.vocab, i + 1), {.sample = false});
        session.decode(slot, 1);
      }
      const MemoryNeed need = plan.need(o);
      const uint64_t allocated = device().allocated_bytes() - before;
      CAPTURE(context);
      CAPTURE(slots);
      CHECK(need.weights == weights);
      CHECK(need.activations == session.activation_bytes());
      CHECK(need.cache >= session.cache().allocated_bytes());
      CHECK(need.scratch >= session.scratch_bytes());
      CHECK(need.scratch <= session.scratch_bytes() * 1.02);
      const double ratio = static_cast<double>(need.total()) / static_cast<double>(allocated);
      CHECK(ratio >= 0.98);
      CHECK(ratio <= 1.02);
      MESSAGE(context, " positions of ", slots, ": said ", need.total(), ", allocated ", allocated);
    }
}

TEST_CASE("a context that shifts needs its window, a chunk and a page, however long the text") {
  const RandomModel random{.head_dim = 32, .context = 700};
  for (const ContextShift shift : {ContextShift::sinks, ContextShift::window})
    for (const uint32_t chunk : {16u, 512u}) {
      const MemoryPlan plan(device().caps(), Gguf::parse(random.bytes(), "random"));
      SessionOptions o;
      o.context = 300;
      o.context_shift = shift;
      o.prefill_chunk = chunk;
      device().placeholder();
      const uint64_t before = device().allocated_bytes();
      const Model model(device(), Gguf::parse(random.bytes(), "random"));
      Session session(model, o);
      session.prefill(session.open(), random_ids(1500, random.vocab, 1), {.sample = false});
      const MemoryNeed need = plan.need(o);
      const double ratio =
          static_cast<double>(need.total()) / static_cast<double>(device().allocated_bytes() - before);
      CAPTURE(chunk);
      CHECK(need.cache ==
            session.cache().allocated_bytes() + align_tensor(session.cache().page_table().bytes()));
      CHECK(need.activations == session.activation_bytes());
      CHECK(ratio >= 0.95);
      CHECK(ratio <= 1.05);
      // And the largest context is found with its ring.
      const uint64_t free = need.total();
      SessionOptions most = o;
      most.context = plan.largest_context(o, free);
      CHECK(plan.need(most).total() <= free);
      most.context += 2 * o.page_tokens;
      CHECK(plan.need(most).total() > free);
    }
}

TEST_CASE("the largest context is the last that fits") {
  const MemoryPlan plan(device().caps(), Gguf::parse(RandomModel{.head_dim = 16}.bytes(), "random"));
  for (const DType type : kCacheTypes)
    for (const uint64_t free : {uint64_t{4} << 20, uint64_t{64} << 20, uint64_t{3} << 30}) {
      SessionOptions o;
      o.k_type = o.v_type = type;
      o.context = plan.largest_context(o, free);
      REQUIRE(o.context > 0);
      CHECK(plan.need(o).total() <= free);
      CHECK_NOTHROW(plan.require_fits(o, free, "here"));
      o.context += o.page_tokens;
      CHECK(plan.need(o).total() > free);
    }
  CHECK(plan.largest_context({}, 1000) == 0);
}

TEST_CASE("what does not fit is refused with what to try") {
  const MemoryPlan plan(device().caps(), Gguf::parse(RandomModel{.head_dim = 16}.bytes(), "random"));
  const auto error = [&](uint32_t context, DType type, uint64_t free) -> std::string {
    SessionOptions o;
    o.context = context;
    o.k_type = o.v_type = type;
    try {
      plan.require_fits(o, free, "the device");
    } catch (const Error& e) {
      CHECK(e.kind() == ErrorKind::out_of_memory);
      return e.what();
    }
    return "";
  };
  const std::string far = error(100 << 20, DType::f16, uint64_t{1} << 30);
  CHECK(far.starts_with("random: needs "));
  CHECK(far.find(", 1.0 GiB free on the device: try -c ") != std::string::npos);
  // Two f32 caches of 4 MiB: as f16 they fit.
  const std::string types = error(1 << 20, DType::f32, uint64_t{400} << 20);
  CHECK_MESSAGE(types.find("try -c ") != std::string::npos, types);
  CHECK_MESSAGE(types.find(" or -ctk f16 -ctv f16") != std::string::npos, types);
  CHECK(error(0, DType::f16, 1000).ends_with("try a smaller model or a smaller quantisation"));
  CHECK(error(0, DType::f16, uint64_t{1} << 30) == "");  // adapts itself
  CHECK(error(100 << 20, DType::f16, 0) == "");          // unknown
}

TEST_CASE("bytes and contexts for people") {
  CHECK(human_bytes(1023) == "1023 B");
  CHECK(human_bytes(1536) == "1.5 KiB");
  CHECK(human_bytes(uint64_t{9} << 30) == "9.0 GiB");
  CHECK(human_context(49152 + 64) == "48k");
  CHECK(human_context(500) == "500");
}
