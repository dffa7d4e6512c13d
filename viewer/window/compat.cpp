// What ImGui's versions do differently, and its fonts.
#include "viewer/window/compat.h"

#if IMGUI_VERSION_NUM >= 18990
#include <imgui_internal.h>  // SetItemKeyOwner, public only later
#endif

#include <filesystem>
#include <string>

namespace spindle {

#if IMGUI_VERSION_NUM >= 18700
void prepare_input() {}
void put_key(ImGuiKey key, bool down) { ImGui::GetIO().AddKeyEvent(key, down); }
void put_mouse(float x, float y) { ImGui::GetIO().AddMousePosEvent(x, y); }
void put_button(int button, bool down) { ImGui::GetIO().AddMouseButtonEvent(button, down); }
void put_wheel(float turns) { ImGui::GetIO().AddMouseWheelEvent(0, turns); }
#else
void prepare_input() {  // any numbers serve as key codes
  for (int key = 0; key < ImGuiKey_COUNT; key++) ImGui::GetIO().KeyMap[key] = key;
}
void put_key(ImGuiKey key, bool down) { ImGui::GetIO().KeysDown[ImGui::GetIO().KeyMap[key]] = down; }
void put_mouse(float x, float y) { ImGui::GetIO().MousePos = {x, y}; }
void put_button(int button, bool down) { ImGui::GetIO().MouseDown[button] = down; }
void put_wheel(float turns) { ImGui::GetIO().MouseWheel = turns; }
#endif

void own_wheel() {
#if IMGUI_VERSION_NUM >= 18990
  ImGui::SetItemKeyOwner(ImGuiKey_MouseWheelY, 0);
#endif  // before, nothing scrolls around the maps either
}

namespace {

using Paths = std::vector<std::string>;

std::string first_of(const Paths& paths) {
  for (const std::string& path : paths)
    if (std::error_code e; std::filesystem::exists(path, e)) return path;
  return {};
}

constexpr const char* kTruetype = "/usr/share/fonts/truetype/";

Paths under_truetype(std::initializer_list<const char*> names) {
  Paths paths;
  for (const char* name : names) paths.push_back(std::string(kTruetype) + name);
  return paths;
}

}  // namespace

void make_fonts(const FontRequest& request) {
  ImGuiIO& io = ImGui::GetIO();
  io.Fonts->Clear();
  io.Fonts->Flags |= ImFontAtlasFlags_NoPowerOfTwoHeight;
  static const ImWchar kText[] = {0x20,   0x17f,  0x370,  0x4ff,  0x2010, 0x2027,
                                  0x2030, 0x205e, 0x2070, 0x209f, 0};
  static const ImWchar kSymbols[] = {0x2190, 0x22ff, 0x2300, 0x23ff, 0x2400, 0x2426, 0x2500, 0x25ff,
                                     0x2600, 0x2604, 0x2713, 0x2718, 0xfffd, 0xfffd, 0};
  // Lives as long as the atlas builds from it.
  static ImVector<ImWchar> more;
  more.clear();
  for (unsigned c : request.characters)
    if (c <= IM_UNICODE_CODEPOINT_MAX) {
      more.push_back(static_cast<ImWchar>(c));
      more.push_back(static_cast<ImWchar>(c));
    }
  more.push_back(0);

  const std::string symbols = first_of(under_truetype({"dejavu/DejaVuSans.ttf"}));
  const std::string asian = first_of({"/usr/share/fonts/truetype/droid/DroidSansFallbackFull.ttf",
                                      "/usr/share/fonts-droid-fallback/truetype/DroidSansFallback.ttf",
                                      "/usr/share/fonts/truetype/wqy/wqy-microhei.ttc",
                                      "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc"});
  const Paths kinds[] = {
      under_truetype({"roboto/unhinted/RobotoTTF/Roboto-Regular.ttf", "dejavu/DejaVuSans.ttf",
                      "liberation/LiberationSans-Regular.ttf"}),
      under_truetype({"roboto/unhinted/RobotoTTF/Roboto-Medium.ttf", "dejavu/DejaVuSans-Bold.ttf",
                      "liberation/LiberationSans-Bold.ttf"}),
      under_truetype({"dejavu/DejaVuSansMono.ttf", "liberation/LiberationMono-Regular.ttf"}),
  };
  for (int kind = 0; kind < 3; kind++) {
    const std::string path = first_of(kinds[kind]);
    ImFontConfig config;
    config.SizePixels = request.pixels;
    if (path.empty()) {
      io.Fonts->AddFontDefault(&config);
      continue;
    }
    const float pixels = kind == 2 ? request.pixels * 0.85f : request.pixels;
    config.OversampleH = config.OversampleV = 2;
    io.Fonts->AddFontFromFileTTF(path.c_str(), pixels, &config, kText);
    ImFontConfig merged = config;
    merged.MergeMode = true;
    merged.OversampleH = merged.OversampleV = 1;
    if (!symbols.empty()) {
      io.Fonts->AddFontFromFileTTF(symbols.c_str(), pixels * 0.9f, &merged, kSymbols);
      if (more.Size > 1) io.Fonts->AddFontFromFileTTF(symbols.c_str(), pixels * 0.9f, &merged, more.Data);
    }
    if (kind != 1 && !asian.empty() && more.Size > 1)
      io.Fonts->AddFontFromFileTTF(asian.c_str(), pixels, &merged, more.Data);
  }
  io.FontDefault = io.Fonts->Fonts[0];
}

}  // namespace spindle
