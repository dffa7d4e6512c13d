// The attention map of one head at any length: zoom, pooling, scales, comparison, and what a cell is.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "viewer/window/plot.h"
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

void choose_source(State& s, const char* name, const char* label, int& which, bool with_none) {
  std::vector<std::string> names;
  for (size_t i = 0; i < s.now->sources.size(); i++)
    names.push_back(with_none && i == 0 ? "nothing" : s.now->sources[i].name);
  choose(s.ui, name, label, which, names, with_none ? 84 : 120);
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

void request_row(State& s, uint32_t query) {
  const MapLayer* l = layer_of(s, s.map.source, s.map.layer);
  if (!l) return;
  s.engine.want_row({static_cast<size_t>(s.map.source), l->index,
                     std::min(static_cast<uint32_t>(s.map.head), l->n_heads - 1), query});
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
  int which = static_cast<int>(std::ranges::find(colour_names(), std::string(colour_names()[0])) -
                               colour_names().begin());
  which = static_cast<int>(ui.colours);
  if (choose(ui, "map.colours", "", which, colour_names(), 104)) ui.colours = static_cast<Colours>(which);
  ImGui::SameLine();
  bool hide = v.hidden_keys > 0;
  if (toggle(ui, "map.sinks", "hide sinks", hide)) v.hidden_keys = hide ? 4 : 0;
  tooltip(ui, "The first tokens take most of the attention of many heads; hidden, the rest can be seen.");
}

// What the cell under the mouse, or the locked one, is.
void draw_details(State& s, float height) {
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
  request_row(s, cell->query);
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
  heading(ui, "Strongest keys", "of this query");
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
    draw_text(list, {at.x + ui.px(4), at.y + 1}, 0, order[i] == cell->key ? ui.theme.accent : ui.theme.text,
              fitted(fmt::format("{}  {}", order[i], token_text(s, order[i])), bar - ui.px(70)));
    draw_text(list, {at.x + bar - ui.px(2), at.y + 1}, 1, ui.theme.muted, number_text(p[order[i]]));
    ImGui::Dummy({bar, ImGui::GetFontSize()});
  }
  ImGui::EndChild();
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
  draw_heat(s, {"map.mini", "", false, false, nullptr}, image.get(), {width, width});
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
  const float side = v.details ? ui.px(268) : 0, gap = ui.px(12);
  area.x -= side + (side > 0 ? gap : 0);
  const int maps = compares ? 3 : 1;
  const float each = (area.x - gap * static_cast<float>(maps - 1)) / static_cast<float>(maps);
  const float head = compares ? ImGui::GetFrameHeight() : 0;
  const ImVec2 size = {each, std::min(area.y - head, compares ? each * 1.35f : area.y)},
               pixels = {each - ui.px(100), size.y - ui.px(50)};
  const MapWant want = want_of(s, v.source, pixels), other = want_of(s, v.other, pixels);
  s.engine.want_map("map", &want);
  s.engine.want_map("other", compares ? &other : nullptr);
  const auto image = s.engine.map("map"), second = compares ? s.engine.map("other") : nullptr;
  std::optional<Cell> cell;
  const ImVec2 start = ImGui::GetCursorPos();
  const auto one = [&](int i, const char* id, const std::string& title, const MapImage* a,
                       const MapImage* minus) {
    ImGui::SetCursorPos({start.x + static_cast<float>(i) * (each + gap), start.y});
    if (compares) {
      heading(ui, fitted(title, each - ui.px(8)).c_str());
      ImGui::SetCursorPos({start.x + static_cast<float>(i) * (each + gap), start.y + head});
    }
    if (const auto c = draw_heat(s, {id, "map", true, true, minus}, a, size)) cell = c;
  };
  one(0, "map", source->name, image.get(), nullptr);
  if (compares) {
    one(1, "map.other", s.now->sources[static_cast<size_t>(v.other)].name, second.get(), nullptr);
    const bool both = image && second && image->want.request.region == second->want.request.region;
    one(2, "map.difference",
        fmt::format("{} less {}", source->name, s.now->sources[static_cast<size_t>(v.other)].name),
        both ? image.get() : nullptr, both ? second.get() : nullptr);
  }
  v.hover = cell;
  if (v.details) {
    ImGui::SetCursorPos({start.x + area.x + gap, start.y});
    ImGui::BeginGroup();
    const float mini = ui.px(s.now->sources.size() > 1 ? 140 : 112);
    ImGui::BeginChild("overview", {side, mini + 2 * ImGui::GetStyle().WindowPadding.y}, true,
                      ImGuiWindowFlags_NoScrollbar);
    draw_minimap(s, mini);
    ImGui::SameLine();
    ImGui::BeginGroup();
    if (v.scale == 0)
      slide(ui, "map.decades", "", v.decades, 1, 8, "%.1f decades", false,
            s.now->sources.size() > 1 ? 84 : 112);
    double most = v.most;
    if (slide(ui, "map.most", "", most, 0.001, 1, "top %.3f", true, s.now->sources.size() > 1 ? 84 : 112))
      v.most = most;
    if (s.now->sources.size() > 1) {
      ImGui::SetNextItemWidth(ui.px(112));
      choose_source(s, "map.other_source", "", v.other, true);
      tooltip(ui, "Compare with another method or capture");
    }
    if (button(ui, "map.save", "PNG")) ui.shots.push_back({ui.export_path("map", "png"), ui.marks["map"]});
    ImGui::SameLine();
    if (button(ui, "map.save_csv", "CSV") && image) save_map(s, *image);
    ImGui::EndGroup();
    ImGui::EndChild();
    ImGui::PushStyleVar(ImGuiStyleVar_ItemSpacing, {0, 0});
    ImGui::PopStyleVar();
    draw_details(s, area.y - mini - 2 * ImGui::GetStyle().WindowPadding.y - ImGui::GetStyle().ItemSpacing.y);
    ImGui::EndGroup();
  }
}

}  // namespace spindle
