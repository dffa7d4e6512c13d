// Frequencies and forms of every rotary method.
#include "models/positions.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numbers>

#include "runtime/error.h"

namespace spindle {
namespace {

constexpr std::array<std::pair<RopeMethod, std::string_view>, 12> kNames = {
    {{RopeMethod::none, "none"},
     {RopeMethod::linear, "linear"},
     {RopeMethod::ntk, "ntk"},
     {RopeMethod::dynamic, "dynamic"},
     {RopeMethod::ntk_parts, "ntk-parts"},
     {RopeMethod::yarn, "yarn"},
     {RopeMethod::llama3, "llama3"},
     {RopeMethod::longrope, "longrope"},
     {RopeMethod::rerope, "rerope"},
     {RopeMethod::leaky_rerope, "leaky-rerope"},
     {RopeMethod::self_extend, "self-extend"},
     {RopeMethod::dca, "dca"}}};

// A value with a default, checked. `flag` is what a person calls it.
double checked(std::optional<double> value, double otherwise, const char* flag, double least,
               double most = 1e12) {
  const double v = value.value_or(otherwise);
  const std::string allowed =
      most >= 1e12 ? fmt::format("{:.10g} or more", least) : fmt::format("{:.10g} to {:.10g}", least, most);
  require(std::isfinite(v) && v >= least && v <= most, ErrorKind::usage, "{} {:.10g}: allowed is {}", flag, v,
          allowed);
  return v;
}

double whole(std::optional<double> value, double otherwise, const char* flag, double least,
             double most = 1 << 30) {
  const double v = checked(value, otherwise, flag, least, most);
  require(v == std::floor(v), ErrorKind::usage, "{} {:g}: a whole number is expected", flag, v);
  return v;
}

// base' = base * s^(d / (d - 2)): the last pair is stretched by s, the first not at all.
double ntk_base(double base, double factor, uint32_t n_rot) {
  return base * std::pow(factor, static_cast<double>(n_rot) / (n_rot - 2));
}

// YaRN's ramp over pairs: 0 up to the pair that turns beta_fast times over the original context, 1 from the
// one that turns beta_slow times.
std::vector<double> yarn_ramp(uint32_t n_rot, double base, double original, double beta_fast,
                              double beta_slow, bool truncate) {
  const auto pair_of = [&](double rotations) {
    return n_rot * std::log(original / (2 * std::numbers::pi * rotations)) / (2 * std::log(base));
  };
  double low = pair_of(beta_fast), high = pair_of(beta_slow);
  if (truncate) low = std::floor(low), high = std::ceil(high);
  low = std::max(low, 0.0);
  high = std::min(high, n_rot - 1.0);
  if (high - low < 0.001) high = low + 0.001;
  std::vector<double> ramp(n_rot / 2);
  for (size_t t = 0; t < ramp.size(); t++)
    ramp[t] = std::clamp((static_cast<double>(t) - low) / (high - low), 0.0, 1.0);
  return ramp;
}

void interpolate(std::vector<double>& f, const std::vector<double>& ramp, double factor) {
  for (size_t t = 0; t < f.size(); t++) f[t] *= ramp[t] / factor + (1 - ramp[t]);
}

void plan_yarn(RopePlan& p, const RopeRequest& r) {
  const double fast = checked(r.beta_fast, 32, "--yarn-beta-fast", 1e-6);
  const double slow = checked(r.beta_slow, 1, "--yarn-beta-slow", 1e-6);
  require(fast > slow, ErrorKind::usage, "--yarn-beta-fast {:g} must exceed --yarn-beta-slow {:g}", fast,
          slow);
  const double extension = checked(r.extension, 1, "--yarn-ext-factor", 0, 1);
  p.ramp = yarn_ramp(p.n_rot, p.base, p.original_context, fast, slow, r.truncate.value_or(true));
  for (double& share : p.ramp) share = 1 - (1 - share) * extension;  // 0: every pair is interpolated
  interpolate(p.inv_freq, p.ramp, p.factor);
  p.magnitude = r.mscale_all_dim
                    ? yarn_mscale(p.factor, r.mscale.value_or(1)) / yarn_mscale(p.factor, *r.mscale_all_dim)
                : extension > 0 ? yarn_mscale(p.factor, 1)
                                : 1;
  if (r.logit_mscale) p.logit_scale = std::pow(yarn_mscale(p.factor, *r.logit_mscale), 2);
  p.description += fmt::format(", beta {:g} to {:g}", fast, slow);
}

void plan_ntk_parts(RopePlan& p, const RopeRequest& r) {
  const double alpha = checked(r.ntk_alpha, 1, "--ntk-alpha", 0),
               beta = checked(r.ntk_beta, 32, "--ntk-beta", 0);
  require(beta > alpha, ErrorKind::usage, "--ntk-beta {:g} must exceed --ntk-alpha {:g}", beta, alpha);
  for (double f : p.inv_freq) {
    const double rotations = p.original_context * f / (2 * std::numbers::pi);
    p.ramp.push_back(1 - std::clamp((rotations - alpha) / (beta - alpha), 0.0, 1.0));
  }
  interpolate(p.inv_freq, p.ramp, p.factor);
  p.description += fmt::format(", ramp from {:g} to {:g} rotations", alpha, beta);
}

void plan_llama3(RopePlan& p, const RopeRequest& r) {
  const double low = checked(r.llama3_low, 1, "--llama3-low", 1e-6);
  const double high = checked(r.llama3_high, 4, "--llama3-high", 1e-6);
  require(high > low, ErrorKind::usage, "--llama3-high {:g} must exceed --llama3-low {:g}", high, low);
  for (double f : p.inv_freq) {
    const double wavelength = 2 * std::numbers::pi / f;
    p.ramp.push_back(1 - std::clamp((p.original_context / wavelength - low) / (high - low), 0.0, 1.0));
  }
  interpolate(p.inv_freq, p.ramp, p.factor);
  p.description += fmt::format(", low {:g}, high {:g}", low, high);
}

void plan_far(RopePlan& p, const RopeRequest& r) {
  const bool groups = p.method == RopeMethod::self_extend;
  const double otherwise = std::max(1.0, groups ? std::min(1024.0, std::floor(p.original_context / 2))
                                                : std::floor(p.original_context / 4));
  const double most = std::max(1.0, p.original_context - 1);  // farther distances need some of it
  const double window = groups ? whole(r.group_window, otherwise, "--group-window", 1, most)
                               : whole(r.window, otherwise, "--rerope-window", 1, most);
  p.window = static_cast<uint32_t>(window);
  RotaryForm q, k;
  if (p.method == RopeMethod::rerope) {
    q.map = k.map = {.cap = 0};
    q.phase = window;
  } else if (groups) {
    const auto group = static_cast<uint32_t>(whole(r.group_size, 8, "--group-size", 1));
    k.map = q.map = {.divide = group};
    q.map.offset = p.window - p.window / group;
    p.description += fmt::format(", groups of {}", group);
  } else {
    const double leak = checked(r.leak, 16, "--rerope-leak", 1);
    k.scale = q.scale = 1 / leak;
    q.phase = window - window / leak;
    p.description += fmt::format(", leak {:g}", leak);
  }
  p.queries.push_back(q);
  p.keys.push_back(k);
  p.description += fmt::format(", window {}", p.window);
}

void plan_dca(RopePlan& p, const RopeRequest& r) {
  const double farthest = std::floor(p.original_context * 3 / 4);  // no distance is larger
  const double local = std::floor(p.original_context / 8);
  const auto chunk = static_cast<uint32_t>(whole(r.chunk, std::max(1.0, farthest - local), "--dca-chunk", 1,
                                                 std::max(1.0, p.original_context - 1)));
  const auto cap = std::max(static_cast<uint32_t>(farthest), chunk);
  p.chunk = chunk;
  p.keys[0].map = {.modulo = chunk};
  p.queries[0].map = {.modulo = chunk};                                   // the same chunk
  p.queries.push_back({{.modulo = chunk, .offset = chunk, .cap = cap}});  // the previous one
  p.queries.push_back(
      {{.offset = std::min(2 * chunk - 1, cap), .cap = std::min(2 * chunk - 1, cap)}});  // older
  p.description += fmt::format(", chunks of {}", chunk);
}

void plan_longrope(RopePlan& p, const RopeRequest& r) {
  require(r.divisors.size() == p.inv_freq.size(), ErrorKind::usage,
          "--rope-scaling longrope: the model has no factors for it (rope_factors_long.weight)");
  for (size_t t = 0; t < r.divisors.size(); t++) p.inv_freq[t] /= r.divisors[t];
  if (p.factor > 1) p.magnitude = std::sqrt(1 + std::log(p.factor) / std::log(p.original_context));
}

double reach_of(const RopePlan& p, uint32_t trained) {
  using enum RopeMethod;
  const double beyond = p.original_context - p.window;
  if (p.method == dynamic || p.method == rerope || p.method == dca)
    return std::numeric_limits<double>::infinity();
  if (p.method == leaky_rerope) return p.window + beyond / p.keys[1].scale;
  if (p.method == self_extend) return p.window + beyond * p.keys[1].map.divide;
  const double reach = p.original_context * p.factor;
  return p.method == longrope ? std::max<double>(trained, reach) : reach;
}

// Parameters that only some methods have.
struct Owned {
  const char* flags;
  std::vector<std::optional<double> RopeRequest::*> values;
  std::vector<RopeMethod> methods;
};

const std::vector<Owned>& owned_parameters() {
  using enum RopeMethod;
  using R = RopeRequest;
  static const std::vector<Owned> table = {
      {"--yarn-ext-factor, --yarn-beta-fast and --yarn-beta-slow",
       {&R::extension, &R::beta_fast, &R::beta_slow},
       {yarn}},
      {"--llama3-low and --llama3-high", {&R::llama3_low, &R::llama3_high}, {llama3}},
      {"--ntk-alpha and --ntk-beta", {&R::ntk_alpha, &R::ntk_beta}, {ntk_parts}},
      {"--rerope-window", {&R::window}, {rerope, leaky_rerope}},
      {"--rerope-leak", {&R::leak}, {leaky_rerope}},
      {"--group-size and --group-window", {&R::group_size, &R::group_window}, {self_extend}},
      {"--dca-chunk", {&R::chunk}, {dca}},
      {"--rope-scale", {&R::factor}, {linear, ntk, dynamic, ntk_parts, yarn, llama3}},
  };
  return table;
}

bool owns(const Owned& row, RopeMethod m) { return std::ranges::find(row.methods, m) != row.methods.end(); }

void refuse_foreign(const RopeRequest& r, RopeMethod m) {
  for (const Owned& row : owned_parameters()) {
    const bool given = std::ranges::any_of(row.values, [&](auto value) {
      if (value != &RopeRequest::factor) return (r.*value).has_value();
      return (r.*value).value_or(1) != 1 && !takes_factor(m);
    });
    if (!given || owns(row, m)) continue;
    std::string names;
    for (RopeMethod other : row.methods)
      names += fmt::format("{}{}", names.empty() ? "" : ", ", name_of(other));
    fail(ErrorKind::usage, "{}: not a parameter of --rope-scaling {}, but of: {}", row.flags, name_of(m),
         names);
  }
}

}  // namespace

std::string_view name_of(RopeMethod method) {
  return std::ranges::find(kNames, method, &decltype(kNames)::value_type::first)->second;
}

std::optional<RopeMethod> find_rope_method(std::string_view name) {
  const auto found = std::ranges::find(kNames, name, &decltype(kNames)::value_type::second);
  return found == kNames.end() ? std::nullopt : std::optional(found->first);
}

std::string rope_method_names() {
  std::string names;
  for (const auto& [method, name] : kNames) names += fmt::format("{}{}", names.empty() ? "" : ", ", name);
  return names;
}

bool takes_factor(RopeMethod m) {  // that of longrope is for its attention factor alone
  const auto row = std::ranges::find(owned_parameters(), &RopeRequest::factor,
                                     [](const Owned& o) { return o.values.front(); });
  return m == RopeMethod::longrope || owns(*row, m);
}

uint32_t PositionMap::operator()(uint32_t p) const {
  if (modulo != 0) p %= modulo;
  const uint64_t mapped = uint64_t{p} / divide + offset;
  return static_cast<uint32_t>(std::min<uint64_t>(mapped, cap));
}

std::vector<double> rope_frequencies(uint32_t n_rot, double base) {
  std::vector<double> f(n_rot / 2);
  for (size_t t = 0; t < f.size(); t++) f[t] = std::pow(base, -2.0 * static_cast<double>(t) / n_rot);
  return f;
}

RopePlan plan_rope(const RopeModel& model, const RopeRequest& r) {
  using enum RopeMethod;
  RopePlan p;
  p.method = r.method.value_or(r.factor.value_or(1) != 1 ? linear : none);
  refuse_foreign(r, p.method);
  p.n_rot = model.n_rot;
  p.base = checked(r.base, model.base, "--rope-freq-base", 1e-6);
  p.original_context = whole(r.original_context, std::max(model.context_length, 1u), "--yarn-orig-ctx", 1);
  const double otherwise =  // an extended model says so by its two lengths
      p.method == yarn || p.method == longrope ? std::max(1.0, model.context_length / p.original_context) : 1;
  if (takes_factor(p.method)) p.factor = checked(r.factor, otherwise, "--rope-scale", 1);
  p.inv_freq = rope_frequencies(p.n_rot, p.base);
  p.description = fmt::format("rope {}, base {:g}, {} of {} dimensions", name_of(p.method), p.base, p.n_rot,
                              model.head_dim);
  if (takes_factor(p.method)) p.description += fmt::format(", factor {:g}", p.factor);
  if (p.method != none && p.method != linear && p.method != ntk)
    p.description += fmt::format(", original context {:g}", p.original_context);
  require(p.n_rot > 2 || (p.method != ntk && p.method != dynamic), ErrorKind::usage,
          "--rope-scaling {}: needs more than one rotated pair", name_of(p.method));

  switch (p.method) {
    case none:
      break;
    case dynamic:
      break;  // inv_freq_at()
    case linear:
      for (double& f : p.inv_freq) f /= p.factor;
      break;
    case ntk:
      p.inv_freq = rope_frequencies(p.n_rot, ntk_base(p.base, p.factor, p.n_rot));
      break;
    case ntk_parts:
      plan_ntk_parts(p, r);
      break;
    case yarn:
      plan_yarn(p, r);
      break;
    case llama3:
      plan_llama3(p, r);
      break;
    case longrope:
      plan_longrope(p, r);
      break;
    case rerope:
    case leaky_rerope:
    case self_extend:
      plan_far(p, r);
      break;
    case dca:
      plan_dca(p, r);
      break;
  }
  if (p.method != longrope && !r.divisors.empty()) {
    require(r.divisors.size() == p.inv_freq.size(), "{} frequency factors for {} pairs", r.divisors.size(),
            p.inv_freq.size());
    for (size_t t = 0; t < r.divisors.size(); t++) p.inv_freq[t] /= r.divisors[t];
    p.description += ", frequency factors from the file";
  }
  p.magnitude = checked(r.attention_factor, p.magnitude, "the attention factor", 1e-6, 1e6) *
                checked(r.attention_scale, 1, "--yarn-attn-factor", 1e-6, 1e6);
  p.reach = reach_of(p, model.context_length);
  if (r.log_n) {
    require(p.method != yarn, ErrorKind::usage, "--log-n: yarn sets attention's temperature too: choose one");
    require(p.original_context > 1, ErrorKind::usage,
            "--log-n: needs an original context of more than 1 position");
    p.log_n = p.original_context;
    p.description += fmt::format(", log-n from {:g}", p.log_n);
  }
  if (p.magnitude != 1) p.description += fmt::format(", attention factor {:.6g}", p.magnitude);
  if (p.logit_scale != 1) p.description += fmt::format(", scores times {:.6g}", p.logit_scale);
  return p;
}

RopeRequest without_foreign(RopeRequest r) {
  for (const Owned& row : owned_parameters())
    if (!owns(row, r.method.value_or(RopeMethod::none)))
      for (auto value : row.values) (r.*value).reset();
  if (r.method == RopeMethod::yarn) r.log_n = false;
  return r;
}

std::vector<double> inv_freq_at(const RopePlan& plan, double length) {
  if (plan.method != RopeMethod::dynamic || length <= plan.original_context) return plan.inv_freq;
  // As Hugging Face's `dynamic`; factor 1 is the pure rule s = length / original.
  const double s = plan.factor * length / plan.original_context - (plan.factor - 1);
  std::vector<double> f = rope_frequencies(plan.n_rot, ntk_base(plan.base, s, plan.n_rot));
  const std::vector<double> plain = rope_frequencies(plan.n_rot, plan.base);
  for (size_t t = 0; t < f.size(); t++) f[t] *= plan.inv_freq[t] / plain[t];  // the file's factors
  return f;
}

double step_length(const RopePlan& plan, double n_positions) {
  if (plan.method != RopeMethod::dynamic) return std::numeric_limits<double>::infinity();
  double length = plan.original_context;
  for (double octave = length; length < n_positions; octave *= 2)
    for (int quarter = 1; quarter <= 4 && length < n_positions; quarter++)
      length = std::floor(octave * (4 + quarter) / 4);
  return length;
}

}  // namespace spindle
