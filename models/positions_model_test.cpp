// Whole models under extensions that must, or must not, change what they say.
#include <cstring>
#include <fstream>
#include <iterator>

#include "models/session.h"
#include "tests/compare.h"
#include "tests/device.h"
#include "tests/reference_model.h"
#include "tests/shared_data.h"

using namespace spindle;
using namespace spindle::test;
using enum RopeMethod;

namespace {

SessionOptions exact(uint32_t context, RopeRequest rope = {}) {
  SessionOptions o;
  o.context = context;
  o.k_type = o.v_type = DType::f32;
  o.logit_rows = 32;
  o.rope = std::move(rope);
  return o;
}

// Log-probabilities after the last token.
std::vector<double> last(const Model& model, const SessionOptions& o, const std::vector<int>& ids) {
  Session session(model, o);
  session.prefill(session.open(), ids);
  return log_softmax(std::span<const float>(session.last_logits()));
}

std::vector<double> last(const RandomModel& m, const SessionOptions& o, const std::vector<int>& ids) {
  const std::vector<double> logits =
      ReferenceModel(Gguf::parse(m.bytes(), "random"), o.context, o.rope, o.pattern).logits(ids);
  return log_softmax(std::span(logits).last(m.vocab));
}

double difference(const std::vector<double>& a, const std::vector<double>& b) {
  REQUIRE(a.size() == b.size());
  double most = 0;
  for (size_t i = 0; i < a.size(); i++) most = std::max(most, std::abs(a[i] - b[i]));
  return most;
}

RandomModel small(const char* architecture = "llama") {
  RandomModel m;
  m.architecture = architecture;
  m.head_dim = 32;
  m.context = 1024;
  return m;
}

Model load(const RandomModel& m) { return {device(), Gguf::parse(m.bytes(), "random")}; }

// H5: with room enough nothing is far.
void check_nothing_far(const std::string& name, const Model& model, const std::vector<int>& ids) {
  const std::vector<double> plain = last(model, exact(256), ids);
  for (const RopeRequest& wish : {RopeRequest{.method = rerope, .window = 1000},
                                  {.method = leaky_rerope, .window = 1000},
                                  {.method = self_extend, .group_window = 1000},
                                  {.method = dca, .chunk = 1000}}) {
    if (quick() && wish.method != rerope && wish.method != dca) continue;
    const double d = difference(last(model, exact(256, wish), ids), plain);
    CHECK_MESSAGE(d <= 1e-4, fmt::format("{} {}: {}", name, name_of(*wish.method), d));
  }
}

}  // namespace

TEST_CASE("distances that nothing exceeds leave a model as its file has it") {
  for (const char* method : {"none", "linear", "yarn"}) {
    RandomModel m = small();
    m.keys = {{"rope.scaling.type", std::string(method)},
              {"rope.scaling.factor", 4.0f},
              {"rope.scaling.original_context_length", uint32_t{64}}};
    const std::vector<int> ids = random_ids(70, m.vocab, 3);
    const Model model = load(m);
    check_nothing_far(method, model, ids);
    const double d = difference(last(model, exact(256, {.method = rerope, .window = 1000}), ids),
                                last(m, exact(256), ids));
    CHECK_MESSAGE(d <= 1e-3, fmt::format("{} against the double-precision model: {}", method, d));
  }
  for (const char* name : {"llama-rope-freqs", "llama-rope-linear", "llama-yarn", "phi3-long"}) {
    const auto path = shared_or_skip(fmt::format("golden/{}.gguf", name));
    if (!path) return;
    const Model model(device(), path->string());
    std::vector<int> ids = {1};
    for (int i = 1; i < 70; i++) ids.push_back(3 + i * 37 % 250);
    check_nothing_far(name, model, ids);
  }
}

TEST_CASE("extensions leave layers with windows alone, where full layers have no positions") {
  RandomModel m = small("cohere2");
  m.n_layers = 4;
  m.keys = {{"attention.sliding_window", uint32_t{20}}, {"logit_scale", 1.0f}};
  const Model model = load(m);
  const std::vector<int> ids = random_ids(150, m.vocab, 5);
  const std::vector<double> plain = last(model, exact(256), ids);
  for (const RopeRequest& wish : {RopeRequest{.method = dca, .chunk = 32},
                                  {.method = rerope, .window = 24},
                                  {.method = self_extend, .group_window = 24}})
    CHECK_MESSAGE(difference(last(model, exact(256, wish), ids), plain) <= 1e-4, name_of(*wish.method));
}

TEST_CASE("dynamic scaling leaves layers with frequencies of their own alone") {
  RandomModel m = small("olmo2");
  m.n_layers = 4;
  m.n_kv_heads = m.n_heads;
  m.keys = {{"attention.sliding_window", uint32_t{24}}};
  const std::vector<int> ids = random_ids(70, m.vocab, 5);
  // 70 positions: frequencies of 70, 20 doubled and then 7 quarters.
  const SessionOptions follows = exact(256, {.method = dynamic, .original_context = 20}),
                       fixed = exact(256, {.method = ntk, .factor = 3.5, .original_context = 20});
  const Model model = load(m);
  const std::vector<double> got = last(model, follows, ids);
  CHECK(difference(got, last(model, fixed, ids)) <= 1e-4);
  CHECK(difference(got, last(m, fixed, ids)) <= 1e-3);
  CHECK(difference(got, last(model, exact(256), ids)) > 1e-2);
}

TEST_CASE("log-n counts the keys that a row sees") {
  const RopeRequest wish{.original_context = 8, .log_n = true};
  const RandomModel m = small();
  const Model model = load(m);
  const std::vector<int> ids = random_ids(70, m.vocab, 5);
  const auto with = [&](const char* pattern, const RopeRequest& rope) {
    SessionOptions o = exact(256, rope);
    o.pattern = parse_attention_pattern(pattern);
    return last(model, o, ids);
  };
  CHECK(with("window:8", wish) == with("window:8", {}));  // never more than 8: the factor is 1
  CHECK(difference(with("window:9", wish), with("window:9", {})) > 1e-3);
  SessionOptions sinks = exact(256, wish);
  sinks.pattern = parse_attention_pattern("sinks:4,16");
  CHECK(difference(last(model, sinks, ids), last(m, sinks, ids)) <= 1e-3);

  // Layers without rotations have it too.
  RandomModel nope = small("cohere2");
  nope.n_layers = 4;
  nope.keys = {{"attention.sliding_window", uint32_t{8}}, {"logit_scale", 1.0f}};
  const Model layers = load(nope);
  const std::vector<double> got = last(layers, exact(256, wish), ids);
  CHECK(difference(got, last(nope, exact(256, wish), ids)) <= 1e-3);
  CHECK(difference(got, last(layers, exact(256), ids)) > 1e-3);  // the windows see 8: the full layer's doing
}

TEST_CASE("a scaling factor without a type is in force") {
  RandomModel m = small();
  const std::vector<int> ids = random_ids(70, m.vocab, 5);
  m.keys = {{"rope.scaling.type", std::string("linear")}, {"rope.scaling.factor", 4.0f}};
  const std::vector<double> typed = last(load(m), exact(256), ids);
  for (const char* key : {"rope.scaling.factor", "rope.scale_linear"}) {
    m.keys = {{key, 4.0f}};
    CHECK(last(load(m), exact(256), ids) == typed);
  }
  m.keys = {};
  CHECK(difference(last(load(m), exact(256), ids), typed) > 1e-2);

  const auto path = shared_or_skip("golden/llama-rope-linear.gguf");
  if (!path) return;
  std::ifstream in(*path, std::ios::binary);
  std::string bytes{std::istreambuf_iterator<char>(in), {}};
  const size_t at = bytes.find("rope.scaling.type");
  REQUIRE(at != std::string::npos);
  bytes[at + std::strlen("rope.scaling.typ")] = 'X';
  const auto patched = std::as_bytes(std::span(bytes));
  const Model without(device(), Gguf::parse({patched.begin(), patched.end()}, "patched"));
  const Model with(device(), path->string());
  CHECK(last(without, exact(256), ids) == last(with, exact(256), ids));
}
