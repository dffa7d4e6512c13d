// Positions that enter as a bias of the scores: ALiBi's slopes and T5's buckets.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "viewer/window/plot.h"
#include "viewer/window/state.h"

namespace spindle {

namespace {

// What the model has learned, by distance.
Plot learned_bias(const Ui& ui, const MapLayer& l, int farthest) {
  const auto& bias = l.plan.shape.bias;
  const size_t n = bias.size() / l.n_heads, middle = l.plan.shape.bias_both_ways ? n / 2 : 0;
  Plot p;
  p.id = "bias.learned";
  p.title = "Bias of the model's heads";
  p.link = "distance";
  p.x = {"distance", "positions", false, 0, farthest * 1.15};
  p.y = {"added to the score", "", false, 0, 0};
  std::vector<double> all = {0};
  for (uint32_t h = 0; h < l.n_heads; h++) {
    Series line{fmt::format("head {}", h), ui.theme.series[h % 7], Mark::steps, {}, {}};
    for (int d = 0; d <= static_cast<int>(p.x.high); d++) {
      line.x.push_back(d);
      line.y.push_back(bias[h * n + std::min(middle + static_cast<size_t>(d), n - 1)]);
      all.push_back(line.y.back());
    }
    p.series.push_back(line);
  }
  p.y.fit(all, 0.06);
  return p;
}

}  // namespace

void draw_bias(State& s) {
  Ui& ui = s.ui;
  auto& b = s.bias;
  const ImVec2 area = ImGui::GetContentRegionAvail();
  const float gap = ui.px(10);
  const ImVec2 half = {(area.x - gap) / 2, area.y};
  ImGui::BeginChild("alibi", half, true);
  heading(ui, "ALiBi", "each head subtracts its slope times the distance from its scores");
  double heads = b.heads;
  if (slide(ui, "bias.heads", "heads", heads, 1, 64, "%.0f")) b.heads = static_cast<int>(std::round(heads));
  ImGui::SameLine();
  slide(ui, "bias.max", "max bias", b.max_bias, 1, 16, "%.1f", false, 110);
  const std::vector<double> slopes = alibi_slopes(static_cast<uint32_t>(b.heads), b.max_bias);
  const float plot_height = (ImGui::GetContentRegionAvail().y - gap) / 2;
  Plot p;
  p.id = "bias.slopes";
  p.title = "Slopes";
  p.x = {"head", "", false, -0.5, b.heads - 0.5, true};
  p.y = {"score a position", "", true, 1e-3, 1};
  p.legend = false;
  p.link = "head";
  Series points{"slope", ui.theme.accent, Mark::points, {}, slopes};
  for (int i = 0; i < b.heads; i++) points.x.push_back(i);
  const MapLayer* own = layer_of(s, s.map.source, s.map.layer);
  if (own && !own->plan.shape.slopes.empty()) {
    Series model{"of the model", ui.theme.series[1], Mark::points, {}, {}};
    for (size_t i = 0; i < own->plan.shape.slopes.size(); i++)
      model.x.push_back(static_cast<double>(i)), model.y.push_back(own->plan.shape.slopes[i]);
    p.x.high = std::max(p.x.high, static_cast<double>(model.x.size()) - 0.5);
    p.legend = true;
    p.series.push_back(model);
  }
  p.y.fit(slopes, 0.1);
  p.series.push_back(points);
  draw_plot(ui, p, {half.x - 2 * ImGui::GetStyle().WindowPadding.x, plot_height});
  Plot q;
  q.id = "bias.distance";
  q.title = "What remains of a key";
  q.x = {"distance", "positions", true, 1, 4096};
  q.y = {"exp(−slope × distance)", "", false, 0, 1.02};
  const std::vector<size_t> shown =
      b.heads == 1 ? std::vector<size_t>{0}
                   : std::vector<size_t>{0, slopes.size() / 3, slopes.size() * 2 / 3, slopes.size() - 1};
  size_t previous = SIZE_MAX;
  for (size_t i = 0; i < shown.size(); i++) {
    if (shown[i] == previous) continue;
    previous = shown[i];
    Series line{fmt::format("head {}", shown[i]), ui.theme.series[i % 7], Mark::line, {}, {}};
    for (int k = 0; k <= 200; k++) {
      const double d = std::pow(4096, k / 200.0);
      line.x.push_back(d);
      line.y.push_back(std::exp(-slopes[shown[i]] * d));
    }
    q.series.push_back(line);
  }
  draw_plot(ui, q, {half.x - 2 * ImGui::GetStyle().WindowPadding.x, plot_height - ui.px(4)});
  ImGui::EndChild();
  ImGui::SameLine(0, gap);
  ImGui::BeginChild("t5", half, true);
  heading(ui, "T5", "distances share a learned bias by buckets");
  double buckets = b.buckets, distance = b.max_distance;
  if (slide(ui, "bias.buckets", "buckets", buckets, 2, 128, "%.0f"))
    b.buckets = static_cast<int>(std::round(buckets / 2)) * 2;
  ImGui::SameLine();
  if (slide(ui, "bias.distance_max", "farthest", distance, 16, 4096, "%.0f", true, 110))
    b.max_distance = static_cast<int>(std::round(distance));
  b.max_distance = std::max(b.max_distance, b.buckets + 1);
  const std::vector<uint32_t> bucket =
      t5_buckets(static_cast<uint32_t>(b.buckets), static_cast<uint32_t>(b.max_distance));
  Plot t;
  t.id = "bias.buckets_plot";
  t.title = "Bucket of a distance";
  t.link = "distance";
  t.legend = false;
  t.x = {"distance", "positions", false, 0, static_cast<double>(b.max_distance) * 1.15};
  t.y = {"bucket", "", false, 0, b.buckets * 1.25};  // room for what the lines are called
  Series steps{"bucket", ui.theme.series[1], Mark::steps, {}, {}};
  for (size_t i = 0; i < bucket.size(); i++)
    steps.x.push_back(static_cast<double>(i)), steps.y.push_back(bucket[i]);
  steps.x.push_back(t.x.high), steps.y.push_back(bucket.back());
  t.series.push_back(steps);
  t.lines.push_back(
      {"farther ones share the last", true, static_cast<double>(b.max_distance), ui.theme.muted});
  t.lines.push_back({"exact below", true, b.buckets / 2.0, ui.theme.muted});
  draw_plot(ui, t, {half.x - 2 * ImGui::GetStyle().WindowPadding.x, plot_height});
  Plot w;
  w.id = "bias.widths";
  w.title = "Width of each bucket";
  w.legend = false;
  w.x = {"bucket", "", false, -0.7, b.buckets - 0.3};
  w.y = {"distances", "", false, 0, 1};
  Series bars{"width", ui.theme.series[2], Mark::bars, {}, {}};
  std::vector<double> width(static_cast<size_t>(b.buckets));
  for (uint32_t x : bucket)
    if (x < width.size()) width[x]++;
  for (size_t i = 0; i < width.size(); i++)
    bars.x.push_back(static_cast<double>(i)), bars.y.push_back(width[i]);
  w.y.fit(width, 0.08);
  w.y.low = 0;
  w.series.push_back(bars);
  if (own && !own->plan.shape.bias.empty()) w = learned_bias(ui, *own, b.max_distance);
  draw_plot(ui, w, {half.x - 2 * ImGui::GetStyle().WindowPadding.x, plot_height - ui.px(4)});
  ImGui::EndChild();
}

}  // namespace spindle
