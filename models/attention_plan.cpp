// Puts a layer's attention together.
#include "models/attention_plan.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "runtime/error.h"

namespace spindle {
namespace {

// Whole numbers between separators: "4,1020"; at least `least`, each at least its minimum.
std::vector<uint32_t> numbers(const AttentionPattern& p, std::string_view text, char separator) {
  std::vector<uint32_t> out;
  while (true) {
    const size_t end = std::min(text.find(separator), text.size());
    uint32_t value = 0;
    const auto [at, error] = std::from_chars(text.data(), text.data() + end, value);
    require(error == std::errc{} && at == text.data() + end && value <= 1 << 30, ErrorKind::usage,
            "--attention-pattern {}: '{}' is not a whole number up to {}", p.text, text.substr(0, end),
            1 << 30);
    out.push_back(value);
    if (end == text.size()) return out;
    text.remove_prefix(end + 1);
  }
}

void require_numbers(const AttentionPattern& p, const std::vector<uint32_t>& n, std::vector<uint32_t> least,
                     size_t optional = 0) {
  bool good = n.size() <= least.size() && n.size() + optional >= least.size();
  for (size_t i = 0; good && i < n.size(); i++) good = n[i] >= least[i];
  require(good, ErrorKind::usage,
          "--attention-pattern {}: allowed are {}, each at least 1 but for GLOBAL and RANDOM", p.text,
          kAttentionPatterns);
}

std::vector<pattern::Dilation> dilations(const AttentionPattern& p, std::string_view text) {
  std::vector<pattern::Dilation> branches;
  while (true) {
    const size_t end = std::min(text.find(','), text.size());
    const std::vector<uint32_t> pair = numbers(p, text.substr(0, end), '/');
    require_numbers(p, pair, {1, 1});
    require(
        pair[1] <= pair[0] && pair[1] < 4096, ErrorKind::usage,
        "--attention-pattern {}: a stride of {} in segments of {}: allowed is 1 to the segment, below 4096",
        p.text, pair[1], pair[0]);
    branches.push_back({pair[0], pair[1]});
    if (end == text.size()) break;
    text.remove_prefix(end + 1);
  }
  require(branches.size() <= ATTENTION_PASSES, ErrorKind::usage,
          "--attention-pattern {}: at most {} branches", p.text, ATTENTION_PASSES);
  return branches;
}

// Layers with a window as narrow as the pattern's, or beside a pattern without one, keep it.
bool keeps_window(const AttentionBlock& a, const AttentionPattern& p) {
  return a.window > 0 && (p.window == 0 || a.window <= p.window);
}

// Sinks are seen from a position inside the cache: as if what lies between them and the window were not
// there.
void add_sink_query(AttentionPlan& plan, const AttentionPattern& p) {
  if (plan.queries.empty()) {
    for (KeyPass& pass : plan.shape.passes) pass.query = 0;
    return;
  }
  RotaryForm sinks = plan.queries[0];
  sinks.map.cap = std::min(sinks.map.cap, p.first + p.window - 1);
  plan.queries.push_back(sinks);
}

}  // namespace

AttentionPattern parse_attention_pattern(const std::string& text) {
  AttentionPattern p;
  p.text = text;
  p.option = "--attention-pattern " + text;
  if (text.empty() || text == "none") return {};
  const size_t colon = text.find(':');
  const std::string name = text.substr(0, colon);
  const std::string_view rest = colon == std::string::npos ? "" : std::string_view(p.text).substr(colon + 1);
  if (name == "dilated") {
    const std::vector<pattern::Dilation> branches = dilations(p, rest);
    p.passes = pattern::dilated(branches);
    for (const pattern::Dilation& d : branches) p.visible += (d.segment + d.stride - 1) / d.stride;
    return p;
  }
  const auto is = [&](const char* other) { return name == other; };
  require(is("window") || is("sinks") || is("longformer") || is("bigbird") || is("groups"), ErrorKind::usage,
          "--attention-pattern {}: allowed are {}", text, kAttentionPatterns);
  const std::vector<uint32_t> n = numbers(p, rest, ',');
  if (is("window")) {
    require_numbers(p, n, {1});
    p.passes = pattern::window(n[0]);
    p.window = p.visible = n[0];
  } else if (is("sinks")) {
    require_numbers(p, n, {1, 1});
    p.passes = pattern::sinks(n[0], n[1]);
    p.first = n[0];
    p.window = n[1];
    p.visible = n[0] + n[1];
  } else if (is("longformer")) {
    require_numbers(p, n, {1, 0});
    p.passes = pattern::longformer(n[0], n[1], false);
    p.first = n[1];
    p.window = n[0];
    p.visible = n[0] + n[1];
  } else if (is("bigbird")) {
    require_numbers(p, n, {1, 0, 0, 1, 0}, 1);
    require(n[2] + 2 <= ATTENTION_PASSES && n[3] <= 4, ErrorKind::usage,
            "--attention-pattern {}: at most {} random blocks and a window of 4", text, ATTENTION_PASSES - 2);
    p.passes = pattern::bigbird(n[0], n[1], n[2], n[3]);
    p.seed = n.size() > 4 ? n[4] : 0;
    p.visible = static_cast<uint32_t>(std::min<uint64_t>(n[0] * (uint64_t{n[1]} + n[2] + n[3]), UINT32_MAX));
  } else {
    require_numbers(p, n, {1});
    p.passes = pattern::shifted_groups(n[0]);
    p.visible = n[0];
  }
  return p;
}

std::vector<AttentionPlan> plan_attention(const std::vector<Layer>& layers, const Config& c,
                                          const RopePlan& rope, const AttentionPattern& p,
                                          const HostTensors& tensors) {
  require(p.passes.empty() || (rope.window == 0 && rope.chunk == 0), ErrorKind::usage,
          "{} and --rope-scaling {} both say which keys are near: choose one", p.option,
          name_of(rope.method));
  std::vector<AttentionPlan> plans;
  for (uint32_t i = 0; i < layers.size(); i++) {
    const AttentionBlock& a = layers[i].attention;
    AttentionPlan plan;
    AttentionShape& s = plan.shape;
    s.n_heads = c.n_heads[i];
    s.scale = static_cast<float>(a.scale != 0 ? a.scale : 1 / std::sqrt(static_cast<double>(c.head_dim)));
    s.soft_cap = static_cast<float>(a.soft_cap);
    s.seed = p.seed;
    if (a.max_alibi_bias > 0)
      for (double slope : alibi_slopes(s.n_heads, a.max_alibi_bias))
        s.slopes.push_back(static_cast<float>(slope));
    if (!a.sinks.empty()) s.sinks = tensors.at(fmt::format("blk.{}.{}.weight", i, a.sinks));
    if (!a.relative_bias.empty())
      s.bias = distance_bias(t5_buckets(a.n_buckets, a.max_distance), tensors.at(a.relative_bias + ".weight"),
                             s.n_heads);

    const bool own = a.unscaled_rope_base > 0;  // frequencies that no extension touches
    if (a.rope != Rope::none) {
      plan.inv_freq = own ? rope_frequencies(c.n_rot, a.unscaled_rope_base) : rope.inv_freq;
      plan.follows = !own;
      plan.magnitude = own ? 1 : rope.magnitude;
      plan.queries = own ? std::vector<RotaryForm>(1) : rope.queries;
      plan.keys = own ? std::vector<RotaryForm>(1) : rope.keys;
      if (a.temperature_slope > 0)
        plan.temperature = {1, a.temperature_slope, a.temperature_offset, a.temperature_width};
    }
    if (!own) s.scale *= static_cast<float>(rope.logit_scale);
    const bool windowed = keeps_window(a, p);
    if (rope.log_n > 0) {
      require(a.temperature_slope == 0, ErrorKind::usage,
              "--log-n: the attention of this {} model has a temperature of its own", c.architecture);
      const uint32_t visible = windowed ? a.window : p.visible;
      plan.temperature = {0, 1 / std::log(rope.log_n), 0, 1, visible ? visible - 1 : UINT32_MAX};
      if (plan.queries.empty()) {  // turned by nothing, so that q has where to get its temperature
        plan.inv_freq = rope.inv_freq;
        plan.queries = {{.map = {.cap = 0}}};
      }
    }
    if (windowed) {  // near enough for any extension: the plain forms
      s.passes = pattern::window(a.window);
      if (!plan.keys.empty()) plan.queries = plan.keys = {RotaryForm{}};
    } else if (!p.passes.empty()) {
      s.passes = p.passes;
      if (s.n_queries() > 1) add_sink_query(plan, p);
    } else if (rope.window > 0 && plan.keys.size() > 1) {
      s.passes = pattern::far_and_near(rope.window);
    } else if (rope.chunk > 0 && plan.queries.size() > 1) {
      s.passes = pattern::dual_chunk(rope.chunk);
    }
    plans.push_back(std::move(plan));
  }
  return plans;
}

AttentionForms forms_of(const std::vector<AttentionPlan>& plans) {
  AttentionForms f;
  for (const AttentionPlan& plan : plans)
    f = {std::max(f.queries, plan.shape.n_queries()), std::max(f.keys, plan.shape.n_key_forms())};
  return f;
}

AttentionForms forms_of(std::span<const Layer> layers, const RopeRequest& person, const AttentionPattern& p) {
  using enum RopeMethod;
  AttentionShape shape;
  shape.passes = p.passes;
  if (person.method == rerope || person.method == leaky_rerope || person.method == self_extend)
    shape.passes = pattern::far_and_near(1);
  if (person.method == dca) shape.passes = pattern::dual_chunk(1);
  const bool any = std::ranges::any_of(layers, [&](const Layer& l) {
    return (l.attention.rope != Rope::none || person.log_n) && !keeps_window(l.attention, p);
  });
  return any ? AttentionForms{shape.n_queries(), shape.n_key_forms()} : AttentionForms{};
}

std::string describe(const AttentionPattern& p, const std::vector<Layer>& layers) {
  const auto kept =
      std::ranges::count_if(layers, [&](const Layer& l) { return keeps_window(l.attention, p); });
  if (p.passes.empty() || kept == 0) return p.option;
  return fmt::format("{} on {} of {} layers; the others keep the window that the model has there", p.option,
                     layers.size() - static_cast<size_t>(kept), layers.size());
}

}  // namespace spindle
