// The key and value cache: its pages, what they hold, who shares them, what they weigh.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "viewer/window/plot.h"
#include "viewer/window/state.h"

namespace spindle {

void draw_cache(State& s) {
  Ui& ui = s.ui;
  const CacheInfo& c = s.now->cache;
  const auto n = static_cast<uint32_t>(s.now->tokens.size());
  const ImVec2 area = ImGui::GetContentRegionAvail();
  const float gap = ui.px(10), side = ui.px(330);
  ImGui::BeginChild("pages", {area.x - side - gap, area.y}, true);
  heading(ui, "Pages",
          c.page_tokens ? fmt::format("{} tokens each; keys {}, values {}", c.page_tokens,
                                      info(c.k_type).name, info(c.v_type).name)
                        : "");
  const uint32_t all = c.page_tokens ? (s.now->context + c.page_tokens - 1) / c.page_tokens : 0;
  if (all == 0) muted(ui, "There is no model.");
  const float width = ImGui::GetContentRegionAvail().x;
  const float height = ImGui::GetContentRegionAvail().y - ui.px(30);
  float edge = ui.px(64);
  while (edge > ui.px(6) && std::ceil(static_cast<float>(all) / std::floor(width / edge)) * edge > height)
    edge -= ui.px(1);
  const auto columns = std::max(1u, static_cast<uint32_t>(width / edge));
  ImDrawList& list = *ImGui::GetWindowDrawList();
  const ImVec2 at = ImGui::GetCursorScreenPos();
  for (uint32_t i = 0; i < all; i++) {
    const ImVec2 from = {at.x + edge * static_cast<float>(i % columns),
                         at.y + edge * static_cast<float>(i / columns)},
                 to = {from.x + edge - ui.px(3), from.y + edge - ui.px(3)};
    if (to.y > at.y + height) break;
    const uint32_t first = i * c.page_tokens, held = n > first ? std::min(c.page_tokens, n - first) : 0;
    list.AddRectFilled(from, to, ui.theme.raised, ui.px(3));
    const bool used = i < c.users.size();
    if (used) {
      const ImU32 colour = c.users[i] > 1 ? ui.theme.warning : ui.theme.accent;
      list.AddRectFilled(
          {from.x, to.y - (to.y - from.y) * static_cast<float>(held) / static_cast<float>(c.page_tokens)}, to,
          faded(colour, 0.75f), ui.px(3));
      list.AddRect(from, to, colour, ui.px(3));
    }
    if (ImGui::IsMouseHoveringRect(from, to) && ImGui::IsWindowHovered()) {
      ImGui::BeginTooltip();
      ImGui::Text("page %u: positions %u to %u", i, first, first + c.page_tokens - 1);
      if (used)
        ImGui::Text("%u of %u tokens, used by %u sequence%s", held, c.page_tokens, c.users[i],
                    c.users[i] == 1 ? "" : "s");
      else muted(ui, "not in use");
      ImGui::EndTooltip();
    }
  }
  ui.mark("cache.pages", at, {at.x + width, at.y + height});
  ImGui::SetCursorScreenPos({at.x, at.y + height + ui.px(6)});
  const auto key = [&](ImU32 colour, const char* text) {
    const ImVec2 p = ImGui::GetCursorScreenPos();
    list.AddRectFilled({p.x, p.y + ui.px(3)}, {p.x + ui.px(12), p.y + ui.px(15)}, colour, ui.px(2));
    ImGui::Dummy({ui.px(12), ui.px(12)});
    ImGui::SameLine();
    muted(ui, text);
    ImGui::SameLine(0, ui.px(20));
  };
  key(faded(ui.theme.accent, 0.75f), "filled");
  key(faded(ui.theme.warning, 0.75f), "shared by several sequences");
  key(ui.theme.raised, "free");
  ImGui::EndChild();
  ImGui::SameLine(0, gap);
  ImGui::BeginGroup();
  ImGui::BeginChild("sizes", {side, ui.px(236)}, true);
  heading(ui, "Size");
  const auto line = [&](const char* name, const std::string& text) {
    muted(ui, name);
    ImGui::SameLine(ui.px(150));
    ImGui::TextUnformatted(text.c_str());
  };
  line("tokens", fmt::format("{} of {}", n, s.now->context));
  line("pages in use", fmt::format("{} of {}", c.users.size(), all));
  line("a page", fmt::format("{} in {} layers", bytes_text(c.bytes_per_page), c.layers));
  line("a token", c.page_tokens ? bytes_text(c.bytes_per_page / c.page_tokens) : "-");
  line("allocated", bytes_text(c.allocated));
  line("when full", bytes_text(c.full));
  line("kept for maps", bytes_text(s.now->maps.kept));
  ImGui::EndChild();
  ImGui::BeginChild("layers", {side, 0}, true, ImGuiWindowFlags_NoScrollbar);
  Plot p;
  p.id = "cache.layers";
  p.title = "Cache of each layer";
  p.legend = false;
  p.x = {"layer", "", false, -0.7, std::max(1.0, static_cast<double>(c.bytes_by_layer.size())) - 0.3};
  p.y = {"in use", "KiB", false, 0, 1};
  Series bars{"bytes", ui.theme.accent, Mark::bars, {}, {}};
  double most = 1e-3;
  for (size_t i = 0; i < c.bytes_by_layer.size(); i++) {
    bars.x.push_back(static_cast<double>(i));
    bars.y.push_back(static_cast<double>(c.bytes_by_layer[i] * c.users.size()) / 1024);
    most = std::max(most, bars.y.back());
  }
  p.y.high = most * 1.1;
  p.series.push_back(bars);
  p.x.whole = true;
  draw_plot(ui, p, ImGui::GetContentRegionAvail());
  ImGui::EndChild();
  ImGui::EndGroup();
}

}  // namespace spindle
