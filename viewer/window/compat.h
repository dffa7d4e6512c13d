// Dear ImGui, 1.86 and newer: everything that differs between versions is in this file and compat.cpp.
#ifndef SPINDLE_WINDOW_COMPAT_H
#define SPINDLE_WINDOW_COMPAT_H
#include <imgui.h>
#include <imgui_stdlib.h>

#include <vector>

namespace spindle {

// A texture's id is a pointer before 1.91, a number after that. Ours are pointers; null is the font.
inline ImTextureID texture_of(const void* p) { return (ImTextureID)(intptr_t)p; }
inline const void* pointer_of(ImTextureID id) { return (const void*)(intptr_t)id; }
inline const void* texture_of(const ImDrawCmd& command) { return pointer_of(command.GetTexID()); }

// Keys that every version has by name.
inline bool pressed(ImGuiKey key, bool repeat = false) {
#if IMGUI_VERSION_NUM >= 18700
  return ImGui::IsKeyPressed(key, repeat);
#else
  return ImGui::IsKeyPressed(ImGui::GetKeyIndex(key), repeat);
#endif
}

// Input without a window.
void prepare_input();
void put_key(ImGuiKey key, bool down);
void put_mouse(float x, float y);
void put_button(int button, bool down);
void put_wheel(float turns);

// Scrolls of a hovered item belong to it, not to the window around it.
void own_wheel();

struct FontRequest {
  float pixels = 16;                 // height
  std::vector<unsigned> characters;  // code points beyond Latin, Greek and Cyrillic
};
// Makes the atlas anew: [0] text, [1] bold, [2] fixed width.
void make_fonts(const FontRequest& request);

}  // namespace spindle
#endif
