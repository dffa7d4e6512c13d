// All heads at once: thumbnails of layers x heads, and what can be said of each in numbers.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "viewer/window/state.h"

namespace spindle {
namespace {

struct Column {
  const char* name;
  const char* unit;
  const char* what;
  double (*of)(const HeadStatistics&);
};
const Column kColumns[] = {
    {"entropy", "nats", "How spread the attention is: 0 looks at one key, ln n at all alike.",
     [](const HeadStatistics& h) { return h.entropy; }},
    {"distance", "positions", "Mean distance from query to key.",
     [](const HeadStatistics& h) { return h.mean_distance; }},
    {"sinks", "", "Probability of the first keys of the text.",
     [](const HeadStatistics& h) { return h.sink_mass; }},
    {"window", "", "Probability of the keys close to the query.",
     [](const HeadStatistics& h) { return h.window_mass; }},
    {"previous", "", "Probability of the key right before the query.",
     [](const HeadStatistics& h) { return h.previous; }},
};

const HeadStatistics* find(const StatisticsFound* found, uint32_t layer, uint32_t head) {
  if (!found) return nullptr;
  for (const HeadStatistics& h : found->heads)
    if (h.layer == layer && h.head == head) return &h;
  return nullptr;
}

void save_csv(State& s, const StatisticsFound& found) {
  std::string text = "layer,head";
  for (const Column& c : kColumns) text += fmt::format(",{}", c.name);
  text += "\n";
  for (const HeadStatistics& h : found.heads) {
    text += fmt::format("{},{}", h.layer, h.head);
    for (const Column& c : kColumns) text += fmt::format(",{:.6g}", c.of(h));
    text += "\n";
  }
  s.ui.write_text(s.ui.export_path("heads", "csv"), text);
}

// One request a layer: all its heads, small.
void draw_thumbnails(State& s, const SourceInfo& source, const StatisticsFound* found) {
  Ui& ui = s.ui;
  MapView& v = s.map;
  uint32_t most_heads = 1;
  for (const MapLayer& l : source.layers) most_heads = std::max(most_heads, l.n_heads);
  const float label = ui.px(34), gap = ui.px(6);
  const float edge =
      std::clamp((ImGui::GetContentRegionAvail().x - label - ui.px(8)) / static_cast<float>(most_heads) - gap,
                 ui.px(28), ui.px(132));
  const uint32_t pixels = static_cast<uint32_t>(std::min(96.0f, edge));
  ImDrawList& list = *ImGui::GetWindowDrawList();
  const ImVec2 top = ImGui::GetCursorScreenPos();
  for (uint32_t h = 0; h < most_heads; h++)
    draw_text(list, {top.x + label + (edge + gap) * static_cast<float>(h) + edge / 2, top.y}, 0.5f,
              ui.theme.muted, fmt::format("{}", h));
  ImGui::Dummy({1, ImGui::GetFontSize() + ui.px(2)});
  const MapView before = v;
  for (const MapLayer& l : source.layers) {
    const ImVec2 at = ImGui::GetCursorScreenPos();
    const float row_height = edge + gap + (l.n_kv_heads < l.n_heads ? ui.px(4) : 0);
    const std::string key = fmt::format("layer.{}", l.index);
    const bool visible = at.y + row_height > ImGui::GetWindowPos().y &&
                         at.y < ImGui::GetWindowPos().y + ImGui::GetWindowHeight();
    if (!visible) {
      s.engine.want_map(key, nullptr);
      ImGui::Dummy({1, row_height});
      continue;
    }
    draw_text(list, {at.x + label - ui.px(10), at.y + (edge - ImGui::GetFontSize()) / 2}, 1, ui.theme.muted,
              fmt::format("{}", l.index));
    MapWant w;
    w.source = static_cast<size_t>(v.source);
    w.request.layer = l.index;
    w.request.n_heads = l.n_heads;
    w.request.region = {0, source.n_tokens, 0, source.n_tokens};
    w.request.width = w.request.height = std::min(pixels, source.n_tokens);
    w.request.pool = static_cast<Pool>(v.pool);
    w.request.hidden_keys = static_cast<uint32_t>(v.hidden_keys);
    s.engine.want_map(key, &w);
    const auto image = s.engine.map(key);
    for (uint32_t h = 0; h < l.n_heads; h++) {
      const ImVec2 from = {at.x + label + (edge + gap) * static_cast<float>(h), at.y},
                   to = {from.x + edge, from.y + edge};
      ImGui::SetCursorScreenPos(from);
      std::shared_ptr<MapImage> part;
      if (image) {
        const size_t n = size_t{image->want.request.width} * image->want.request.height;
        part = std::make_shared<MapImage>();
        part->want = image->want;
        part->serial = image->serial;
        if (image->values.size() >= (h + 1) * n)
          part->values.assign(image->values.begin() + static_cast<std::ptrdiff_t>(h * n),
                              image->values.begin() + static_cast<std::ptrdiff_t>((h + 1) * n));
      }
      v.query0 = v.key0 = 0;
      v.query1 = v.key1 = std::max(1u, source.n_tokens);
      v.hover.reset(), v.locked.reset();
      const std::string id = fmt::format("head.{}.{}", l.index, h);
      draw_heat(s, {id, "", false, false, true, nullptr}, part.get(), {edge, edge});
      const bool chosen = before.layer == static_cast<int>(l.index) && before.head == static_cast<int>(h);
      if (chosen)
        list.AddRect({from.x - 2, from.y - 2}, {to.x + 2, to.y + 2}, ui.theme.accent, ui.px(3), 0, ui.px(2));
      const bool hovered = ImGui::IsItemHovered(), clicked = ImGui::IsItemClicked();
      if (clicked) {
        v = before;
        v.layer = static_cast<int>(l.index), v.head = static_cast<int>(h);
        s.panel = Panel::map;
        return;
      }
      if (!hovered) continue;
      ImGui::BeginTooltip();
      ImGui::Text("layer %u, head %u", l.index, h);
      if (l.n_kv_heads < l.n_heads)
        muted(ui, fmt::format("shares the keys of kv head {}", h / (l.n_heads / l.n_kv_heads)));
      if (const HeadStatistics* head = find(found, l.index, h))
        for (const Column& c : kColumns)
          ImGui::Text("%s %s %s", c.name, number_text(c.of(*head)).c_str(), c.unit);
      muted(ui, "click to enlarge");
      ImGui::EndTooltip();
    }
    if (l.n_kv_heads < l.n_heads) {  // heads that share keys stand on one line
      const uint32_t group = l.n_heads / l.n_kv_heads;
      for (uint32_t g = 0; g < l.n_kv_heads; g++) {
        const float x0 = at.x + label + (edge + gap) * static_cast<float>(g * group),
                    x1 = at.x + label + (edge + gap) * static_cast<float>((g + 1) * group) - gap;
        list.AddRectFilled({x0, at.y + edge + ui.px(3)}, {x1, at.y + edge + ui.px(5)},
                           ui.theme.series[g % 7]);
      }
    }
    ImGui::SetCursorScreenPos(at);
    ImGui::Dummy({1, row_height});
  }
  v = before;
}

void draw_table(State& s, const StatisticsFound* found) {
  Ui& ui = s.ui;
  if (!found) {
    muted(ui, "Counting ...");
    return;
  }
  std::vector<const HeadStatistics*> rows;
  for (const HeadStatistics& h : found->heads) rows.push_back(&h);
  const ImGuiTableFlags flags = ImGuiTableFlags_Sortable | ImGuiTableFlags_RowBg | ImGuiTableFlags_ScrollY |
                                ImGuiTableFlags_BordersInnerH | ImGuiTableFlags_SizingStretchProp;
  ImGui::PushStyleVar(ImGuiStyleVar_CellPadding, {ui.px(4), ui.px(4)});
  const bool open = ImGui::BeginTable("heads.table", 7, flags, ImGui::GetContentRegionAvail());
  ImGui::PopStyleVar();
  if (!open) return;
  ImGui::TableSetupScrollFreeze(0, 1);
  ImGui::TableSetupColumn("layer", ImGuiTableColumnFlags_DefaultSort, 0.9f);
  ImGui::TableSetupColumn("head", 0, 0.8f);
  for (const Column& c : kColumns)
    ImGui::TableSetupColumn(c.name, ImGuiTableColumnFlags_PreferSortDescending, 1.1f);
  ImGui::TableHeadersRow();
  ui.mark("heads.table", ImGui::GetWindowPos(),
          {ImGui::GetWindowPos().x + ImGui::GetWindowWidth(),
           ImGui::GetWindowPos().y + ImGui::GetWindowHeight()});
  if (const ImGuiTableSortSpecs* sort = ImGui::TableGetSortSpecs(); sort && sort->SpecsCount > 0) {
    s.heads.sort = sort->Specs[0].ColumnIndex;
    s.heads.ascending = sort->Specs[0].SortDirection == ImGuiSortDirection_Ascending;
  }
  const auto value = [&](const HeadStatistics& h) {
    return s.heads.sort == 0   ? h.layer * 1e4 + h.head
           : s.heads.sort == 1 ? h.head * 1e4 + h.layer
                               : kColumns[s.heads.sort - 2].of(h);
  };
  if (s.heads.sort >= 0)
    std::ranges::stable_sort(rows, [&](const auto* a, const auto* b) {
      return s.heads.ascending ? value(*a) < value(*b) : value(*a) > value(*b);
    });
  double most[5] = {};
  for (const auto* h : rows)
    for (int c = 0; c < 5; c++) most[c] = std::max(most[c], kColumns[c].of(*h));
  ImDrawList& list = *ImGui::GetWindowDrawList();
  for (const HeadStatistics* h : rows) {
    ImGui::TableNextRow();
    ImGui::TableNextColumn();
    const bool chosen = s.map.layer == static_cast<int>(h->layer) && s.map.head == static_cast<int>(h->head);
    if (ImGui::Selectable(fmt::format("{}##{}.{}", h->layer, h->layer, h->head).c_str(), chosen,
                          ImGuiSelectableFlags_SpanAllColumns)) {
      s.map.layer = static_cast<int>(h->layer), s.map.head = static_cast<int>(h->head);
      if (ImGui::IsMouseDoubleClicked(0)) s.panel = Panel::map;
    }
    ImGui::TableNextColumn();
    ImGui::Text("%u", h->head);
    for (int c = 0; c < 5; c++) {
      ImGui::TableNextColumn();
      const ImVec2 at = ImGui::GetCursorScreenPos();
      const double x = kColumns[c].of(*h);
      if (most[c] > 0)
        list.AddRectFilled({at.x, at.y + ImGui::GetFontSize() + ui.px(1)},
                           {at.x + static_cast<float>(x / most[c]) * ImGui::GetContentRegionAvail().x,
                            at.y + ImGui::GetFontSize() + ui.px(3)},
                           ui.theme.series[c], 1);
      ImGui::TextUnformatted(fmt::format("{:.3g}", x).c_str());
    }
  }
  ImGui::EndTable();
}

}  // namespace

void draw_heads(State& s) {
  Ui& ui = s.ui;
  const std::string missing = missing_map(s);
  const SourceInfo* source = source_of(s, s.map.source);
  if (s.now->sources.size() > 1) {
    choose_source(s, "heads.source", "of", s.map.source, false);
    ImGui::SameLine();
  }
  choose(ui, "map.pool", "pool", s.map.pool, {"max", "mean", "sum"}, 76);
  ImGui::SameLine();
  choose(ui, "map.scale", "scale", s.map.scale, scale_names(), 82);
  ImGui::SameLine();
  bool hide = s.map.hidden_keys > 0;
  if (toggle(ui, "map.sinks", "hide sinks", hide)) s.map.hidden_keys = hide ? 4 : 0;
  ImGui::SameLine();
  double sinks = s.heads.sinks, window = s.heads.window;
  if (slide(ui, "heads.sinks", "first keys", sinks, 1, 16, "%.0f", false, 90))
    s.heads.sinks = static_cast<int>(std::round(sinks));
  ImGui::SameLine();
  if (slide(ui, "heads.window", "window", window, 2, 1024, "%.0f", true, 90))
    s.heads.window = static_cast<int>(std::round(window));
  if (!missing.empty()) {
    ImGui::Dummy({1, ui.px(40)});
    muted(ui, missing);
    return;
  }
  StatisticsOptions o;
  o.sinks = static_cast<uint32_t>(s.heads.sinks), o.window = static_cast<uint32_t>(s.heads.window);
  s.engine.want_statistics(static_cast<size_t>(s.map.source), o);
  auto found = s.engine.statistics();
  if (found && found->source != static_cast<size_t>(s.map.source)) found = nullptr;
  ImGui::SameLine();
  if (button(ui, "heads.csv", "CSV") && found) save_csv(s, *found);
  const ImVec2 area = ImGui::GetContentRegionAvail();
  const float gap = ui.px(10), table = ui.px(540);
  ImGui::BeginChild("thumbnails", {area.x - table - gap, area.y}, true);
  draw_thumbnails(s, *source, found.get());
  ImGui::EndChild();
  ImGui::SameLine(0, gap);
  ImGui::BeginChild("statistics", {table, area.y}, true);
  draw_table(s, found.get());
  ImGui::EndChild();
}

}  // namespace spindle
