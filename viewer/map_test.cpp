// Maps of whole models against the double-precision reference, and pins that cost nothing when there are
// none.
#include "viewer/map.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "runtime/error.h"
#include "shaders/attention_map/attention_map.h"
#include "tests/device.h"
#include "tests/reference_model.h"
#include "tests/shared_data.h"

using namespace spindle;
using namespace spindle::test;

namespace {

SessionOptions exact(uint32_t context) {
  SessionOptions o;
  o.context = context;
  o.k_type = o.v_type = DType::f32;
  o.prefill_chunk = 50;
  return o;
}

// Every head of every layer, cell by cell, pooled, and its statistics; returns the largest difference.
double check_maps(const Model& model, const ReferenceModel& reference, const SessionOptions& options,
                  const std::vector<int>& ids, const std::string& name) {
  CAPTURE(name);
  Session session(model, options);
  const int slot = session.open();
  session.pin(slot, pin_all(model.config().n_layers));
  AttentionMaps maps(session, slot);
  const auto n = static_cast<uint32_t>(ids.size()), prompt = n - n / 4;
  session.prefill(slot, std::span(ids).first(prompt));
  for (uint32_t i = prompt; i < n; i++) session.decode(slot, ids[i]);
  REQUIRE(maps.end_query() == n);
  REQUIRE(maps.layers().size() == model.config().n_layers);
  const auto all = reference.probabilities(ids);
  double worst = 0;
  for (const MapLayer& layer : maps.layers()) {
    const std::vector<double>& p = all[layer.index];
    const auto compare = [&](const MapRequest& r, MapValue value, double scale = 1) {
      MapImage m{r.first_head, r.n_heads, 0, n, 0, n, r.width, r.height, 0, r.height, value, r.hidden_keys};
      const auto expected = reference::attention_map(p, layer.n_heads, n, m);
      const std::vector<float> got = maps.tile(r);
      REQUIRE(got.size() == expected.size());
      double most = 0;
      for (size_t i = 0; i < got.size(); i++) most = std::max(most, std::abs(got[i] - expected[i] * scale));
      worst = std::max(worst, most / (value == MapValue::sum && scale == 1 ? n : 1));
    };
    MapRequest r{
        .layer = layer.index, .n_heads = layer.n_heads, .region = {0, n, 0, n}, .width = n, .height = n};
    compare(r, MapValue::max);
    r.width = n / 5, r.height = n / 7;
    compare(r, MapValue::max);
    r.pool = Pool::sum;
    r.hidden_keys = 1;
    compare(r, MapValue::sum);
    r.width = 3, r.height = 2, r.pool = Pool::mean;
    if (n % 6 == 0) compare(r, MapValue::sum, 6.0 / n / n);

    const std::vector<HeadStatistics> heads = maps.statistics(layer.index, {.sinks = 2, .window = 5});
    MapImage m{0, layer.n_heads, 0, n, 0, n, 1, 1, 0, 1, MapValue::statistics};
    m.n_sinks = 2, m.window = 5;
    const auto expected = reference::attention_map(p, layer.n_heads, n, m);
    for (const HeadStatistics& h : heads) {
      const double found[] = {h.mass, h.entropy, h.mean_distance, h.sink_mass, h.window_mass, h.previous};
      for (size_t i = 0; i < 6; i++)
        CHECK(found[i] == doctest::Approx(expected[h.head * 6 + i] / n).epsilon(2e-4).scale(1));
    }
    const uint32_t head = layer.n_heads - 1;
    const MapRow row = maps.row(layer.index, head, n - 1);
    const AttentionShape& shape = layer.plan.shape;
    if (shape.soft_cap == 0 && shape.slopes.empty() && shape.bias.empty() && shape.passes.size() < 2) {
      const std::vector<float> parts = maps.products(layer.index, head, n - 1, n / 2);
      double sum = parts.empty() ? -1e30 : 0;
      for (float x : parts) sum += x;
      CHECK(sum == doctest::Approx(row.scores[n / 2]).epsilon(1e-4).scale(1e-2));
    }
    for (uint32_t j = 0; j < n; j++) {
      const double value = p[(size_t{n - 1} * layer.n_heads + head) * n + j];
      worst = std::max(worst, std::abs(row.probabilities[j] - value));
      if (value > 0 && layer.plan.shape.passes.size() < 2)
        CHECK(std::exp(double{row.scores[j]} - row.log_sum_exp) ==
              doctest::Approx(value).epsilon(1e-3).scale(1e-3));
    }
  }
  CHECK(worst <= 1e-4);
  fmt::print("  maps of {}: {} layers, largest difference of a probability {:.2g}\n", name,
             maps.layers().size(), worst);
  return worst;
}

}  // namespace

TEST_CASE("times of pieces: shares, the longest, and two lists as one") {
  PieceTimes a, b;
  CHECK(a.quantile(0.5) == 0);
  for (int i = 0; i < 99; i++) a.add(3.1, 4);
  b.add(1000, 1001);
  a.add(b);
  CHECK(a.n == 100);
  CHECK(a.quantile(0.5) == 3.25);  // to a quarter of a millisecond
  CHECK(a.quantile(0.99) == 3.25);
  CHECK(a.quantile(0.995) == 1000);
  CHECK(a.above(3) == 100);
  CHECK(a.above(3.25) == 1);
  CHECK(a.above(1e9) == 0);
  CHECK(a.longest_ms == 1000);
  CHECK(a.all_ms == doctest::Approx(99 * 3.1 + 1000));
  CHECK(a.all_clock_ms == doctest::Approx(99 * 4 + 1001));
}

TEST_CASE("maps of golden models equal softmax(Q K^T) in double precision, every layer and head") {
  for (const char* name : {"llama-gqa", "gemma2", "bloom", "mpt"}) {
    const auto path = shared_or_skip(fmt::format("golden/{}.gguf", name));
    if (!path) continue;
    std::ifstream in(path->parent_path() / (std::string(name) + ".json"));
    const nlohmann::json golden = nlohmann::json::parse(in);
    const Gguf file = Gguf::open(path->string());
    const Model model(device(), path->string());
    const uint32_t context = golden["context"];
    std::vector<int> ids;
    for (const auto& prompt : golden["prompts"])
      if (prompt["ids"].size() > ids.size()) ids = prompt["ids"].get<std::vector<int>>();
    check_maps(model, ReferenceModel(file, context), exact(context), ids, name);
  }
}

TEST_CASE("maps of the models that ship equal softmax(Q K^T) in double precision, every layer and head") {
  const std::filesystem::path folder = SPINDLE_SOURCE_DIR "/models/pretrained";
  const std::set<std::string> few = {SPINDLE_DEFAULT_MODEL, "spindle-alibi-q8_0.gguf",
                                     "spindle-t5bias-q8_0.gguf"};
  // Products of rows that were rounded to 8 bits are another model's.
  DeviceOptions options = DeviceOptions::from_environment();
  options.precision_f32 = true;
  Device full(options);
  int n = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (entry.path().extension() != ".gguf" || (quick() && !few.contains(name))) continue;
    const Model model(full, entry.path().string());
    std::vector<int> ids = model.tokenizer().encode(
        "It is a truth universally acknowledged, that a single man in possession of a good fortune, must be "
        "in "
        "want of a wife. However little known the feelings or views of such a man may be.");
    ids.resize(ids.size() / 6 * 6);
    if (quick()) ids.resize(24);
    check_maps(model, ReferenceModel(Gguf::open(entry.path().string()), 256), exact(256), ids, name);
    n++;
  }
  CHECK(n >= 3);
}

TEST_CASE("maps follow every method of positions and pattern") {
  const std::vector<int> ids = random_ids(120, 97, 3);
  const RandomModel random{.n_layers = 2, .head_dim = 32, .context = 48};
  const Gguf file = Gguf::parse(random.bytes(), "random");
  const Model model(device(), Gguf::parse(random.bytes(), "random"));
  const auto check = [&](const std::string& name, const RopeRequest& rope, const std::string& pattern = "") {
    SessionOptions o = exact(128);
    o.rope = rope;
    o.pattern = parse_attention_pattern(pattern);
    check_maps(model, ReferenceModel(file, 128, rope, o.pattern), o, ids, name);
  };
  check("yarn", {.method = RopeMethod::yarn, .factor = 3});
  check("self-extend", {.method = RopeMethod::self_extend, .group_size = 4, .group_window = 16});
  if (quick()) return;
  check("rerope", {.method = RopeMethod::rerope, .window = 20});
  check("leaky-rerope", {.method = RopeMethod::leaky_rerope, .window = 20});
  check("dca", {.method = RopeMethod::dca, .chunk = 16});
  check("log-n", {.log_n = true});
  check("window", {}, "window:20");
  check("sinks", {}, "sinks:4,30");
  check("bigbird", {}, "bigbird:8,1,2,2");
  check("dilated", {}, "dilated:16/1,64/4");
}

TEST_CASE("without pins a session is what it was, and with them its logits have the same bits") {
  const RandomModel random{};
  const Model model(device(), Gguf::parse(random.bytes(), "random"));
  const std::vector<int> ids = random_ids(70, 97, 5);
  struct Run {
    std::vector<float> logits, more;
    std::vector<int> tokens;
    size_t n_recordings;
    uint64_t bytes, scratch;
  };
  const auto run = [&](const std::vector<AttentionPins>& pins) {
    const uint64_t before = device().allocated_bytes();
    Session session(model, exact(256));
    const int slot = session.open({.temperature = 0});
    for (const AttentionPins& p : pins) session.pin(slot, p);
    Run r;
    session.prefill(slot, ids);
    r.logits = session.last_logits();
    session.generate({&slot, 1}, 20, [&](int, int id) { return r.tokens.push_back(id), true; });
    r.n_recordings = session.n_recordings();
    r.scratch = session.scratch_bytes() + session.activation_bytes();
    r.bytes = device().allocated_bytes() - before;
    if (!pins.empty() && !pins.back().layers.empty())
      CHECK(session.record()->end() == session.n_tokens(slot));
    return r;
  };
  const Run none = run({}), off = run({pin_all(2), {}}), on = run({pin_all(2)}), one = run({{{1}, 0}});
  const auto same = [](const Run& a, const Run& b) {
    return a.logits.size() == b.logits.size() &&
           std::memcmp(a.logits.data(), b.logits.data(), a.logits.size() * 4) == 0 && a.tokens == b.tokens;
  };
  CHECK(same(none, off));
  CHECK(none.n_recordings == off.n_recordings);
  CHECK(none.bytes == off.bytes);
  CHECK(none.scratch == off.scratch);
  CHECK(same(none, on));
  CHECK(same(none, one));
  CHECK(on.bytes > one.bytes);
  CHECK(one.bytes > none.bytes);
}

TEST_CASE("what is kept follows truncation, other sequences, shared prefixes and the budget") {
  const RandomModel random{};
  const Model model(device(), Gguf::parse(random.bytes(), "random"));
  const std::vector<int> ids = random_ids(150, 97, 6);
  SessionOptions o = exact(256);
  o.n_slots = 2;
  Session session(model, o);
  const int other = session.open({.temperature = 0}), slot = session.open({.temperature = 0});
  AttentionMaps maps(session, slot);
  CHECK(maps.layers().empty());
  CHECK_THROWS_AS(maps.tile({.region = {0, 1, 0, 1}, .width = 1, .height = 1}), Error);
  session.prefill(other, ids);
  session.pin(slot, {{1}, 0});
  session.prefill(slot, ids);  // not shared: every query is wanted
  CHECK(maps.first_query() == 0);
  CHECK(maps.end_query() == 150);
  const int both[] = {other, slot};
  session.generate(both, 9, [](int, int) { return true; });
  CHECK(maps.end_query() == maps.n_tokens());
  const MapRequest r{.layer = 1, .first_head = 3, .region = {0, 100, 0, 100}, .width = 20, .height = 20};
  const std::vector<float> before = maps.tile(r);
  session.truncate(slot, 100);
  CHECK(maps.end_query() == 100);
  CHECK(maps.tile(r) == before);
  session.prefill(slot, std::span(ids).subspan(100, 20));
  CHECK(maps.end_query() == 120);
  CHECK(maps.tile(r) == before);
  // A job in small steps gives the same, and says how far it is.
  MapRequest large = r;
  large.region = {0, 120, 0, 120};
  large.width = large.height = 120;
  MapJob job = maps.job(large, 1e-3);
  int steps = 0;
  while (!job.step(1e-3)) steps++;
  CHECK(job.lines_done() == 120);
  CHECK(job.progress() == 1);
  const std::vector<float> whole = maps.tile(large);
  CHECK(std::ranges::equal(whole, job.values()));
  CHECK(steps > 0);
  // More cells than positions: each shows its position's.
  MapRequest zoomed = large;
  zoomed.region = {100, 4, 98, 5};
  zoomed.width = 10, zoomed.height = 8;
  const std::vector<float> cells = maps.tile(zoomed);
  for (uint32_t y = 0; y < 8; y++)
    for (uint32_t x = 0; x < 10; x++) CHECK(cells[y * 10 + x] == whole[(100 + y / 2) * 120 + 98 + x / 2]);
  // Pins in the middle: rows from there on. A budget that one part does not fit into: nothing.
  session.pin(slot, {{0}, 0});
  session.prefill(slot, std::span(ids).subspan(120, 10));
  CHECK(maps.first_query() == 120);
  CHECK(maps.end_query() == 130);
  CHECK(std::ranges::count(maps.tile({.layer = 0, .region = {0, 100, 0, 100}, .width = 9, .height = 9}),
                           0.f) == 81);
  session.pin(slot, {{0}, 1000});
  session.prefill(slot, std::span(ids).subspan(130, 10));
  CHECK(maps.end_query() == 0);
  CHECK_THROWS_AS(session.pin(slot, {{2}, 0}), Error);
}
