// The two themes, and what they make of ImGui's style.
#include "viewer/window/theme.h"

namespace spindle {
namespace {

constexpr ImU32 rgb(uint32_t hex) { return IM_COL32(hex >> 16 & 255, hex >> 8 & 255, hex & 255, 255); }

}  // namespace

Theme Theme::dark() {
  Theme t{};
  t.background = rgb(0x12151a);
  t.panel = rgb(0x1a1e25);
  t.raised = rgb(0x262c36);
  t.border = rgb(0x333b47);
  t.text = rgb(0xe8ebf0);
  t.muted = rgb(0x9aa5b4);
  t.accent = rgb(0x56b4e9);
  t.on_accent = rgb(0x0b1620);
  t.good = rgb(0x2bbf95);
  t.warning = rgb(0xe69f00);
  t.bad = rgb(0xf0714f);
  t.grid = rgb(0x2a313b);
  t.shade = IM_COL32(0, 0, 0, 150);
  const uint32_t series[7] = {0x56b4e9, 0xe69f00, 0x2bbf95, 0xe08bb8, 0xf0e442, 0xf0714f, 0xb9c2ce};
  for (int i = 0; i < 7; i++) t.series[i] = rgb(series[i]);
  return t;
}

Theme Theme::bright() {
  Theme t{};
  t.light = true;
  t.background = rgb(0xf1f3f6);
  t.panel = rgb(0xffffff);
  t.raised = rgb(0xe9edf2);
  t.border = rgb(0xd0d7e0);
  t.text = rgb(0x1a2129);
  t.muted = rgb(0x586472);
  t.accent = rgb(0x0067a8);
  t.on_accent = rgb(0xffffff);
  t.good = rgb(0x00795a);
  t.warning = rgb(0xa86400);
  t.bad = rgb(0xbf3a10);
  t.grid = rgb(0xe6eaef);
  t.shade = IM_COL32(20, 30, 40, 90);
  const uint32_t series[7] = {0x0072b2, 0xd55e00, 0x008a64, 0xb0508a, 0xb88600, 0x2f8fc4, 0x3b4550};
  for (int i = 0; i < 7; i++) t.series[i] = rgb(series[i]);
  return t;
}

ImU32 faded(ImU32 colour, float alpha) {
  const float a = static_cast<float>(colour >> IM_COL32_A_SHIFT & 255) * alpha;
  return (colour & ~IM_COL32_A_MASK) | static_cast<ImU32>(a + 0.5f) << IM_COL32_A_SHIFT;
}

ImVec4 vector_of(ImU32 colour) { return ImGui::ColorConvertU32ToFloat4(colour); }

void apply(const Theme& t, float scale) {
  ImGuiStyle& s = ImGui::GetStyle();
  s = ImGuiStyle();
  if (t.light) ImGui::StyleColorsLight(&s);
  else ImGui::StyleColorsDark(&s);
  s.WindowPadding = {16, 14};
  s.FramePadding = {10, 6};
  s.ItemSpacing = {10, 8};
  s.ItemInnerSpacing = {8, 6};
  s.CellPadding = {8, 4};
  s.ScrollbarSize = 12;
  s.GrabMinSize = 8;
  s.WindowRounding = s.ChildRounding = 6;
  s.FrameRounding = s.GrabRounding = s.PopupRounding = s.TabRounding = 5;
  s.ScrollbarRounding = 6;
  s.WindowBorderSize = 0;
  s.ChildBorderSize = 1;  // without a border a child has no padding
  s.PopupBorderSize = 1;
  s.FrameBorderSize = t.light ? 1 : 0;
  s.IndentSpacing = 18;
  s.ScaleAllSizes(scale);
  const auto set = [&](int which, ImU32 colour, float alpha = 1) {
    s.Colors[which] = vector_of(faded(colour, alpha));
  };
  set(ImGuiCol_Text, t.text);
  set(ImGuiCol_TextDisabled, t.muted);
  set(ImGuiCol_WindowBg, t.background);
  set(ImGuiCol_ChildBg, t.panel);
  set(ImGuiCol_PopupBg, t.panel);
  set(ImGuiCol_Border, t.border);
  set(ImGuiCol_FrameBg, t.raised);
  set(ImGuiCol_FrameBgHovered, t.border, 0.8f);
  set(ImGuiCol_FrameBgActive, t.border);
  set(ImGuiCol_Button, t.raised);
  set(ImGuiCol_ButtonHovered, t.border);
  set(ImGuiCol_ButtonActive, t.accent, 0.5f);
  set(ImGuiCol_Header, t.accent, 0.22f);
  set(ImGuiCol_HeaderHovered, t.accent, 0.14f);
  set(ImGuiCol_HeaderActive, t.accent, 0.3f);
  set(ImGuiCol_CheckMark, t.accent);
  set(ImGuiCol_SliderGrab, t.accent, 0.45f);
  set(ImGuiCol_SliderGrabActive, t.accent, 0.7f);
  set(ImGuiCol_ScrollbarBg, t.panel, 0);
  set(ImGuiCol_ScrollbarGrab, t.border);
  set(ImGuiCol_ScrollbarGrabHovered, t.muted, 0.6f);
  set(ImGuiCol_ScrollbarGrabActive, t.muted);
  set(ImGuiCol_Separator, t.border);
  set(ImGuiCol_TableHeaderBg, t.raised);
  set(ImGuiCol_TableRowBg, t.panel, 0);
  set(ImGuiCol_TableRowBgAlt, t.raised, 0.35f);
  set(ImGuiCol_TableBorderStrong, t.border);
  set(ImGuiCol_TableBorderLight, t.border, 0.6f);
  set(ImGuiCol_TextSelectedBg, t.accent, 0.35f);
  set(ImGuiCol_NavHighlight, t.accent);
  set(ImGuiCol_PlotHistogram, t.accent);
}

}  // namespace spindle
