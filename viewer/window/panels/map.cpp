// The attention map of one head at any length: zoom, pooling, scales, comparison, and what a cell is.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "viewer/window/panels/rotary_plots.h"
#include "viewer/window/state.h"

namespace spindle {

const SourceInfo* source_of(const State& s, int index) {
  if (!s.now || index < 0 || static_cast<size_t>(index) >= s.now->sources.size()) return nullptr;
  return &s.now->sources[static_cast<size_t>(index)];
}

const MapLayer* layer_of(const State& s, int source, int layer) {
  const SourceInfo* info = source_of(s, source);
  if (!info) return nullptr;
  for (const MapLayer& l : info->layers)
    if (static_cast<int>(l.index) == layer) return &l;
  return nullptr;
}

std::string token_text(const State& s, uint32_t position) {
  if (!s.now || position >= s.now->tokens.size()) return std::to_string(position);
  return visible(s.now->tokens[position].text);
}

std::string missing_map(const State& s) {
  const SourceInfo* source = source_of(s, s.map.source);
  if (!source)
    return "There is no text yet. Write a prompt above and press Enter: its attention maps appear here.";
  if (source->n_tokens == 0 || source->end_query <= source->first_query)
    return s.now->doing == Doing::reading ? "Reading the prompt ..."
                                          : "There is no text yet. Write a prompt above and press Enter: its "
                                            "attention maps appear here.";
  if (source->layers.empty()) return "Maps are off. Switch them on in Time, and generate again.";
  return {};
}

void choose_source(State& s, const char* name, const char* label, int& which, bool with_none, float width) {
  std::vector<std::string> names;
  for (size_t i = 0; i < s.now->sources.size(); i++)
    names.push_back(with_none && i == 0 ? "nothing" : s.now->sources[i].name);
  choose(s.ui, name, label, which, names, width);
}

void choose_head(State& s) {
  MapView& v = s.map;
  if (s.now->sources.size() > 1) {
    choose_source(s, "map.source", "of", v.source, false);
    ImGui::SameLine();
  }
  const SourceInfo* source = source_of(s, v.source);
  std::vector<std::string> layers, heads;
  std::vector<int> index;
  if (source)
    for (const MapLayer& l : source->layers) {
      layers.push_back(fmt::format("{}", l.index));
      index.push_back(static_cast<int>(l.index));
    }
  int at = static_cast<int>(std::ranges::find(index, v.layer) - index.begin());
  if (at >= static_cast<int>(index.size())) at = 0;
  choose(s.ui, "map.layer", "layer", at, layers, 58);
  if (!index.empty()) v.layer = index[static_cast<size_t>(at)];
  ImGui::SameLine();
  if (const MapLayer* l = layer_of(s, v.source, v.layer)) {
    for (uint32_t h = 0; h < l->n_heads; h++)
      heads.push_back(l->n_kv_heads < l->n_heads
                          ? fmt::format("{}  (kv {})", h, h / (l->n_heads / l->n_kv_heads))
                          : fmt::format("{}", h));
    heads.push_back("mean of heads");
    heads.push_back("most of heads");
  }
  choose(s.ui, "map.head", "head", v.head, heads, 116);
}

void request_row(State& s, uint32_t query, std::optional<uint32_t> key) {
  const MapLayer* l = layer_of(s, s.map.source, s.map.layer);
  if (!l) return;
  s.engine.want_row({static_cast<size_t>(s.map.source), l->index,
                     std::min(static_cast<uint32_t>(s.map.head), l->n_heads - 1), query, key});
}

namespace {

// The visible region as a request for so many pixels.
MapWant want_of(const State& s, int source, ImVec2 pixels) {
  const MapView& v = s.map;
  MapWant w;
  w.source = static_cast<size_t>(source);
  MapRequest& r = w.request;
  r.layer = static_cast<uint32_t>(v.layer);
  if (const MapLayer* l = layer_of(s, source, v.layer)) {
    const bool all = v.head >= static_cast<int>(l->n_heads);
    r.first_head = all ? 0 : static_cast<uint32_t>(v.head);
    r.n_heads = all ? l->n_heads : 1;
  }
  r.region.first_query = static_cast<uint32_t>(v.query0);
  r.region.first_key = static_cast<uint32_t>(v.key0);
  r.region.n_queries = static_cast<uint32_t>(std::ceil(v.query1)) - r.region.first_query;
  r.region.n_keys = static_cast<uint32_t>(std::ceil(v.key1)) - r.region.first_key;
  r.width = std::min(r.region.n_keys, static_cast<uint32_t>(std::max(1.0f, pixels.x)));
  r.height = std::min(r.region.n_queries, static_cast<uint32_t>(std::max(1.0f, pixels.y)));
  r.pool = static_cast<Pool>(v.pool);
  r.hidden_keys = static_cast<uint32_t>(v.hidden_keys);
  return w;
}

void draw_options(State& s) {
  Ui& ui = s.ui;
  MapView& v = s.map;
  choose_head(s);
  ImGui::SameLine();
  choose(ui, "map.pool", "pool", v.pool, {"max", "mean", "sum"}, 76);
  tooltip(
      ui,
      "What a pixel shows when it stands for many pairs: the largest probability, their mean, or their sum.");
  ImGui::SameLine();
  choose(ui, "map.scale", "scale", v.scale, scale_names(), 82);
  ImGui::SameLine();
  int which = static_cast<int>(ui.colours);
  if (choose(ui, "map.colours", "", which, colour_names(), 104)) ui.colours = static_cast<Colours>(which);
  ImGui::SameLine();
  bool hide = v.hidden_keys > 0;
  if (toggle(ui, "map.sinks", "hide sinks", hide)) v.hidden_keys = hide ? 4 : 0;
  tooltip(ui, "The first tokens take most of the attention of many heads; hidden, the rest can be seen.");
}

// The whole map, small, with the visible part framed.
void draw_minimap(State& s, float width) {
  Ui& ui = s.ui;
  MapView& v = s.map;
  const SourceInfo* source = source_of(s, v.source);
  const double n = source->n_tokens;
  MapView whole = v;
  whole.query0 = whole.key0 = 0, whole.query1 = whole.key1 = n;
  std::swap(whole, v);
  const MapWant want = want_of(s, v.source, {width, width});
  s.engine.want_map("mini", &want);
  const auto image = s.engine.map("mini");
  const auto hover = std::exchange(v.hover, std::nullopt), locked = std::exchange(v.locked, std::nullopt);
  draw_heat(s, {"map.mini", "", false, false, true, nullptr}, image.get(), {width, width});
  std::swap(whole, v);
  v.hover = hover, v.locked = locked;
  const ImVec2 from = ImGui::GetItemRectMin();
  ImDrawList& list = *ImGui::GetWindowDrawList();
  const auto to_screen = [&](double query, double key) {
    return ImVec2(from.x + static_cast<float>(key / n) * width,
                  from.y + static_cast<float>(query / n) * width);
  };
  list.AddRect(to_screen(v.query0, v.key0), to_screen(v.query1, v.key1), ui.theme.warning, 0, 0, ui.px(2));
  if (ImGui::IsItemActive()) {
    const auto centre = [&](double& low, double& high, double at) {
      const double w = high - low;
      low = std::clamp(at - w / 2, 0.0, std::max(0.0, n - w));
      high = low + w;
    };
    centre(v.key0, v.key1, (ImGui::GetIO().MousePos.x - from.x) / width * n);
    centre(v.query0, v.query1, (ImGui::GetIO().MousePos.y - from.y) / width * n);
    v.follow = false;
  }
}

void save_map(State& s, const MapImage& image) {
  std::string text = "query,key,value\n";
  const MapRequest& r = image.want.request;
  for (uint32_t y = 0; y < r.height; y++)
    for (uint32_t x = 0; x < r.width; x++)
      text +=
          fmt::format("{},{},{:.6g}\n", r.region.first_query + uint64_t{y} * r.region.n_queries / r.height,
                      r.region.first_key + uint64_t{x} * r.region.n_keys / r.width,
                      image.values[size_t{y} * r.width + x]);
  s.ui.write_text(s.ui.export_path("map", "csv"), text);
}

// PNG and CSV of what is on screen; NPY and JSON of its positions one by one, up to 4096 each way.
void draw_exports(State& s, const MapWant& shown, const MapImage* image) {
  Ui& ui = s.ui;
  ImGui::SetNextItemWidth(ui.px(114));
  const bool open = ImGui::BeginCombo("###map.save", "save as ...", ImGuiComboFlags_HeightLarge);
  ui.mark("map.save");
  if (!open) return;
  const auto item = [&](const char* ending) {
    const bool chosen = ImGui::Selectable(ending);
    ui.mark(fmt::format("map.save.{}", ending));
    return chosen;
  };
  if (item("png")) ui.shots.push_back({ui.export_path("map", "png"), ui.marks["map"]});
  if (item("csv") && image) save_map(s, *image);
  for (const char* ending : {"npy", "json"})
    if (item(ending)) {
      MapWant want = shown;
      MapRequest& r = want.request;
      r.width = std::min(r.region.n_keys, 4096u), r.height = std::min(r.region.n_queries, 4096u);
      if (*ending == 'j') r.n_heads = 1;
      s.engine.write_map(ui.export_path("map", ending), want);
      ui.notice = fmt::format("saved map.{}", ending);
    }
  ImGui::EndCombo();
}

}  // namespace

void draw_map(State& s) {
  Ui& ui = s.ui;
  MapView& v = s.map;
  const std::string missing = missing_map(s);
  const SourceInfo* source = source_of(s, v.source);
  if (v.follow && source && source->n_tokens) {
    v.query0 = v.key0 = 0;
    v.query1 = v.key1 = source->n_tokens;
  }
  draw_options(s);
  if (!missing.empty()) {
    ImGui::Dummy({1, ui.px(40)});
    const float width = ImGui::CalcTextSize(missing.c_str()).x;
    ImGui::SetCursorPosX(std::max(ui.px(16), (ImGui::GetWindowWidth() - width) / 2));
    muted(ui, missing);
    for (const char* key : {"map", "other", "mini"}) s.engine.want_map(key, nullptr);
    return;
  }
  const bool compares = v.other > 0 && v.other < static_cast<int>(s.now->sources.size());
  ImVec2 area = ImGui::GetContentRegionAvail();
  const float side = ui.px(268), gap = ui.px(12), axis = ui.px(88);
  area.x -= side + gap;
  // Maps that are compared share the axis of queries.
  const float each = compares ? (area.x - axis - 2 * gap) / 3 : area.x - axis;
  const float head = compares ? ImGui::GetFrameHeight() : 0;
  const float height = std::min(area.y - head, compares ? each + ui.px(40) : area.y);
  const ImVec2 pixels = {each - ui.px(12), height - ui.px(50)};
  const MapWant want = want_of(s, v.source, pixels), other = want_of(s, v.other, pixels);
  s.engine.want_map("map", &want);
  s.engine.want_map("other", compares ? &other : nullptr);
  const auto image = s.engine.map("map"), second = compares ? s.engine.map("other") : nullptr;
  std::optional<Cell> cell;
  const ImVec2 start = ImGui::GetCursorPos();
  const auto one = [&](int i, const char* id, const std::string& title, const MapImage* a,
                       const MapImage* minus) {
    const float x = start.x + (i ? axis : 0) + static_cast<float>(i) * (each + gap);
    if (compares) {
      ImGui::SetCursorPos({i ? x : x + axis, start.y});
      heading(ui, fitted(title, each - ui.px(8)).c_str());
    }
    ImGui::SetCursorPos({x, start.y + head});
    if (const auto c =
            draw_heat(s, {id, "map", true, true, i == 0, minus}, a, {i ? each : each + axis, height}))
      cell = c;
  };
  one(0, "map", source->name, image.get(), nullptr);
  if (compares) {
    const std::string& name = s.now->sources[static_cast<size_t>(v.other)].name;
    one(1, "map.other", name, second.get(), nullptr);
    const bool both = image && second && image->want.request.region == second->want.request.region;
    one(2, "map.difference", fmt::format("{} less {}", source->name, name), both ? image.get() : nullptr,
        both ? second.get() : nullptr);
    ImGui::SetCursorPos({start.x, start.y + head + height + ui.px(6)});
    const float left = area.y - head - height - ui.px(10);
    if (const auto plot = loss_plot(s, {v.source, v.other}); plot && left > ui.px(120))
      draw_plot(ui, *plot, {area.x, std::min(left, ui.px(260))});
    else if (!plot) muted(ui, "Methods that Rotary compared have their perplexity here.");
  }
  v.hover = cell;
  ImGui::SetCursorPos({start.x + area.x + gap, start.y});
  ImGui::BeginGroup();
  const float mini = ui.px(s.now->sources.size() > 1 ? 148 : 112);
  ImGui::BeginChild("overview", {side, mini + 2 * ImGui::GetStyle().WindowPadding.y}, true,
                    ImGuiWindowFlags_NoScrollbar);
  draw_minimap(s, ui.px(112));
  ImGui::SameLine();
  ImGui::BeginGroup();
  if (v.scale == 0) slide(ui, "map.decades", "", v.decades, 1, 8, "%.1f decades", false, 114);
  slide(ui, "map.most", "", v.most, 0.001, 1, "top %.3f", true, 114);
  if (s.now->sources.size() > 1) {
    choose_source(s, "map.other_source", "", v.other, true, 114);
    tooltip(ui, "Compare with another method or capture");
  }
  draw_exports(s, want, image.get());
  ImGui::EndGroup();
  ImGui::EndChild();
  draw_cell(s, area.y - mini - 2 * ImGui::GetStyle().WindowPadding.y - ImGui::GetStyle().ItemSpacing.y);
  ImGui::EndGroup();
}

}  // namespace spindle
