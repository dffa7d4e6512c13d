// What a session plans from a file's and a person's wishes: nothing that either says is lost.
#include "models/positions_choice.h"

#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>

#include "models/attention_plan.h"
#include "runtime/error.h"
#include "tests/gguf_writer.h"

using namespace spindle;
using enum RopeMethod;

namespace {

constexpr RopeMethod kDistances[] = {rerope, leaky_rerope, self_extend, dca};

FileRope file(const RopeRequest& request = {}, uint32_t trained = 1024) {
  FileRope f;
  f.model = {32, 32, 1e4, trained};
  f.request = request;
  return f;
}

FileRope long_and_short(double attention_factor) {
  FileRope f = file({.original_context = 64, .attention_scale = attention_factor}, 4096);
  f.divisors.short_texts.assign(16, 1.5);
  f.divisors.long_texts.assign(16, 3);
  return f;
}

RopeRequest written(const std::function<void(GgufWriter&)>& write) {
  GgufWriter w;
  write(w);
  return read_rope_request(Gguf::parse(w.finish(), "test"), "x.");
}

void check_refused(const FileRope& f, const RopeRequest& person, const char* words) {
  CAPTURE(words);
  try {
    choose_rope(f, 1024, person);
    FAIL("was accepted");
  } catch (const Error& e) {
    CHECK(e.kind() == ErrorKind::usage);
    CHECK_MESSAGE(std::string(e.what()).find(words) != std::string::npos, e.what());
  }
}

FileRope hugging_face(const char* config) { return read_hugging_face_rope(nlohmann::json::parse(config)); }

}  // namespace

TEST_CASE("positions: a file's factor without a type is interpolation") {
  for (const char* key : {"x.rope.scaling.factor", "x.rope.scale_linear"}) {
    CAPTURE(key);
    const RopeRequest r = written([&](GgufWriter& w) { w.set(key, 4.0f); });
    CHECK(r.method == linear);
    const std::vector<double> plain = rope_frequencies(32, 1e4);
    const RopePlan p = choose_rope(file(r), 1024);
    for (size_t t = 0; t < plain.size(); t++) CHECK(p.inv_freq[t] == doctest::Approx(plain[t] / 4));
    const RopeRequest off = written([&](GgufWriter& w) {
      w.set(key, 4.0f);
      w.set("x.rope.scaling.type", "none");
    });
    CHECK(choose_rope(file(off), 1024).inv_freq == plain);
    // Beside factors of frequencies too, as llama.cpp.
    FileRope both = long_and_short(1);
    both.request.method = r.method;
    both.request.factor = r.factor;
    CHECK(choose_rope(both, 4096).inv_freq[3] == doctest::Approx(plain[3] / 12));
  }
  CHECK(!written([](GgufWriter& w) { w.set("x.rope.scaling.factor", 1.0f); }).method);
}

TEST_CASE("positions: distances are changed on the file's own frequencies") {
  FileRope llama3 = file();
  for (int t = 0; t < 16; t++) llama3.divisors.always.push_back(t < 8 ? 1 : 8);
  const std::pair<const char*, FileRope> files[] = {
      {"plain", file()},
      {"rope_freqs", llama3},
      {"linear", file({.method = linear, .factor = 4, .original_context = 256})},
      {"yarn", file({.method = yarn, .factor = 4, .original_context = 128, .attention_scale = 1.25})},
      {"longrope", long_and_short(1.19)}};
  for (const auto& [name, f] : files)
    for (RopeMethod m : kDistances) {
      CAPTURE(name);
      CAPTURE(name_of(m));
      const RopePlan own = choose_rope(f, f.model.context_length);
      const RopePlan p = choose_rope(f, f.model.context_length, {.method = m});
      CHECK(p.inv_freq == own.inv_freq);
      CHECK(p.magnitude == own.magnitude);
      // Windows and chunks are shares of what the model was trained with, extended or not.
      const uint32_t trained = f.model.context_length;
      CHECK(p.original_context == trained);
      if (m == rerope) CHECK(p.window == trained / 4);
      if (m == dca) CHECK(p.chunk == trained * 5 / 8);
      // Every pair of positions meets at the plain distance up to the window.
      for (uint32_t i : {0u, 5u, 30u})
        for (uint32_t j = 0; j <= i; j++) CHECK(p.queries[0].map(i) - p.keys[0].map(j) == i - j);
    }
  const RopePlan twice = choose_rope(file({.method = yarn, .factor = 4, .original_context = 128}), 1024,
                                     {.method = rerope, .base = 1e6, .attention_scale = 2});
  const RopePlan once =
      choose_rope(file({.method = yarn, .factor = 4, .original_context = 128}), 1024, {.base = 1e6});
  CHECK(twice.inv_freq == once.inv_freq);
  CHECK(twice.magnitude == doctest::Approx(2 * once.magnitude));
  CHECK(twice.description.find("frequencies: rope yarn") != std::string::npos);
  CHECK(choose_rope(file(), 1024, {.method = rerope}).description.find("frequencies:") == std::string::npos);
}

TEST_CASE("positions: what a person says goes before what the file says") {
  RopeRequest said{.method = yarn, .factor = 4, .base = 1e6, .original_context = 32768, .beta_fast = 16};
  said.divisors.assign(32, 2);
  const RopeRequest same = override_rope(said, {.factor = 8});
  CHECK((same.method == yarn && same.factor == 8 && same.beta_fast == 16 && !same.divisors.empty()));
  const RopeRequest other = override_rope(said, {.method = linear, .factor = 2});
  CHECK((other.method == linear && other.factor == 2 && !other.beta_fast && other.divisors.empty()));
  CHECK((other.base == 1e6 && other.original_context == 32768));

  // Naming the method that the file has changes nothing.
  const FileRope mistral = file({.method = yarn,
                                 .factor = 4,
                                 .original_context = 128,
                                 .mscale = 1,
                                 .mscale_all_dim = 1,
                                 .beta_fast = 4,
                                 .beta_slow = 2});
  const FileRope phi = long_and_short(1.19);
  for (const auto& [f, m] :
       {std::pair(mistral, yarn), {phi, longrope}, {file({.method = linear, .factor = 4}), linear}})
    for (uint32_t context : {32u, 1024u, 8192u}) {
      const RopePlan own = choose_rope(f, context), named = choose_rope(f, context, {.method = m});
      CHECK(named.inv_freq == own.inv_freq);
      CHECK(named.magnitude == own.magnitude);
      CHECK(named.description == own.description);
    }
  CHECK(choose_rope(mistral, 1024, {.method = yarn}).magnitude == 1);
  CHECK(choose_rope(phi, 64, {.method = longrope}).inv_freq[0] == doctest::Approx(1 / 1.5));
  CHECK(choose_rope(phi, 65, {.method = longrope}).inv_freq[0] == doctest::Approx(1 / 3.0));

  // Attention factors multiply.
  const FileRope attn = file({.method = yarn, .factor = 8, .original_context = 128, .attention_scale = 1.25});
  const double yarns = 0.1 * std::log(8) + 1;
  CHECK(choose_rope(attn, 1024).magnitude == doctest::Approx(1.25 * yarns));
  CHECK(choose_rope(attn, 1024, {.attention_scale = 1}).magnitude == doctest::Approx(1.25 * yarns));
  CHECK(choose_rope(attn, 1024, {.attention_scale = 2}).magnitude == doctest::Approx(2.5 * yarns));
  CHECK(choose_rope(attn, 1024, {.method = linear, .factor = 2}).magnitude == 1);
  CHECK(choose_rope(phi, 1024).magnitude == doctest::Approx(1.19));
  CHECK(choose_rope(phi, 1024, {.attention_scale = 1}).magnitude == doctest::Approx(1.19));
  CHECK(choose_rope(phi, 1024, {.attention_scale = 2}).magnitude == doctest::Approx(2.38));

  check_refused(phi, {.factor = 4}, "not a parameter of --rope-scaling longrope");
  check_refused(phi, {.method = longrope, .factor = 4}, "not a parameter of --rope-scaling longrope");
  check_refused(file(), {.method = rerope, .factor = 4}, "not a parameter of --rope-scaling rerope");
}

TEST_CASE("positions: factors are derived from the context, and tell how far a plan reaches") {
  const FileRope f = file({}, 512);
  constexpr double all = std::numeric_limits<double>::infinity();
  for (RopeMethod m : {linear, ntk, ntk_parts, yarn, llama3}) {
    CAPTURE(name_of(m));
    const RopePlan eight = choose_rope(f, 4096, {.method = m});
    CHECK((eight.factor == 8 && eight.reach == 4096));
    CHECK(eight.description.find("factor 8") != std::string::npos);
    CHECK(choose_rope(f, 256, {.method = m}).factor == 1);
    const RopePlan four = choose_rope(f, 4096, {.method = m, .factor = 4});
    CHECK((four.factor == 4 && four.reach == 2048));
    CHECK(choose_rope(f, 4096, {.method = m, .original_context = 1024}).factor == 4);
  }
  CHECK(choose_rope(f, 4096).reach == 512);
  CHECK(choose_rope(f, 4096, {.factor = 4}).reach == 2048);
  CHECK(choose_rope(f, 4096, {.method = dynamic}).factor == 1);
  for (RopeMethod m : {dynamic, rerope, dca}) CHECK(choose_rope(f, 4096, {.method = m}).reach == all);
  // A tuned file's reach is what it was tuned for, and unscaled it is the original one.
  const FileRope tuned = file({.method = linear, .factor = 4, .original_context = 256});
  CHECK(choose_rope(tuned, 4096).reach == 1024);
  CHECK(choose_rope(tuned, 4096, {.method = none}).reach == 256);
  CHECK(choose_rope(long_and_short(1.19), 8192).reach == 4096);
  // A16: (L - W) G + W; A15: w + (n - w) / k = L.
  CHECK(choose_rope(file({}, 4096), 1 << 20, {.method = self_extend, .group_size = 8, .group_window = 1024})
            .reach == 25600);
  CHECK(choose_rope(file({}, 4096), 1 << 20, {.method = leaky_rerope, .window = 1024, .leak = 8}).reach ==
        doctest::Approx(25600));
}

TEST_CASE("positions: wishes for rotations are refused where there are none") {
  FileRope f = file();
  f.architecture = "bloom";
  f.unrotated = "ALiBi, largest exponent 8";
  const RopePlan p = choose_rope(f, 1024);
  CHECK((p.description == f.unrotated && p.inv_freq.empty() && p.reach == 1024));
  const RopeRequest log_n{.log_n = true};
  for (const RopeRequest& wish : {RopeRequest{.method = yarn},
                                  {.factor = 1},
                                  {.base = 1e4},
                                  {.original_context = 100},
                                  {.attention_scale = 2},
                                  {.extension = 1},
                                  {.window = 8},
                                  {.chunk = 8},
                                  log_n})
    check_refused(f, wish, "for rotary positions; this bloom model has ALiBi");
}

TEST_CASE("positions: temperatures that exclude each other, and windows without room") {
  RopeRequest log_n{.log_n = true};
  check_refused(file({.method = yarn, .factor = 4}), log_n, "--log-n");
  log_n.method = rerope;
  check_refused(file({.method = yarn, .factor = 4}), log_n, "--log-n");
  CHECK(choose_rope(file(), 1024, log_n).log_n == 1024);
  log_n.method = yarn;
  CHECK(!without_foreign(log_n).log_n);  // of a list everyone takes what is his

  check_refused(file(), {.method = rerope, .window = 1024}, "--rerope-window 1024: allowed is 1 to 1023");
  check_refused(file(), {.method = leaky_rerope, .window = 5000}, "--rerope-window 5000");
  check_refused(file(), {.method = self_extend, .group_window = 1024}, "--group-window 1024");
  check_refused(file(), {.method = dca, .chunk = 1024}, "--dca-chunk 1024: allowed is 1 to 1023");
  CHECK(choose_rope(file(), 1024, {.method = rerope, .window = 1023}).window == 1023);
  check_refused(file(), {.method = linear, .factor = 2, .window = 1}, "--rerope-window: not a parameter");
  check_refused(file(), {.method = none, .extension = 1}, "--yarn-ext-factor");
}

TEST_CASE("positions: log-n goes by the keys that a row sees") {
  const double l = 8;
  RopeRequest wish{.original_context = l, .log_n = true};
  const RopePlan rope = choose_rope(file(), 1024, wish);
  Config c;
  c.architecture = "test";
  c.head_dim = c.n_rot = 32;
  c.n_heads = c.n_kv_heads = {2, 2, 2, 2};
  std::vector<Layer> layers(4);
  layers[1].attention.window = 20;
  layers[2].attention.rope = Rope::none;
  layers[3].attention.rope = Rope::none;
  layers[3].attention.window = 5;
  const struct {
    const char* pattern;
    uint32_t visible[4];  // by layer, at most
  } cases[] = {{"", {UINT32_MAX, 20, UINT32_MAX, 5}}, {"window:12", {12, 12, 12, 5}},
               {"sinks:3,30", {33, 20, 33, 5}},       {"longformer:16,4", {20, 20, 20, 5}},
               {"groups:64", {64, 20, 64, 5}},        {"bigbird:4,1,2,3", {24, 20, 24, 5}},
               {"dilated:16/1,64/4", {32, 20, 32, 5}}};
  for (const auto& test : cases) {
    CAPTURE(test.pattern);
    const auto plans = plan_attention(layers, c, rope, parse_attention_pattern(test.pattern), {});
    for (size_t i = 0; i < layers.size(); i++) {
      const Temperature& t = plans[i].temperature;
      CHECK(!plans[i].queries.empty());  // or nothing would multiply them
      CHECK((plans[i].keys.empty() == (layers[i].attention.rope == Rope::none)));
      for (uint32_t position : {0u, 4u, 7u, 11u, 40u, 5000u}) {
        const double n = std::min(position + 1, test.visible[i]);
        const double got = std::max(1.0, t.base + t.slope * std::log(1.0 + std::min(position, t.cap)));
        CHECK(got == doctest::Approx(std::max(1.0, std::log(n) / std::log(l))));
      }
    }
  }
  layers[0].attention.temperature_slope = 0.1;
  CHECK_THROWS_WITH_AS(plan_attention(layers, c, rope, {}, {}), doctest::Contains("temperature of its own"),
                       Error);
}

TEST_CASE("positions: layers with windows or frequencies of their own stand outside an extension") {
  Config c;
  c.head_dim = c.n_rot = 32;
  c.n_heads = c.n_kv_heads = {2, 2, 2};
  std::vector<Layer> layers(3);
  layers[1].attention.window = 20;
  layers[2].attention.window = 20;
  layers[2].attention.unscaled_rope_base = 1e4;
  for (RopeMethod m : kDistances) {
    CAPTURE(name_of(m));
    const auto plans = plan_attention(layers, c, choose_rope(file(), 1024, {.method = m}), {}, {});
    CHECK(plans[0].queries.size() > 1);
    for (size_t i : {1, 2})
      for (const auto& forms : {plans[i].queries, plans[i].keys})
        CHECK((forms.size() == 1 && forms[0] == RotaryForm{}));
  }
  const auto dynamics = plan_attention(layers, c, choose_rope(file(), 1024, {.method = dynamic}), {}, {});
  CHECK((dynamics[0].follows && dynamics[1].follows && !dynamics[2].follows));
  RopePlan scaled = choose_rope(file(), 1024);
  scaled.logit_scale = 2;
  const auto plans = plan_attention(layers, c, scaled, {}, {});
  CHECK(plans[0].shape.scale == doctest::Approx(2 / std::sqrt(32)));
  CHECK(plans[2].shape.scale == doctest::Approx(1 / std::sqrt(32)));

  CHECK(describe(parse_attention_pattern("bigbird:4,1,2,3"), layers) ==
        "--attention-pattern bigbird:4,1,2,3 on 1 of 3 layers; the others keep the window that the model has "
        "there");
  CHECK(describe(parse_attention_pattern("window:8"), layers) == "--attention-pattern window:8");
}

TEST_CASE("positions: DeepSeek's config.json, and parameters by kind of layer") {
  const FileRope v3 = hugging_face(R"({"hidden_size": 7168, "num_attention_heads": 128,
    "max_position_embeddings": 163840, "rope_theta": 10000, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64,
    "rope_scaling": {"type": "yarn", "factor": 40, "beta_fast": 32, "beta_slow": 1, "mscale": 1.0,
                     "mscale_all_dim": 1.0, "original_max_position_embeddings": 4096}})");
  CHECK((v3.model.head_dim == 192 && v3.model.n_rot == 64));
  const RopePlan p = choose_rope(v3, 163840);
  CHECK(p.magnitude == 1);
  CHECK(p.logit_scale / std::sqrt(192) == doctest::Approx(0.13523378).epsilon(1e-7));
  CHECK(p.inv_freq[11] == doctest::Approx(0.039006927).epsilon(1e-7));
  CHECK(p.description.find("scores times 1.87") != std::string::npos);
  const FileRope v2 = hugging_face(R"({"qk_nope_head_dim": 128, "qk_rope_head_dim": 64,
    "rope_scaling": {"type": "yarn", "factor": 40, "mscale": 0.707, "mscale_all_dim": 0.707,
                     "original_max_position_embeddings": 4096}})");
  CHECK(choose_rope(v2, 163840).logit_scale / std::sqrt(192) == doctest::Approx(0.11472139).epsilon(1e-7));
  // The same numbers of Mistral's are inert, in either kind of file.
  const FileRope mistral = hugging_face(R"({"head_dim": 64, "rope_scaling": {"type": "yarn", "factor": 40,
    "mscale": 1, "mscale_all_dim": 1, "original_max_position_embeddings": 4096}})");
  CHECK((choose_rope(mistral, 163840).logit_scale == 1 && choose_rope(mistral, 163840).magnitude == 1));
  for (bool latent : {false, true}) {
    const RopeRequest r = written([&](GgufWriter& w) {
      w.set("x.rope.scaling.type", "yarn");
      w.set("x.rope.scaling.factor", 40.0f);
      w.set("x.rope.scaling.yarn_log_multiplier", latent ? 0.0707f : 1.0f);
      if (latent) w.set("x.attention.kv_lora_rank", uint32_t{512});
    });
    const RopePlan plan = choose_rope(file(r), 1024);
    CHECK(plan.magnitude == doctest::Approx(1));
    CHECK(plan.logit_scale == doctest::Approx(latent ? std::pow(1.2608038, 2) : 1).epsilon(1e-6));
  }

  const FileRope gemma = hugging_face(R"({"head_dim": 256, "max_position_embeddings": 131072,
    "rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 8, "rope_theta": 1e6},
                        "sliding_attention": {"rope_type": "default", "rope_theta": 10000}}})");
  CHECK(gemma.note == "full_attention of the kinds of layers full_attention, sliding_attention");
  CHECK(choose_rope(gemma, 131072).inv_freq[0] == doctest::Approx(1.0 / 8));
  CHECK(choose_rope(gemma, 131072).base == 1e6);
  CHECK_THROWS_WITH_AS(hugging_face(R"({"rope_parameters": {"here": {"rope_theta": 1}, "there": {}}})"),
                       doctest::Contains("of here, there: those of full_attention were expected"), Error);

  const FileRope phi = hugging_face(R"({"head_dim": 4, "max_position_embeddings": 131072,
    "original_max_position_embeddings": 4096, "rope_scaling": {"type": "su", "short_factor": [1, 2],
    "long_factor": [3, 4]}})");
  CHECK(choose_rope(phi, 4096).inv_freq[0] == 1);
  CHECK(choose_rope(phi, 4097).inv_freq[0] == doctest::Approx(1.0 / 3));
  CHECK(choose_rope(phi, 131072).magnitude == doctest::Approx(1.1902381).epsilon(1e-6));
}

TEST_CASE("positions: Hugging Face's spellings give the same plan") {
  const auto from = [](const char* scaling) {
    nlohmann::json config = {
        {"max_position_embeddings", 131072}, {"head_dim", 128}, {"rope_theta", 500000.0}};
    config["rope_scaling"] = nlohmann::json::parse(scaling);
    const FileRope hf = read_hugging_face_rope(config);
    return choose_rope(hf, hf.model.context_length);
  };
  const auto plan = [](RopeMethod m, uint32_t original, RopeRequest r) {
    r.method = m;
    return plan_rope({128, 128, 5e5, original}, r);
  };
  const RopePlan llama =
      from(R"({"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4,
                                   "original_max_position_embeddings": 8192})");
  CHECK(llama.inv_freq == plan(llama3, 8192, {.factor = 8}).inv_freq);
  CHECK(from(R"({"type": "linear", "factor": 8.0})").inv_freq == plan(linear, 8192, {.factor = 8}).inv_freq);
  const RopePlan yarns = from(R"({"rope_type": "yarn", "factor": 4, "original_max_position_embeddings": 32768,
                                 "attention_factor": 1.2, "truncate": false})");
  CHECK(yarns.magnitude == 1.2);
  CHECK(yarns.inv_freq == plan(yarn, 32768, {.factor = 4, .truncate = false}).inv_freq);
  CHECK(from(R"({"type": "dynamic", "factor": 2.0})").method == dynamic);
  CHECK(from("null").method == none);
  CHECK_THROWS_WITH_AS(from(R"({"rope_type": "mrope"})"), doctest::Contains("'mrope' is not known"), Error);
}
