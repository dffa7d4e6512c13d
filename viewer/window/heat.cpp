// Heat maps on screen: pixels from values, axes of positions and tokens, zoom, drag and cross-hair.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "viewer/window/plot.h"
#include "viewer/window/state.h"

namespace spindle {
namespace {

size_t hash_of(std::initializer_list<double> values) {
  size_t h = 1469598103934665603u;
  for (double v : values) h = (h ^ std::hash<double>()(v)) * 1099511628211u;
  return h;
}

// One value a cell: of one head, or the mean or the most of all; less another map's.
float value_of(const MapImage& image, size_t cell, int mode) {
  const size_t n = size_t{image.want.request.width} * image.want.request.height,
               heads = image.values.size() / std::max<size_t>(n, 1);
  if (heads <= 1) return image.values[cell];
  float sum = 0, most = 0;
  for (size_t h = 0; h < heads; h++) {
    const float v = image.values[h * n + cell];
    sum += v, most = std::max(most, v);
  }
  return mode == 1 ? most : sum / static_cast<float>(heads);
}

// Pixels of an image as s.map wants them; made anew when either changes.
const HeatPicture* picture_of(State& s, const HeatOptions& o, const MapImage& image) {
  HeatPicture& heat = s.heats[o.id];
  const MapView& v = s.map;
  const size_t look = hash_of({double(v.scale), v.decades, v.most, double(int(s.ui.colours)),
                               double(s.ui.theme.light), o.minus ? double(o.minus->serial) + 1 : 0});
  if (heat.picture && heat.serial == image.serial && heat.look == look) return &heat;
  const MapRequest& r = image.want.request;
  if (o.minus && o.minus->values.size() != image.values.size()) return nullptr;
  s.ui.keep(std::move(heat.picture));
  heat.picture = std::make_shared<Picture>(s.engine.device(), r.width, r.height);
  heat.serial = image.serial;
  heat.look = look;
  heat.region = r.region;
  Picture& p = *heat.picture;
  const auto values = p.values();
  float most = 0;
  const MapLayer* layer = layer_of(s, v.source, v.layer);
  const int mode = layer && v.head == static_cast<int>(layer->n_heads) + 1 ? 1 : 0;
  for (uint32_t y = 0; y < r.height; y++) {
    const uint64_t last = r.region.first_query + (uint64_t{y} + 1) * r.region.n_queries / r.height - 1;
    for (uint32_t x = 0; x < r.width; x++) {
      const size_t cell = size_t{y} * r.width + x;
      const uint64_t first = r.region.first_key + uint64_t{x} * r.region.n_keys / r.width;
      float value = value_of(image, cell, mode);
      if (o.minus) value -= value_of(*o.minus, cell, mode);
      values[cell] = first > last ? NAN : value;  // nothing is seen ahead
      if (first <= last) most = std::max(most, std::abs(value));
    }
  }
  if (o.minus) {  // the few largest must not hide the rest
    std::vector<float> sizes;
    for (float x : values)
      if (!std::isnan(x)) sizes.push_back(std::abs(x));
    const auto at = sizes.begin() + static_cast<std::ptrdiff_t>(sizes.size() * 99 / 100);
    if (at < sizes.end()) {
      std::nth_element(sizes.begin(), at, sizes.end());
      if (*at > 0) most = *at;
    }
  }
  most = std::max(most * static_cast<float>(v.most), 1e-12f);
  p.missing = s.ui.theme.light ? IM_COL32(233, 237, 242, 255) : IM_COL32(24, 28, 35, 255);
  if (o.minus) {
    p.set_colours(Colours::diverging);
    p.scale = Scale::linear;
    p.low = -most, p.high = most;
  } else {
    p.set_colours(s.ui.colours);
    p.scale = static_cast<Scale>(v.scale);
    p.high = most;
    p.low = p.scale == Scale::log ? most * static_cast<float>(std::pow(10, -v.decades)) : 0;
    if (p.scale == Scale::rank) p.rank();
  }
  return &heat;
}

void draw_scale(Ui& ui, ImDrawList& list, const Picture& p, ImVec2 from, float width, bool difference) {
  const float height = ui.px(8);
  const Colours map = difference ? Colours::diverging : ui.colours;
  for (int i = 0; i < 64; i++) {
    const Rgb c = colour(map, i / 63.0);
    const float x0 = from.x + width * static_cast<float>(i) / 64,
                x1 = from.x + width * static_cast<float>(i + 1) / 64;
    list.AddRectFilled({x0, from.y}, {x1 + 0.5f, from.y + height}, IM_COL32(c[0], c[1], c[2], 255));
  }
  const float y = from.y - (ImGui::GetFontSize() - height) / 2;
  const std::string low = p.scale == Scale::rank ? "least"
                                                 : (p.scale == Scale::log ? "≤ " : "") + number_text(p.low),
                    high = p.scale == Scale::rank ? "most" : number_text(p.high);
  draw_text(list, {from.x - ui.px(8), y}, 1, ui.theme.muted, low);
  draw_text(list, {from.x + width + ui.px(8), y}, 0, ui.theme.muted, high);
}

// Where windows and sinks end: what lies left of the line, or right of the upright one, is not seen.
void draw_passes(State& s, ImDrawList& list, const std::function<ImVec2(double, double)>& at) {
  const MapView& v = s.map;
  const MapLayer* layer = layer_of(s, v.source, v.layer);
  if (!layer) return;
  const ImU32 colour = s.ui.theme.bad;
  for (const KeyPass& pass : layer->plan.shape.passes) {
    const double n = pass.from.n;
    if (pass.from.kind == EDGE_BEHIND && n > 0)
      list.AddLine(at(v.query0, v.query0 + 1 - n), at(v.query1, v.query1 + 1 - n), colour, s.ui.px(1.5f));
    if (pass.to.kind == EDGE_AT && pass.to.n > 0)
      list.AddLine(at(v.query0, pass.to.n), at(v.query1, pass.to.n), colour, s.ui.px(1.5f));
  }
}

std::string passes_text(const State& s) {
  const MapLayer* layer = layer_of(s, s.map.source, s.map.layer);
  std::string text;
  if (layer)
    for (const KeyPass& pass : layer->plan.shape.passes) {
      if (pass.from.kind == EDGE_BEHIND && pass.from.n > 0)
        text += fmt::format("  ·  window {}", pass.from.n);
      if (pass.to.kind == EDGE_AT && pass.to.n > 0) text += fmt::format("  ·  first {}", pass.to.n);
    }
  return text;
}

// Token texts where a position is wide enough, else numbers.
void draw_axes(State& s, ImDrawList& list, ImVec2 from, ImVec2 to, bool queries) {
  Ui& ui = s.ui;
  const MapView& v = s.map;
  const double wide = (to.x - from.x) / (v.key1 - v.key0), high = (to.y - from.y) / (v.query1 - v.query0);
  const float line = ImGui::GetFontSize();
  const auto ticks = [&](double low, double end, int about) {
    Axis a{"", "", false, low, end};
    return a.ticks(about);
  };
  if (!queries) {
  } else if (high >= line * 0.95) {
    for (auto q = static_cast<uint32_t>(v.query0); q < v.query1; q++) {
      const float y = from.y + static_cast<float>((q + 0.5 - v.query0) * high) - line / 2;
      if (y < from.y - line / 2 || y + line / 2 > to.y) continue;
      draw_text(list, {from.x - ui.px(6), y}, 1, ui.theme.text, fitted(token_text(s, q), ui.px(78)));
    }
  } else {
    for (double q : ticks(v.query0, v.query1, static_cast<int>((to.y - from.y) / ui.px(48)))) {
      const float y = from.y + static_cast<float>((q - v.query0) * high);
      draw_text(list, {from.x - ui.px(8), y - line / 2}, 1, ui.theme.muted, fmt::format("{:.0f}", q));
      list.AddLine({from.x - ui.px(5), y}, {from.x, y}, ui.theme.border);
    }
  }
  for (double k : ticks(v.key0, v.key1, static_cast<int>((to.x - from.x) / ui.px(80)))) {
    const float x = from.x + static_cast<float>((k - v.key0) * wide);
    if (wide < line * 3.2)
      draw_text(list, {x, from.y - line - ui.px(4)}, 0.5f, ui.theme.muted, fmt::format("{:.0f}", k));
    list.AddLine({x, from.y - ui.px(4)}, {x, from.y}, ui.theme.border);
  }
  if (wide >= line * 3.2)
    for (auto k = static_cast<uint32_t>(v.key0); k < v.key1; k++) {
      const float x = from.x + static_cast<float>((k + 0.5 - v.key0) * wide);
      if (x < from.x || x > to.x) continue;
      draw_text(list, {x, from.y - line - ui.px(4)}, 0.5f, ui.theme.text,
                fitted(token_text(s, k), static_cast<float>(wide) - ui.px(2)));
    }
}

void handle_zoom(State& s, ImVec2 from, ImVec2 to, bool hovered, bool active) {
  MapView& v = s.map;
  const ImGuiIO& io = ImGui::GetIO();
  const SourceInfo* source = source_of(s, v.source);
  if (!source || source->n_tokens == 0) return;
  const double n = source->n_tokens;
  const double fx = (io.MousePos.x - from.x) / (to.x - from.x),
               fy = (io.MousePos.y - from.y) / (to.y - from.y);
  if (hovered && io.MouseWheel != 0) {
    const double factor = std::pow(0.8, io.MouseWheel);
    const auto zoom = [&](double& low, double& high, double at) {
      const double centre = low + at * (high - low),
                   width = std::clamp((high - low) * factor, std::min(4.0, n), n);
      low = std::clamp(centre - at * width, 0.0, n - width);
      high = low + width;
    };
    if (!io.KeyShift) zoom(v.query0, v.query1, fy);
    if (!io.KeyCtrl) zoom(v.key0, v.key1, fx);
    v.follow = v.query1 - v.query0 >= n && v.key1 - v.key0 >= n;
  }
  if (active && ImGui::IsMouseDragging(0, 4)) {
    const auto drag = [&](double& low, double& high, double moved) {
      const double width = high - low;
      low = std::clamp(low - moved * width, 0.0, std::max(0.0, n - width));
      high = low + width;
    };
    drag(v.key0, v.key1, io.MouseDelta.x / (to.x - from.x));
    drag(v.query0, v.query1, io.MouseDelta.y / (to.y - from.y));
    v.follow = false;
  }
  if (hovered && ImGui::IsMouseDoubleClicked(0)) v.follow = true;
}

}  // namespace

std::optional<Cell> draw_heat(State& s, const HeatOptions& o, const MapImage* image, ImVec2 size) {
  Ui& ui = s.ui;
  MapView& v = s.map;
  const ImVec2 origin = ImGui::GetCursorScreenPos();
  const float line = ImGui::GetFontSize(), left = o.axes && o.queries ? ui.px(88) : 0,
              top = o.axes ? line + ui.px(8) : 0, low = o.axes ? line + ui.px(14) : 0;
  ImGui::InvisibleButton(o.id.c_str(), size);
  const bool hovered = ImGui::IsItemHovered(), active = ImGui::IsItemActive();
  const ImVec2 from = {origin.x + left, origin.y + top},
               to = {origin.x + size.x - ui.px(o.axes ? 12 : 0), origin.y + size.y - low};
  ui.mark(o.id, from, to);
  if (o.zoom) {
    if (hovered) own_wheel();
    handle_zoom(s, from, to, hovered, active);
  }
  ImDrawList& list = *ImGui::GetWindowDrawList();
  list.AddRectFilled(from, to, ui.theme.light ? IM_COL32(233, 237, 242, 255) : IM_COL32(24, 28, 35, 255));
  const HeatPicture* heat = image && !image->values.empty() ? picture_of(s, o, *image) : nullptr;
  const double wide = (to.x - from.x) / (v.key1 - v.key0), high = (to.y - from.y) / (v.query1 - v.query0);
  const auto at = [&](double query, double key) {
    return ImVec2(from.x + static_cast<float>((key - v.key0) * wide),
                  from.y + static_cast<float>((query - v.query0) * high));
  };
  list.PushClipRect(from, to, true);
  if (heat) {
    const MapRegion& g = heat->region;
    list.AddImage(texture_of(heat->picture.get()), at(g.first_query, g.first_key),
                  at(g.first_query + g.n_queries, g.first_key + g.n_keys));
  }
  std::optional<Cell> cell;
  const ImVec2 mouse = ImGui::GetIO().MousePos;
  const SourceInfo* source = source_of(s, v.source);
  if (hovered && source && mouse.x >= from.x && mouse.x < to.x && mouse.y >= from.y && mouse.y < to.y) {
    Cell c{static_cast<uint32_t>(v.query0 + (mouse.y - from.y) / high),
           static_cast<uint32_t>(v.key0 + (mouse.x - from.x) / wide)};
    if (c.query < source->n_tokens && c.key < source->n_tokens) cell = c;
  }
  const auto cross = [&](const Cell& c, ImU32 colour) {
    const ImVec2 a = at(c.query, c.key), b = at(c.query + 1, c.key + 1);
    list.AddRectFilled({from.x, a.y}, {to.x, std::max(b.y, a.y + 1)}, faded(colour, 0.24f));
    list.AddRectFilled({a.x, from.y}, {std::max(b.x, a.x + 1), to.y}, faded(colour, 0.24f));
    list.AddRect(a, {std::max(b.x, a.x + 2), std::max(b.y, a.y + 2)}, colour);
  };
  if (cell) ui.next_cursors["position"] = cell->query;
  if (v.locked) cross(*v.locked, ui.theme.warning);
  if (v.hover) cross(*v.hover, ui.theme.light ? IM_COL32(30, 30, 30, 255) : IM_COL32(255, 255, 255, 255));
  if (o.axes) draw_passes(s, list, at);
  list.PopClipRect();
  list.AddRect(from, to, ui.theme.border);
  if (o.axes) {
    draw_axes(s, list, from, to, o.queries);
    const bool roomy = to.x - from.x > ui.px(400);
    if (heat)
      draw_scale(ui, list, *heat->picture, {to.x - ui.px(roomy ? 190 : 128), to.y + ui.px(12)},
                 ui.px(roomy ? 130 : 70), o.minus != nullptr);
    if (roomy)
      draw_text(list, {from.x, to.y + ui.px(7)}, 0, ui.theme.muted, "queries ↓  keys →" + passes_text(s));
  }
  if (cell && o.zoom && ImGui::IsMouseReleased(0) && !ImGui::IsMouseDragging(0, 4) &&
      std::abs(ImGui::GetIO().MouseClickedPos[0].x - mouse.x) +
              std::abs(ImGui::GetIO().MouseClickedPos[0].y - mouse.y) <
          5)
    v.locked = v.locked == cell ? std::nullopt : cell;
  return cell;
}

}  // namespace spindle
