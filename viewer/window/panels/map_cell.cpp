// What the cell under the mouse, or the locked one, is: texts, probability, rank, strongest keys, pairs.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

#include "viewer/window/plot.h"
#include "viewer/window/state.h"

namespace spindle {
namespace {

void draw_strongest(State& s, const std::vector<float>& p, uint32_t key) {
  Ui& ui = s.ui;
  std::vector<uint32_t> order(p.size());
  std::iota(order.begin(), order.end(), 0u);
  const size_t n = std::min<size_t>(order.size(), 40);
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(n), order.end(),
                    [&](uint32_t a, uint32_t b) { return p[a] != p[b] ? p[a] > p[b] : a < b; });
  ImDrawList& list = *ImGui::GetWindowDrawList();
  for (size_t i = 0; i < n; i++) {
    const ImVec2 at = ImGui::GetCursorScreenPos();
    if (at.y + ImGui::GetFontSize() > ImGui::GetWindowPos().y + ImGui::GetWindowHeight() - ui.px(8)) break;
    const float bar = ImGui::GetContentRegionAvail().x;
    list.AddRectFilled(at, {at.x + bar * p[order[i]], at.y + ImGui::GetFontSize() + ui.px(2)},
                       faded(ui.theme.accent, 0.35f), ui.px(2));
    draw_text(list, {at.x + ui.px(4), at.y + 1}, 0, order[i] == key ? ui.theme.accent : ui.theme.text,
              fitted(fmt::format("{}  {}", order[i], token_text(s, order[i])), bar - ui.px(70)));
    draw_text(list, {at.x + bar - ui.px(2), at.y + 1}, 1, ui.theme.muted, number_text(p[order[i]]));
    ImGui::Dummy({bar, ImGui::GetFontSize()});
  }
}

// What each rotary pair adds to the score, coloured by its wavelength; elements that do not turn come last.
void draw_products(State& s, const RowFound& found, ImVec2 size) {
  Ui& ui = s.ui;
  const MapLayer* l = layer_of(s, s.map.source, s.map.layer);
  const SourceInfo* source = source_of(s, s.map.source);
  if (!l || !source || found.products.empty()) return muted(ui, "This key is not seen.");
  const std::vector<double>& f = l->plan.inv_freq.empty() ? source->rope.inv_freq : l->plan.inv_freq;
  const uint32_t turning = f.empty() ? 0 : std::min<uint32_t>(l->n_rot, l->head_dim) / 2;
  Plot p;
  p.id = "map.products";
  p.title = "Part of the score";
  p.link = "pair";
  p.legend = false;
  p.x = {"pair of elements", "", false, -0.5, l->head_dim / 2.0 - 0.5, true};
  p.y = {"", "", false, 0, 0};
  Series bars{"part", ui.theme.muted, Mark::bars, {}, {}};
  for (uint32_t t = 0; t < l->head_dim / 2; t++) {
    const bool turns = t < turning;
    const uint32_t a = turns && l->halves ? t : 2 * t, b = turns && l->halves ? t + turning : 2 * t + 1;
    bars.x.push_back(t);
    bars.y.push_back(found.products[a] + found.products[b]);
    // The fastest pairs dark, the slowest bright.
    const double share = turns ? std::log(f[0] / f[std::min<size_t>(t, f.size() - 1)]) /
                                     std::max(1e-9, std::log(f[0] / f.back()))
                               : 0;
    const Rgb c = colour(Colours::viridis, ui.theme.light ? 0.85 * share : 0.25 + 0.75 * share);
    bars.colours.push_back(turns ? IM_COL32(c[0], c[1], c[2], 255) : ui.theme.muted);
  }
  std::vector<double> all = bars.y;
  all.push_back(0);
  p.y.fit(all, 0.1);
  p.series.push_back(std::move(bars));
  p.tip = [&f, turning](double x) {
    const auto t = static_cast<size_t>(std::max(0.0, std::round(x)));
    return t < turning && t < f.size()
               ? fmt::format("wavelength {} positions", number_text(2 * std::numbers::pi / f[t]))
               : std::string("does not turn");
  };
  draw_plot(ui, p, {size.x, std::min(size.y, ui.px(260))});
}

}  // namespace

void draw_cell(State& s, float height) {
  Ui& ui = s.ui;
  MapView& v = s.map;
  const std::optional<Cell> cell = v.hover ? v.hover : v.locked;
  ImGui::BeginChild("details", {0, height}, true);
  heading(ui, "Cell", v.locked ? (v.hover ? "" : "locked; click it to let go") : "click to lock");
  if (!cell) {
    ImGui::PushTextWrapPos(0);
    muted(ui,
          "Move over the map. The wheel zooms (with Shift along keys, with Ctrl along queries), dragging "
          "moves, a double click shows all.");
    ImGui::PopTextWrapPos();
    ImGui::EndChild();
    return;
  }
  request_row(s, cell->query, cell->key);
  const auto found = s.engine.row();
  const bool here = found && found->want.query == cell->query &&
                    found->want.layer == static_cast<uint32_t>(v.layer) &&
                    found->want.source == static_cast<size_t>(v.source);
  const auto line = [&](const char* name, const std::string& text) {
    muted(ui, name);
    ImGui::SameLine(ui.px(92));
    ImGui::TextUnformatted(text.c_str());
  };
  const float width = ImGui::GetContentRegionAvail().x - ui.px(84);
  const auto id_of = [&](uint32_t at) {
    return at < s.now->tokens.size() ? fmt::format("  #{}", s.now->tokens[at].id) : std::string();
  };
  line("query",
       fitted(fmt::format("{}  {}{}", cell->query, token_text(s, cell->query), id_of(cell->query)), width));
  line("key", fitted(fmt::format("{}  {}{}", cell->key, token_text(s, cell->key), id_of(cell->key)), width));
  line("distance", fmt::format("{}", static_cast<int64_t>(cell->query) - cell->key));
  if (!here || cell->key >= found->row.probabilities.size()) {
    line("probability", cell->key > cell->query ? "not seen: it comes later" : "...");
    ImGui::EndChild();
    return;
  }
  const auto& p = found->row.probabilities;
  const auto rank = 1 + std::ranges::count_if(p, [&](float x) { return x > p[cell->key]; });
  line("probability", number_text(p[cell->key]));
  line("score",
       found->row.scores[cell->key] <= -1e29f ? "not seen" : number_text(found->row.scores[cell->key]));
  line("rank", fmt::format("{} of {} keys", rank, p.size()));
  ImGui::Spacing();
  if (ImGui::Selectable("Strongest keys###map.keys", !v.pairs, 0, {width * 0.62f, 0})) v.pairs = false;
  ui.mark("map.keys");
  tooltip(ui, "Of all keys of this query");
  ImGui::SameLine();
  if (ImGui::Selectable("q·k by pair###map.pairs", v.pairs)) v.pairs = true;
  ui.mark("map.pairs");
  tooltip(ui, "What each rotary pair of elements adds to the score");
  if (v.pairs && found->want.key == cell->key) draw_products(s, *found, ImGui::GetContentRegionAvail());
  if (!v.pairs) draw_strongest(s, p, cell->key);
  ImGui::EndChild();
}

}  // namespace spindle
