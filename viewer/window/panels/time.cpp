// Where the time goes: kernels of the last step, tokens a second, the window's own work, memory by heap.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "viewer/window/plot.h"
#include "viewer/window/state.h"

namespace spindle {
namespace {

std::string measured(const State& s, const std::string& text) { return s.ui.still ? "–" : text; }

void draw_kernels(State& s) {
  Ui& ui = s.ui;
  heading(ui, "Kernels of the last step",
          s.now->timings.empty() ? (s.engine.device().caps().timestamps ? "appear with the next token"
                                                                        : "this device has no timestamps")
                                 : "");
  const ImGuiTableFlags flags =
      ImGuiTableFlags_RowBg | ImGuiTableFlags_ScrollY | ImGuiTableFlags_BordersInnerH;
  if (!ImGui::BeginTable("time.kernels", 6, flags, ImGui::GetContentRegionAvail())) return;
  ImGui::TableSetupScrollFreeze(0, 1);
  ImGui::TableSetupColumn("kernel", ImGuiTableColumnFlags_WidthStretch, 2.2f);
  for (const char* name : {"times", "µs", "MB", "GB/s", "GFLOP/s"})
    ImGui::TableSetupColumn(name, ImGuiTableColumnFlags_WidthStretch, 1);
  ImGui::TableHeadersRow();
  std::vector<Timing> list = s.now->timings;
  if (s.ui.still)
    std::ranges::sort(list, [](const Timing& a, const Timing& b) {
      return std::pair(a.name, a.work.bytes) < std::pair(b.name, b.work.bytes);
    });
  else std::ranges::sort(list, [](const Timing& a, const Timing& b) { return a.ns > b.ns; });
  uint64_t most = 1;
  for (const Timing& t : list) most = std::max(most, t.ns);
  ImDrawList& draw = *ImGui::GetWindowDrawList();
  for (const Timing& t : list) {
    ImGui::TableNextRow();
    ImGui::TableNextColumn();
    const ImVec2 at = ImGui::GetCursorScreenPos();
    const float width = ImGui::GetContentRegionAvail().x;
    if (!s.ui.still)
      draw.AddRectFilled(at,
                         {at.x + width * static_cast<float>(t.ns) / static_cast<float>(most),
                          at.y + ImGui::GetFontSize() + ui.px(2)},
                         faded(ui.theme.accent, 0.3f), ui.px(2));
    ImGui::TextUnformatted(t.name.c_str());
    const double ns = std::max<double>(1, static_cast<double>(t.ns));
    for (const std::string& text :
         {fmt::format("{}", t.dispatches), measured(s, fmt::format("{:.1f}", ns / 1e3)),
          fmt::format("{:.3f}", t.work.bytes / 1e6), measured(s, fmt::format("{:.2f}", t.work.bytes / ns)),
          measured(s, fmt::format("{:.2f}", t.work.operations / ns))}) {
      ImGui::TableNextColumn();
      ImGui::TextUnformatted(text.c_str());
    }
  }
  ImGui::EndTable();
}

void draw_rates(State& s, ImVec2 size) {
  Ui& ui = s.ui;
  Plot p;
  p.id = "time.rates";
  p.title = "Speed";
  p.x = {"tokens in the text", "", false, 0, 1};
  p.y = {"tokens a second", "", true, 1, 10};
  Series reading{"prompt", ui.theme.series[0], Mark::points, {}, {}},
      writing{"generated", ui.theme.series[1], Mark::line, {}, {}};
  std::vector<double> all;
  if (!ui.still)
    for (const RatePoint& r : s.now->rates) {
      Series& to = r.reading ? reading : writing;
      to.x.push_back(r.tokens);
      to.y.push_back(r.per_second);
      all.push_back(r.per_second);
    }
  p.x.whole = true;
  p.x.high = std::max(2.0, static_cast<double>(s.now->tokens.size()));
  p.y.fit(all, 0.1);
  p.series = {reading, writing};
  draw_plot(ui, p, size);
}

void draw_memory(State& s) {
  Ui& ui = s.ui;
  heading(ui, "Memory");
  ImDrawList& list = *ImGui::GetWindowDrawList();
  const MemoryNeed& m = s.now->memory;
  const std::pair<const char*, uint64_t> parts[] = {{"weights", m.weights},
                                                    {"cache", m.cache},
                                                    {"activations", m.activations},
                                                    {"attention", m.scratch},
                                                    {"maps", s.now->maps.kept + s.now->maps.scratch}};
  uint64_t known = 0;
  for (const auto& part : parts) known += part.second;
  const uint64_t all = std::max(s.now->allocated, known);
  const ImVec2 at = ImGui::GetCursorScreenPos();
  const float width = ImGui::GetContentRegionAvail().x, height = ui.px(14);
  list.AddRectFilled(at, {at.x + width, at.y + height}, ui.theme.raised, ui.px(3));
  float x = at.x;
  for (size_t i = 0; i < std::size(parts); i++) {
    const float w =
        all ? width * static_cast<float>(static_cast<double>(parts[i].second) / static_cast<double>(all)) : 0;
    list.AddRectFilled({x, at.y}, {x + w, at.y + height}, ui.theme.series[i % 7]);
    x += w;
  }
  ImGui::Dummy({width, height + ui.px(2)});
  for (size_t i = 0; i < std::size(parts); i++) {
    const ImVec2 p = ImGui::GetCursorScreenPos();
    list.AddCircleFilled({p.x + ui.px(5), p.y + ImGui::GetFontSize() / 2}, ui.px(4), ui.theme.series[i % 7],
                         16);
    ImGui::Dummy({ui.px(10), 1});
    ImGui::SameLine();
    ImGui::Text("%s  %s", parts[i].first, bytes_text(parts[i].second).c_str());
    if (i % 2 == 0 && i + 1 < std::size(parts)) ImGui::SameLine(width * 0.5f);
  }
  ImGui::SameLine(width * 0.5f);
  muted(ui, fmt::format("window  {}", measured(s, bytes_text(all - std::min(all, known)))));
  for (size_t i = 0; i < s.now->heaps.size(); i++) {
    const Heap& heap = s.now->heaps[i];
    muted(ui, fmt::format("heap {}{}: {} free{}", i, heap.device_local ? ", the device's" : "",
                          measured(s, bytes_text(heap.free_bytes)),
                          heap.free_bytes > heap.size_bytes ? " in the system"
                                                            : " of " + bytes_text(heap.size_bytes)));
  }
}

}  // namespace

void draw_time(State& s) {
  Ui& ui = s.ui;
  const ImVec2 area = ImGui::GetContentRegionAvail();
  const float gap = ui.px(10), left = (area.x - gap) * 0.54f, right = area.x - gap - left;
  ImGui::BeginChild("kernels", {left, area.y}, true);
  draw_kernels(s);
  ImGui::EndChild();
  ImGui::SameLine(0, gap);
  ImGui::BeginGroup();
  ImGui::BeginChild("rates", {right, (area.y - 2 * gap) * 0.39f}, true, ImGuiWindowFlags_NoScrollbar);
  draw_rates(s, ImGui::GetContentRegionAvail());
  ImGui::EndChild();
  ImGui::BeginChild("frame", {right, ui.px(168)}, true);
  heading(ui, "A frame of this window");
  ImGui::Text("drawing %s ms on the device, at most %s; bound %.0f",
              measured(s, fmt::format("{:.2f}", s.drawing_ms)).c_str(),
              measured(s, fmt::format("{:.2f}", s.drawing.longest_ms)).c_str(), s.drawing_bound_ms);
  ImGui::Text("a piece of a map %s ms, at most %s; bound %.0f",
              measured(s, fmt::format("{:.2f}", s.now->map_ms)).c_str(),
              measured(s, fmt::format("{:.2f}", s.now->pieces.longest_ms)).c_str(), s.piece_bound_ms);
  bool pinned = !s.now->sources.empty() && !s.now->sources[0].layers.empty();
  if (toggle(ui, "time.pin", "keep what maps need", pinned)) s.engine.pin(pinned);
  tooltip(ui, "Queries and log-sum-exp of each layer. Off, steps are as if there were no viewer.");
  ImGui::SameLine();
  ImGui::AlignTextToFramePadding();
  muted(ui, fmt::format("last token {} ms", measured(s, fmt::format("{:.1f}", s.now->writing_ms))));
  double keeping = 0, all = 0;
  for (const Timing& t : s.now->timings) {
    all += static_cast<double>(t.ns);
    if (t.name.starts_with("attention_keep")) keeping += static_cast<double>(t.ns);
  }
  if (pinned && all > 0)
    muted(ui, fmt::format("keeping took {} % of that step's device time",
                          measured(s, fmt::format("{:.1f}", 100 * keeping / all))));
  ImGui::EndChild();
  ImGui::BeginChild("memory", {right, 0}, true);
  draw_memory(s);
  ImGui::EndChild();
  ImGui::EndGroup();
}

}  // namespace spindle
