// Small widgets and words that panels share.
#include "viewer/window/ui.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>

#include "models/utf8.h"

namespace spindle {

void Ui::mark(const std::string& name) { mark(name, ImGui::GetItemRectMin(), ImGui::GetItemRectMax()); }

void Ui::begin_frame() {
  frame++;
  cursors = std::move(next_cursors);
  next_cursors.clear();
  std::erase_if(kept, [&](const auto& k) { return k.first + Painter::kFrames + 1 < frame; });
}

void Ui::keep(std::shared_ptr<Picture> picture) {
  if (picture) kept.emplace_back(frame, std::move(picture));
}

std::string Ui::export_path(const std::string& name, const std::string& ending) {
  return (std::filesystem::path(folder) / (name + "." + ending)).string();
}

void Ui::write_text(const std::string& path, const std::string& text) {
  std::ofstream out(path, std::ios::binary);
  out << text;
  out.close();
  notice = out ? fmt::format("saved {}", std::filesystem::path(path).filename().string())
               : fmt::format("{}: cannot be written", path);
}

void Ui::will_show(const std::string& text) {
  for (size_t at = 0; at < text.size();) {
    const Utf8Step step = utf8_step(std::string_view(text).substr(at));
    const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[at + i]); };
    unsigned c = step.bytes == 1 ? byte(0) : byte(0) & (0xffu >> (step.bytes + 1));
    for (size_t i = 1; i < step.bytes; i++) c = c << 6 | (byte(i) & 63u);
    at += step.bytes;
    const bool usual = c < 0x180 || (c >= 0x370 && c < 0x500) || (c >= 0x2010 && c < 0x205f);
    if (step.kind == Utf8Step::Kind::valid && !usual && characters.size() < 4000 &&
        characters.insert(c).second)
      fonts_stale = true;
  }
}

ImFont* bold_font() { return ImGui::GetIO().Fonts->Fonts[1]; }
ImFont* fixed_font() { return ImGui::GetIO().Fonts->Fonts[2]; }

bool button(Ui& ui, const char* name, const char* label, bool primary) {
  if (primary) {
    ImGui::PushStyleColor(ImGuiCol_Button, ui.theme.accent);
    ImGui::PushStyleColor(ImGuiCol_ButtonHovered, faded(ui.theme.accent, 0.85f));
    ImGui::PushStyleColor(ImGuiCol_Text, ui.theme.on_accent);
  }
  const bool clicked = ImGui::Button(fmt::format("{}###{}", label, name).c_str());
  if (primary) ImGui::PopStyleColor(3);
  ui.mark(name);
  return clicked;
}

bool toggle(Ui& ui, const char* name, const char* label, bool& on) {
  const bool changed = ImGui::Checkbox(fmt::format("{}###{}", label, name).c_str(), &on);
  ui.mark(name);
  return changed;
}

bool choose(Ui& ui, const char* name, const char* label, int& which, const std::vector<std::string>& list,
            float width) {
  if (*label) {
    ImGui::AlignTextToFramePadding();
    ImGui::TextDisabled("%s", label);
    ImGui::SameLine();
  }
  ImGui::SetNextItemWidth(ui.px(width));
  bool changed = false;
  which = std::clamp(which, 0, std::max(0, static_cast<int>(list.size()) - 1));
  const bool open = ImGui::BeginCombo(fmt::format("###{}", name).c_str(),
                                      list.empty() ? "-" : list[static_cast<size_t>(which)].c_str(),
                                      ImGuiComboFlags_HeightLarge);
  ui.mark(name);
  if (open) {
    for (int i = 0; i < static_cast<int>(list.size()); i++) {
      if (ImGui::Selectable(list[static_cast<size_t>(i)].c_str(), i == which)) which = i, changed = true;
      ui.mark(fmt::format("{}.{}", name, list[static_cast<size_t>(i)]));
    }
    ImGui::EndCombo();
  }
  return changed;
}

bool slide(Ui& ui, const char* name, const char* label, double& value, double least, double most,
           const char* format, bool logarithmic, float width) {
  ImGui::SetNextItemWidth(ui.px(width));
  const bool changed =
      ImGui::SliderScalar(fmt::format("{}###{}", label, name).c_str(), ImGuiDataType_Double, &value, &least,
                          &most, format, logarithmic ? ImGuiSliderFlags_Logarithmic : 0);
  ui.mark(name);
  return changed;
}

void heading(Ui& ui, const char* text, const std::string& more) {
  ImGui::AlignTextToFramePadding();
  ImGui::PushFont(bold_font());
  ImGui::TextUnformatted(text);
  ImGui::PopFont();
  if (more.empty()) return;
  ImGui::SameLine();
  ImGui::AlignTextToFramePadding();
  muted(ui, more);
}

void muted(Ui& ui, const std::string& text) {
  ImGui::PushStyleColor(ImGuiCol_Text, ui.theme.muted);
  ImGui::TextUnformatted(text.c_str(), text.c_str() + text.size());
  ImGui::PopStyleColor();
}

void tooltip(Ui& ui, const std::string& text) {
  if (!ImGui::IsItemHovered()) return;
  ImGui::BeginTooltip();
  ImGui::PushTextWrapPos(ui.px(380));
  ImGui::TextUnformatted(text.c_str());
  ImGui::PopTextWrapPos();
  ImGui::EndTooltip();
}

std::string fitted(const std::string& text, float width) {
  if (ImGui::CalcTextSize(text.c_str()).x <= width) return text;
  std::string cut = text;
  while (!cut.empty() && ImGui::CalcTextSize((cut + "…").c_str()).x > width) {
    cut.pop_back();
    while (!cut.empty() && (static_cast<unsigned char>(cut.back()) & 0xc0) == 0x80) cut.pop_back();
    if (!cut.empty() && static_cast<unsigned char>(cut.back()) >= 0xc0) cut.pop_back();
  }
  return cut + "…";
}

std::string visible(const std::string& bytes) {
  std::string out;
  for (size_t i = 0; i < bytes.size();) {
    const auto c = static_cast<unsigned char>(bytes[i]);
    if (c == '\n') out += "⏎", i++;
    else if (c == '\t') out += "→", i++;
    else if (c == ' ') out += i == 0 || i + 1 == bytes.size() ? "·" : " ", i++;
    else if (c < 0x20 || c == 0x7f) out += fmt::format("\\x{:02x}", c), i++;
    else if (c < 0x80) out += bytes[i++];
    else {
      const Utf8Step step = utf8_step(std::string_view(bytes).substr(i));
      const size_t n = step.bytes;
      const bool whole = step.kind == Utf8Step::Kind::valid;
      if (whole) out += bytes.substr(i, n), i += n;
      else out += fmt::format("\\x{:02x}", c), i++;
    }
  }
  return out.empty() ? "∅" : out;
}

std::string bytes_text(uint64_t bytes) {
  const auto b = static_cast<double>(bytes);
  if (bytes < 10240) return fmt::format("{} B", bytes);
  if (bytes < 1u << 20) return fmt::format("{:.1f} KiB", b / 1024);
  if (bytes < 1u << 30) return fmt::format("{:.1f} MiB", b / (1 << 20));
  return fmt::format("{:.1f} GiB", b / (1 << 30));
}

std::string number_text(double v) {
  const double a = std::abs(v);
  if (v == 0) return "0";
  if (!std::isfinite(v)) return v > 0 ? "∞" : v < 0 ? "−∞" : "?";
  if (a >= 1e15 || a < 1e-3) {
    std::string text = fmt::format("{:.2g}", v);
    return text;
  }
  if (a >= 1e9) return fmt::format("{:.4g}G", v / 1e9);
  if (a >= 1e6) return fmt::format("{:.4g}M", v / 1e6);
  if (a >= 1e5) return fmt::format("{:.4g}k", v / 1e3);
  if (a >= 1000) return fmt::format("{:.0f}", v);
  return fmt::format("{:.4g}", v);
}

void draw_text(ImDrawList& list, ImVec2 at, float align, ImU32 colour, const std::string& text) {
  const float width = ImGui::CalcTextSize(text.c_str()).x;
  list.AddText({std::floor(at.x - align * width), std::floor(at.y)}, colour, text.c_str(),
               text.c_str() + text.size());
}

}  // namespace spindle
