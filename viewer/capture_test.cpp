// Captures: the same maps without the model, and one clear line for every file that is not one.
#include <doctest/doctest.h>

#include "runtime/error.h"
#include "tests/command_line.h"
#include "tests/device.h"
#include "tests/reference_model.h"
#include "viewer/map.h"

using namespace spindle;
using namespace spindle::test;

namespace {

// Saves maps of a small model; some of its layers.
void save(const std::string& path, const RopeRequest& rope, DType k_type, std::vector<uint32_t> layers) {
  const RandomModel random{.n_layers = 3, .head_dim = 32, .context = 64};
  const Model model(device(), Gguf::parse(random.bytes(), "random"));
  SessionOptions o;
  o.context = 128;
  o.rope = rope;
  o.k_type = k_type;
  Session session(model, o);
  const int slot = session.open({.temperature = 0});
  session.pin(slot, {layers, 0});
  session.prefill(slot, random_ids(90, 97, 2));
  session.generate({&slot, 1}, 11, [](int, int) { return true; });
  AttentionMaps maps(session, slot);
  maps.save(path);
  const AttentionMaps opened = AttentionMaps::open(device(), path);
  CHECK(opened.model() == maps.model());
  CHECK(opened.positions() == maps.positions());
  CHECK(opened.rope().inv_freq == maps.rope().inv_freq);
  CHECK(opened.n_tokens() == 100);
  CHECK(opened.end_query() == maps.end_query());
  CHECK(opened.n_layers() == 3);
  for (size_t i = 0; i < 100; i++) CHECK(opened.tokens()[i].text == maps.tokens()[i].text);
  AttentionMaps again = AttentionMaps::open(device(), path);
  REQUIRE(again.layers().size() == layers.size());
  for (uint32_t layer : layers) {
    const MapRequest r{.layer = layer, .n_heads = 4, .region = {0, 100, 0, 100}, .width = 100, .height = 100};
    CHECK(again.tile(r) == maps.tile(r));
    CHECK(again.layer(layer).plan.queries == maps.layer(layer).plan.queries);
    CHECK(again.layer(layer).k_type == k_type);
    CHECK(again.layer(layer).n_rot == 32);
    CHECK(!again.layer(layer).halves);
    const auto a = maps.statistics(layer), b = again.statistics(layer);
    for (size_t head = 0; head < 4; head++)
      CHECK(a[head].entropy == doctest::Approx(b[head].entropy).epsilon(1e-5));
    const MapRow row = again.row(layer, 1, 77);
    CHECK(row.scores == maps.row(layer, 1, 77).scores);
    for (uint32_t key : {0u, 13u, 60u, 77u}) {
      const std::vector<float> parts = again.products(layer, 1, 77, key);
      CHECK(parts == maps.products(layer, 1, 77, key));
      double sum = 0;
      for (float x : parts) sum += x;
      CHECK(sum == doctest::Approx(row.scores[key]).epsilon(1e-4).scale(1e-2));
    }
    CHECK(again.products(layer, 1, 77, 78).empty());
  }
}

std::string error_of(const std::string& path) {
  try {
    AttentionMaps::open(device(), path);
  } catch (const Error& e) {
    CHECK(e.kind() == ErrorKind::model_file);
    return e.what();
  }
  return "";
}

}  // namespace

TEST_CASE("captures give the same maps, for every type of cache and two forms of keys") {
  const Folder folder("captures");
  save(folder / "f32", {}, DType::f32, {0, 2});
  save(folder / "q8_0", {}, DType::q8_0, {1});
  if (quick()) return;
  save(folder / "f16", {.method = RopeMethod::rerope, .window = 20}, DType::f16, {0, 1, 2});
  save(folder / "q4_0", {.method = RopeMethod::dca, .chunk = 32}, DType::q4_0, {1});
}

TEST_CASE("a capture that is cut or flipped anywhere is one clear line") {
  const Folder folder("bad-captures");
  save(folder / "good", {}, DType::q4_0, {1});
  const std::string good = read_file(folder / "good");
  const auto check = [&](const std::string& bytes, const std::string& what) {
    const std::string path = folder.write("bad", std::as_bytes(std::span(bytes)));
    const std::string line = error_of(path);
    CHECK_MESSAGE(line.starts_with(path), what << ": " << line);
    CHECK_MESSAGE(line.find('\n') == std::string::npos, line);
  };
  const size_t step = quick() ? 4001 : 199;
  for (size_t n = 0; n < good.size(); n += n < 100 ? 1 : step)
    check(good.substr(0, n), fmt::format("cut at {}", n));
  for (size_t at = 0; at < good.size(); at += at < 100 ? 1 : step) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ (1 << at % 8));
    check(bad, fmt::format("flip at {}", at));
  }
  check(good + "x", "longer");
  CHECK(error_of(folder / "none").find("none") != std::string::npos);
}
