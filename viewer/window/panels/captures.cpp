// Captures: what maps need, in a file; opened without the model, compared with others.
#include <fmt/format.h>

#include "viewer/window/state.h"

namespace spindle {

void draw_captures(State& s) {
  Ui& ui = s.ui;
  ImGui::BeginChild("file", {0, ui.px(104)}, true);
  heading(ui, "File", "keys, queries and log-sum-exp of the pinned layers, the tokens and the position plan");
  ImGui::SetNextItemWidth(ui.px(420));
  ImGui::InputText("###captures.path", &s.captures.path);
  ui.mark("captures.path");
  const SourceInfo* source = source_of(s, s.map.source);
  ImGui::SameLine();
  const bool can_save = source && source->end_query > source->first_query;
  if (!can_save) ImGui::BeginDisabled();
  if (button(ui, "captures.save", "Save the text's maps"))
    s.engine.save(s.captures.path, static_cast<size_t>(s.map.source));
  if (!can_save) ImGui::EndDisabled();
  ImGui::SameLine();
  if (button(ui, "captures.open", "Open")) s.engine.open(s.captures.path);
  ImGui::EndChild();
  ImGui::BeginChild("sources", {0, 0}, true);
  heading(ui, "Open here", "each can be shown and compared in Map");
  const ImGuiTableFlags flags =
      ImGuiTableFlags_RowBg | ImGuiTableFlags_BordersInnerH | ImGuiTableFlags_SizingStretchProp;
  if (ImGui::BeginTable("captures.table", 7, flags)) {
    ImGui::TableSetupColumn("name", 0, 2);
    ImGui::TableSetupColumn("model", 0, 1.4f);
    ImGui::TableSetupColumn("positions", 0, 3);
    ImGui::TableSetupColumn("tokens", 0, 0.8f);
    ImGui::TableSetupColumn("layers", 0, 0.8f);
    ImGui::TableSetupColumn("perplexity", 0, 1);
    ImGui::TableSetupColumn("", 0, 2.2f);
    ImGui::TableHeadersRow();
    for (size_t i = 0; i < s.now->sources.size(); i++) {
      const SourceInfo& info = s.now->sources[i];
      ImGui::PushID(static_cast<int>(i));
      ImGui::TableNextRow();
      const auto cell = [&](const std::string& text) {
        ImGui::TableNextColumn();
        ImGui::AlignTextToFramePadding();
        ImGui::TextUnformatted(fitted(text, ImGui::GetContentRegionAvail().x).c_str());
        if (ImGui::IsItemHovered()) ImGui::SetTooltip("%s", text.c_str());
      };
      cell(info.name);
      cell(info.model);
      cell(info.positions);
      cell(fmt::format("{}", info.n_tokens));
      cell(fmt::format("{} of {}", info.layers.size(), info.n_layers));
      cell(info.perplexity > 0 ? number_text(info.perplexity) : "–");
      ImGui::TableNextColumn();
      if (button(ui, fmt::format("captures.show.{}", i).c_str(), "Show"))
        s.map.source = static_cast<int>(i), s.panel = Panel::map;
      if (i > 0) {
        ImGui::SameLine();
        if (button(ui, fmt::format("captures.compare.{}", i).c_str(), "Compare"))
          s.map.source = 0, s.map.other = static_cast<int>(i), s.panel = Panel::map;
        ImGui::SameLine();
        if (button(ui, fmt::format("captures.close.{}", i).c_str(), "×")) {
          s.map.other = s.map.source = 0;
          s.engine.close(i);
        }
      }
      ImGui::PopID();
    }
    ImGui::EndTable();
  }
  ImGui::EndChild();
}

}  // namespace spindle
