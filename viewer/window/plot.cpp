// Axes, lines and what the mouse says over them.
#include "viewer/window/plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace spindle {

double Axis::share(double v) const {
  if (!logarithmic) return (v - low) / (high - low);
  return (std::log(std::max(v, 1e-300)) - std::log(low)) / (std::log(high) - std::log(low));
}

double Axis::value(double share) const {
  if (!logarithmic) return low + share * (high - low);
  return std::exp(std::log(low) + share * (std::log(high) - std::log(low)));
}

std::vector<double> Axis::ticks(int about) const {
  std::vector<double> list;
  if (!(high > low)) return list;
  if (logarithmic) {
    const double decades = std::log10(high / low);
    const int every = std::max(1, static_cast<int>(std::ceil(decades / std::max(about, 1))));
    const bool fine = decades < 2.2;
    for (int e = static_cast<int>(std::floor(std::log10(low))); e <= std::log10(high); e++)
      for (int m : {1, 2, 5}) {
        if (m > 1 && !fine) continue;
        const double at = m * std::pow(10, e);
        if ((m == 1 && ((e % every) + every) % every != 0) || at < low * (1 - 1e-9) || at > high * (1 + 1e-9))
          continue;
        list.push_back(at);
      }
    return list;
  }
  const double raw = (high - low) / std::max(about, 1), power = std::pow(10, std::floor(std::log10(raw)));
  double step = power * (raw / power <= 1 ? 1 : raw / power <= 2 ? 2 : raw / power <= 5 ? 5 : 10);
  if (whole) step = std::max(step, 1.0);
  for (double at = std::ceil(low / step - 1e-9) * step; at <= high + step * 1e-9; at += step)
    list.push_back(std::abs(at) < step * 1e-9 ? 0 : at);
  return list;
}

void Axis::fit(const std::vector<double>& values, double room) {
  double least = INFINITY, most = -INFINITY;
  for (double v : values)
    if (std::isfinite(v) && (!logarithmic || v > 0)) least = std::min(least, v), most = std::max(most, v);
  if (!(least <= most)) return;
  if (logarithmic) {
    const double r = std::pow(most / least, room);
    low = least / std::max(r, 1.05), high = most * std::max(r, 1.05);
    return;
  }
  const double r = std::max((most - least) * room, 1e-9 + 1e-3 * std::abs(most));
  low = least - r, high = most + r;
}

namespace {

struct Frame {  // where the data lies
  ImVec2 from, to;
  const Plot* plot;
  ImVec2 at(double x, double y) const {
    return {static_cast<float>(from.x + plot->x.share(x) * (to.x - from.x)),
            static_cast<float>(to.y - plot->y.share(y) * (to.y - from.y))};
  }
};

std::string tick_text(const Axis& axis, double v) {
  if (axis.logarithmic && v >= 1e5) {
    const int e = static_cast<int>(std::floor(std::log10(v) + 1e-9));
    const double m = v / std::pow(10, e);
    static const char* const digits[] = {"⁰", "¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹"};
    std::string power;
    for (char c : std::to_string(e)) power += digits[c - '0'];
    return std::abs(m - 1) < 1e-6 ? "10" + power : fmt::format("{:.0f}·10{}", m, power);
  }
  return number_text(v);
}

std::string label_of(const Axis& axis) {
  return axis.unit.empty() ? axis.label : fmt::format("{} ({})", axis.label, axis.unit);
}

void draw_series(Ui& ui, ImDrawList& list, const Frame& f, const Series& s) {
  std::vector<ImVec2> points;
  const float width = ui.px(s.width);
  const auto flush = [&] {
    if (points.size() > 1)
      list.AddPolyline(points.data(), static_cast<int>(points.size()), s.colour, 0, width);
    points.clear();
  };
  const float base =
      f.at(f.plot->x.low, std::max(f.plot->y.low, f.plot->y.logarithmic ? f.plot->y.low : 0.0)).y;
  const float bar =
      s.x.size() > 1 ? std::max(1.0f, (f.at(s.x[1], 1).x - f.at(s.x[0], 1).x) * 0.7f) : ui.px(8);
  for (size_t i = 0; i < s.x.size(); i++) {
    if (!std::isfinite(s.y[i]) || (f.plot->y.logarithmic && s.y[i] <= 0)) {
      flush();
      continue;
    }
    const ImVec2 p = f.at(s.x[i], s.y[i]);
    switch (s.mark) {
      case Mark::points:
        list.AddCircleFilled(p, ui.px(2.6f), s.colour, 12);
        break;
      case Mark::bars:
        list.AddRectFilled({p.x - bar / 2, std::min(p.y, base)}, {p.x + bar / 2, std::max(p.y, base)},
                           s.colours.empty() ? s.colour : s.colours[i], ui.px(1.5f));
        break;
      case Mark::steps:
        if (!points.empty() && points.back().y == p.y && i + 1 < s.x.size()) break;
        if (!points.empty()) points.push_back({p.x, points.back().y});
        points.push_back(p);
        break;
      case Mark::area:
        if (!points.empty()) {
          const ImVec2 q = points.back();
          list.AddQuadFilled({q.x, base}, q, p, {p.x, base}, faded(s.colour, 0.22f));
        }
        points.push_back(p);
        break;
      default:
        points.push_back(p);
    }
  }
  flush();
}

void draw_axes(Ui& ui, ImDrawList& list, const Frame& f) {
  const Theme& t = ui.theme;
  const Plot& p = *f.plot;
  list.AddRectFilled(f.from, f.to, t.light ? IM_COL32(250, 251, 252, 255) : IM_COL32(20, 24, 30, 255));
  const int across = std::max(2, static_cast<int>((f.to.x - f.from.x) / ui.px(p.x.whole ? 40 : 90))),
            down = std::max(2, static_cast<int>((f.to.y - f.from.y) / ui.px(38)));
  for (double v : p.y.ticks(down)) {
    const float y = std::round(f.at(p.x.low, v).y);
    list.AddLine({f.from.x, y}, {f.to.x, y}, t.grid);
    draw_text(list, {f.from.x - ui.px(7), y - ImGui::GetFontSize() / 2}, 1, t.muted, tick_text(p.y, v));
  }
  for (double v : p.x.ticks(across)) {
    const float x = std::round(f.at(v, p.y.low).x);
    list.AddLine({x, f.from.y}, {x, f.to.y}, t.grid);
    draw_text(list, {x, f.to.y + ui.px(4)}, 0.5f, t.muted, p.x_text ? p.x_text(v) : tick_text(p.x, v));
  }
  draw_text(list, {(f.from.x + f.to.x) / 2, f.to.y + ui.px(22)}, 0.5f, t.muted, label_of(p.x));
  list.AddRect(f.from, f.to, t.border);
}

double nearest_y(const Series& s, double x, bool logarithmic) {
  if (s.x.empty()) return NAN;
  size_t best = 0;
  const auto distance = [&](size_t i) {
    return logarithmic ? std::abs(std::log(std::max(s.x[i], 1e-300)) - std::log(std::max(x, 1e-300)))
                       : std::abs(s.x[i] - x);
  };
  for (size_t i = 1; i < s.x.size(); i++)
    if (distance(i) < distance(best)) best = i;
  return s.y[best];
}

void draw_legend(Ui& ui, ImDrawList& list, const Plot& p, ImVec2 at, float most_x) {
  float x = at.x;
  for (const Series& s : p.series) {
    if (s.name.empty()) continue;
    const float width = ImGui::CalcTextSize(s.name.c_str()).x + ui.px(34);
    if (x + width > most_x) break;
    const float y = at.y + ImGui::GetFontSize() / 2;
    if (s.mark == Mark::points) list.AddCircleFilled({x + ui.px(9), y}, ui.px(3.5f), s.colour, 12);
    else list.AddRectFilled({x, y - ui.px(1.5f)}, {x + ui.px(18), y + ui.px(1.5f)}, s.colour, ui.px(1.5f));
    list.AddText({x + ui.px(23), at.y}, ui.theme.text, s.name.c_str());
    x += width + ui.px(6);
  }
}

void show_tip(Ui& ui, const Plot& p, double x) {
  ImGui::BeginTooltip();
  const std::string where = p.x_text ? p.x_text(x) : number_text(x);
  ImGui::Text("%s %s%s%s", p.x.label.c_str(), where.c_str(), p.x.unit.empty() ? "" : " ", p.x.unit.c_str());
  for (const Series& s : p.series) {
    if (s.name.empty()) continue;
    ImGui::PushStyleColor(ImGuiCol_Text, s.colour);
    ImGui::TextUnformatted("●");
    ImGui::PopStyleColor();
    ImGui::SameLine();
    ImGui::Text("%s  %s%s%s", s.name.c_str(), number_text(nearest_y(s, x, p.x.logarithmic)).c_str(),
                p.y.unit.empty() ? "" : " ", p.y.unit.c_str());
  }
  if (p.tip) {
    const std::string more = p.tip(x);
    if (!more.empty()) muted(ui, more);
  }
  ImGui::EndTooltip();
}

}  // namespace

std::optional<double> draw_plot(Ui& ui, const Plot& p, ImVec2 size) {
  const ImVec2 origin = ImGui::GetCursorScreenPos();
  size.x = std::max(size.x, ui.px(160)), size.y = std::max(size.y, ui.px(110));
  ImGui::InvisibleButton(p.id.c_str(), size);
  ui.mark(p.id);
  const bool hovered = ImGui::IsItemHovered();
  ImDrawList& list = *ImGui::GetWindowDrawList();
  const float line = ImGui::GetFontSize();

  float left = 0;
  const int down = std::max(2, static_cast<int>((size.y - ui.px(60)) / ui.px(38)));
  for (double v : p.y.ticks(down)) left = std::max(left, ImGui::CalcTextSize(tick_text(p.y, v).c_str()).x);
  const bool has_legend = p.legend && p.series.size() > 0 && !p.series[0].name.empty();
  const float top = (p.title.empty() ? 0 : line + ui.px(6)) + (has_legend ? line + ui.px(6) : 0) + ui.px(2);
  const Frame f{{origin.x + left + ui.px(12), origin.y + top + ui.px(line > 0 ? 0 : 0)},
                {origin.x + size.x - ui.px(10), origin.y + size.y - ui.px(26) - line},
                &p};
  float y = origin.y;
  if (!p.title.empty()) {
    ImGui::PushFont(bold_font());
    const std::string title = fitted(p.title, size.x - ui.px(8));
    list.AddText({origin.x, y}, ui.theme.text, title.c_str());
    const float title_width = ImGui::CalcTextSize(title.c_str()).x;
    ImGui::PopFont();
    draw_text(list, {origin.x + title_width + ui.px(10), y}, 0, ui.theme.muted,
              fitted(label_of(p.y), std::max(1.0f, size.x - title_width - ui.px(20))));
    y += line + ui.px(6);
  }
  if (has_legend) draw_legend(ui, list, p, {origin.x + ui.px(1), y}, origin.x + size.x);
  draw_axes(ui, list, f);
  list.PushClipRect(f.from, f.to, true);
  for (const PlotBand& b : p.bands) {
    const float x0 = f.at(b.from, p.y.low).x, x1 = f.at(b.to, p.y.low).x;
    list.AddRectFilled({x0, f.from.y}, {x1, f.to.y}, faded(b.colour, 0.14f));
    // Its name stands where the lines leave more room.
    float lowest = f.from.y, highest = f.to.y;
    for (const Series& s : p.series)
      if (const double v = nearest_y(s, (b.from + b.to) / 2, p.x.logarithmic); std::isfinite(v))
        lowest = std::max(lowest, f.at(b.from, v).y), highest = std::min(highest, f.at(b.from, v).y);
    const bool above = highest - f.from.y > f.to.y - lowest;
    if (ImGui::CalcTextSize(b.name.c_str()).x < x1 - x0 - ui.px(6))
      draw_text(list, {(x0 + x1) / 2, above ? f.from.y + ui.px(3) : f.to.y - line - ui.px(5)}, 0.5f, b.colour,
                b.name);
  }
  for (const Series& s : p.series) draw_series(ui, list, f, s);
  int n = 0;
  for (const PlotLine& l : p.lines) {
    const ImVec2 at = l.vertical ? f.at(l.at, p.y.low) : f.at(p.x.low, l.at);
    if (l.vertical) list.AddLine({at.x, f.from.y}, {at.x, f.to.y}, l.colour, ui.px(1.5f));
    else list.AddLine({f.from.x, at.y}, {f.to.x, at.y}, l.colour, ui.px(1.5f));
    const float width = ImGui::CalcTextSize(l.name.c_str()).x;
    if (l.vertical) {
      const bool right = at.x + width + ui.px(8) < f.to.x;
      draw_text(
          list,
          {at.x + (right ? ui.px(5) : -ui.px(5)), f.from.y + ui.px(3) + static_cast<float>(n) * (line + 1)},
          right ? 0 : 1, l.colour, l.name);
      n++;
    } else {
      const bool above = at.y - line - ui.px(3) > f.from.y;
      draw_text(list, {f.to.x - ui.px(6), above ? at.y - line - ui.px(2) : at.y + ui.px(2)}, 1, l.colour,
                l.name);
    }
  }
  std::optional<double> where;
  const ImVec2 mouse = ImGui::GetIO().MousePos;
  if (hovered && mouse.x >= f.from.x && mouse.x <= f.to.x && mouse.y >= f.from.y && mouse.y <= f.to.y)
    where = p.x.value((mouse.x - f.from.x) / (f.to.x - f.from.x));
  std::optional<double> cursor = where;
  if (!cursor && !p.link.empty())
    if (const auto it = ui.cursors.find(p.link); it != ui.cursors.end()) cursor = it->second;
  if (cursor) {
    const float x = std::round(f.at(*cursor, p.y.low).x);
    list.AddLine({x, f.from.y}, {x, f.to.y}, faded(ui.theme.text, 0.5f));
    for (const Series& s : p.series) {
      const double v = nearest_y(s, *cursor, p.x.logarithmic);
      if (std::isfinite(v) && !s.name.empty())
        list.AddCircleFilled({x, f.at(*cursor, v).y}, ui.px(3.5f), s.colour, 16);
    }
  }
  list.PopClipRect();
  if (where) {
    if (!p.link.empty()) ui.next_cursors[p.link] = *where;
    show_tip(ui, p, *where);
  }
  std::erase_if(ui.saves, [&](const auto& save) {
    if (save.first != p.id) return false;
    export_plot(ui, p, save.second);
    return true;
  });
  if (ImGui::BeginPopupContextItem(p.id.c_str())) {
    for (const char* ending : {"png", "csv", "svg"})
      if (ImGui::MenuItem(fmt::format("Save as {}", ending).c_str())) export_plot(ui, p, ending);
    ImGui::EndPopup();
  }
  return where;
}

}  // namespace spindle
