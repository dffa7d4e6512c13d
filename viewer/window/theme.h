// Colours and sizes of the window, dark and light; one place decides how everything looks.
#ifndef SPINDLE_WINDOW_THEME_H
#define SPINDLE_WINDOW_THEME_H
#include "viewer/window/compat.h"

namespace spindle {

struct Theme {
  bool light = false;
  ImU32 background, panel, raised, border, text, muted, accent, on_accent, good, warning, bad, grid, shade;
  ImU32 series[7];  // lines of plots, apart also for colour-blind eyes (after Okabe and Ito)
  static Theme dark();
  static Theme bright();
};

ImU32 faded(ImU32 colour, float alpha);
ImVec4 vector_of(ImU32 colour);
// ImGui's own colours and sizes; scale: 2 where pixels are half as large.
void apply(const Theme& theme, float scale);

}  // namespace spindle
#endif
