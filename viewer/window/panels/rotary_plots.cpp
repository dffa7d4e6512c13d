// The curves of the rotary panel, and of the losses that methods are compared by.
#include "viewer/window/panels/rotary_plots.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

namespace spindle {
namespace {

constexpr double kTurn = 2 * std::numbers::pi;

// Mean over pairs of cos(distance * frequency): how q.k of equal vectors falls with distance.
Series decay_of(const RopePlan& p, double length) {
  Series s;
  const std::vector<double> f = inv_freq_at(p, length);
  for (int i = 0; i <= 360; i++) {
    const double d = std::pow(length, i / 360.0);
    double at = std::floor(d);  // distances as near keys meet; far ones by their forms
    double sum = 0;
    if (p.window && at >= p.window && p.queries.size() > 1 && p.keys.size() > 1) {
      const double q = p.queries.back().map(static_cast<uint32_t>(length)) * p.queries.back().scale +
                       p.queries.back().phase,
                   k = p.keys.back().map(static_cast<uint32_t>(length - at)) * p.keys.back().scale +
                       p.keys.back().phase;
      at = std::abs(q - k);
    }
    for (double w : f) sum += std::cos(at * w);
    s.x.push_back(d);
    s.y.push_back(sum / static_cast<double>(f.size()) * p.magnitude * p.magnitude);
  }
  return s;
}

}  // namespace

ImU32 method_colour(const State& s, size_t i) { return s.ui.theme.series[i % 7]; }

std::string method_title(const RotaryMethod& m) {
  std::string text(name_of(m.request.method.value_or(RopeMethod::none)));
  if (m.request.factor && *m.request.factor != 1) text += fmt::format(" ×{:.3g}", *m.request.factor);
  return text;
}

Plot wavelengths_plot(const State& s) {
  const RotaryState& r = s.rotary;
  Plot p;
  p.id = "rotary.wavelengths";
  p.title = "Wavelengths";
  p.link = "pair";
  p.x = {"pair of elements", "", false, -0.5, std::max(1.0, r.model.n_rot / 2.0 - 0.5)};
  p.y = {"2π / frequency", "positions", true, 1, 10};
  std::vector<double> all = {kTurn, static_cast<double>(r.model.context_length)};
  for (size_t i = 0; i < r.methods.size(); i++) {
    const RotaryMethod& m = r.methods[i];
    if (!m.shown || m.plan.inv_freq.empty()) continue;
    Series line{method_title(m), method_colour(s, i), Mark::line, {}, {}};
    const std::vector<double> f = inv_freq_at(m.plan, r.length);
    for (size_t t = 0; t < f.size(); t++) {
      line.x.push_back(static_cast<double>(t));
      line.y.push_back(kTurn / f[t]);
      all.push_back(kTurn / f[t]);
    }
    p.series.push_back(std::move(line));
    if (static_cast<int>(i) != r.chosen || m.plan.ramp.empty()) continue;
    const auto& ramp = m.plan.ramp;
    const auto first = std::ranges::find_if(ramp, [](double v) { return v > 0; }) - ramp.begin(),
               last = std::ranges::find_if(ramp, [](double v) { return v >= 1; }) - ramp.begin();
    const double end = static_cast<double>(ramp.size());
    p.bands.push_back({"kept", -0.5, static_cast<double>(first) - 0.5, s.ui.theme.good});
    p.bands.push_back(
        {"ramp", static_cast<double>(first) - 0.5, static_cast<double>(last) - 0.5, s.ui.theme.warning});
    p.bands.push_back({"interpolated", static_cast<double>(last) - 0.5, end - 0.5, s.ui.theme.accent});
  }
  p.y.fit(all, 0.02);
  p.lines.push_back({fmt::format("trained: {}", r.model.context_length), false,
                     static_cast<double>(r.model.context_length), s.ui.theme.muted});
  // The pair whose wavelength is the trained length: those behind it never turn once in training.
  if (r.model.base > 1 && r.model.context_length > 7) {
    const double critical =
        r.model.n_rot / 2.0 * std::log(r.model.context_length / kTurn) / std::log(r.model.base);
    if (critical > 0 && critical < r.model.n_rot / 2.0)
      p.lines.push_back({fmt::format("pair {:.2f}", critical), true, critical, s.ui.theme.muted});
  }
  p.tip = [&r](double x) {
    const auto t = static_cast<size_t>(std::clamp(std::round(x), 0.0, r.model.n_rot / 2.0 - 1));
    const RotaryMethod& m = r.methods[static_cast<size_t>(r.chosen)];
    if (t >= m.plan.inv_freq.size()) return std::string();
    return fmt::format("turns {} times over the trained length",
                       number_text(r.model.context_length * m.plan.inv_freq[t] / kTurn));
  };
  return p;
}

Plot decay_plot(const State& s) {
  const RotaryState& r = s.rotary;
  Plot p;
  p.id = "rotary.decay";
  p.title = "q·k against distance";
  p.link = "distance";
  p.x = {"distance", "positions", true, 1, r.length};
  p.y = {"mean over pairs, equal vectors", "", false, -0.2, 1.05};
  std::vector<double> all = {0, 1};
  for (size_t i = 0; i < r.methods.size(); i++) {
    const RotaryMethod& m = r.methods[i];
    if (!m.shown || m.plan.inv_freq.empty()) continue;
    Series line = decay_of(m.plan, r.length);
    line.name = method_title(m);
    line.colour = method_colour(s, i);
    all.insert(all.end(), line.y.begin(), line.y.end());
    p.series.push_back(std::move(line));
  }
  p.y.fit(all, 0.06);
  p.lines.push_back({"trained", true, static_cast<double>(r.model.context_length), s.ui.theme.muted});
  return p;
}

// The loss of each token under each method that was run, smoothed.
std::optional<Plot> loss_plot(const State& s, std::vector<int> of) {
  Plot p;
  p.id = "rotary.loss";
  p.title = "Loss on this text";
  p.link = "position";
  p.x = {"position", "", false, 0, 1};
  p.y = {"nats; perplexity", "", false, 0, 1};
  std::vector<double> all;
  if (of.empty())
    for (size_t i = 0; i < s.now->sources.size(); i++) of.push_back(static_cast<int>(i));
  for (const int index : of) {
    const SourceInfo& source = s.now->sources[static_cast<size_t>(index)];
    if (source.loss.empty()) continue;
    Series line;
    line.name = fmt::format("{}: {:.2f}", source.name, source.perplexity);
    line.colour = method_colour(s, p.series.size());
    for (size_t i = 0; i < s.rotary.methods.size(); i++)
      if (method_title(s.rotary.methods[i]) == source.name) line.colour = method_colour(s, i);
    const size_t n = source.loss.size(), half = std::max<size_t>(2, n / 60);
    double sum = 0;
    size_t from = 0, to = 0;
    for (size_t i = 0; i < n; i++) {
      while (to < std::min(n, i + half + 1)) sum += source.loss[to++];
      while (from + half < i) sum -= source.loss[from++];
      line.x.push_back(static_cast<double>(i + 1));
      line.y.push_back(sum / static_cast<double>(to - from));
    }
    p.x.high = std::max(p.x.high, static_cast<double>(n));
    all.insert(all.end(), line.y.begin(), line.y.end());
    p.series.push_back(std::move(line));
  }
  if (p.series.empty()) return std::nullopt;
  all.push_back(0);
  p.y.fit(all, 0.05);
  p.y.low = 0;
  const double trained = s.rotary.model.context_length;
  if (trained < p.x.high) p.lines.push_back({"trained", true, trained, s.ui.theme.muted});
  return p;
}

Plot stretch_plot(const State& s) {
  Plot p;
  p.id = "rotary.stretch";
  p.title = "Stretch of each pair";
  p.link = "pair";
  p.x = {"pair of elements", "", false, -0.5, std::max(1.0, s.rotary.model.n_rot / 2.0 - 0.5)};
  p.y = {"wavelength / the model's own", "", true, 0.9, 2};
  std::vector<double> all = {1};
  const std::vector<double> own = rope_frequencies(s.rotary.model.n_rot, s.rotary.model.base);
  for (size_t i = 0; i < s.rotary.methods.size(); i++) {
    const RotaryMethod& m = s.rotary.methods[i];
    if (!m.shown || m.plan.inv_freq.size() != own.size()) continue;
    Series line{method_title(m), method_colour(s, i), Mark::line, {}, {}};
    const std::vector<double> f = inv_freq_at(m.plan, s.rotary.length);
    for (size_t t = 0; t < f.size(); t++) {
      line.x.push_back(static_cast<double>(t));
      line.y.push_back(own[t] / f[t]);
      all.push_back(own[t] / f[t]);
    }
    p.series.push_back(std::move(line));
  }
  p.y.fit(all, 0.08);
  return p;
}

}  // namespace spindle
