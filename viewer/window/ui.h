// What every widget and panel shares: theme, scale, names of what is on screen, files asked for, linked
// cursors.
#ifndef SPINDLE_WINDOW_UI_H
#define SPINDLE_WINDOW_UI_H
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "viewer/window/painter.h"
#include "viewer/window/theme.h"

namespace spindle {

struct Box {
  ImVec2 from, to;
  ImVec2 size() const { return {to.x - from.x, to.y - from.y}; }
  ImVec2 at(float x, float y) const { return {from.x + x * (to.x - from.x), from.y + y * (to.y - from.y)}; }
};

struct Ui {
  Theme theme = Theme::dark();
  float scale = 1;     // of sizes: 16 * scale pixels are a line of text
  bool still = false;  // no measured time is shown: the same input gives the same pixels
  Colours colours = Colours::viridis;

  // Where things are on screen, for scripts; of the last frame that showed them.
  std::map<std::string, Box> marks;
  void mark(const std::string& name);  // the last item
  void mark(const std::string& name, ImVec2 from, ImVec2 to) { marks[name] = {from, to}; }

  // Plots with the same link show one cursor: where it is, on their common axis.
  std::map<std::string, double> cursors, next_cursors;

  // Written when the frame is drawn: the part of the screen inside the box.
  struct Shot {
    std::string path;
    Box box;
  };
  std::vector<Shot> shots;
  std::vector<std::pair<std::string, std::string>> saves;  // plots by id, and how: png, csv, svg
  std::string folder = ".";                                // of exports
  std::string notice;                                      // what was done last, for the status bar
  std::string export_path(const std::string& name, const std::string& ending);
  void write_text(const std::string& path, const std::string& text);  // and says so

  float px(float x) const { return x * scale; }
  void begin_frame();
  void keep(std::shared_ptr<Picture> picture);  // alive until the device no longer reads it
  std::vector<std::pair<uint64_t, std::shared_ptr<Picture>>> kept;
  uint64_t frame = 0;

  // Code points that the fonts must have beside the usual ones; those that are new ask for an atlas.
  std::set<unsigned> characters;
  bool fonts_stale = true;
  void will_show(const std::string& text);
};

ImFont* bold_font();
ImFont* fixed_font();

// Widgets with a name for scripts.
bool button(Ui& ui, const char* name, const char* label, bool primary = false);
bool toggle(Ui& ui, const char* name, const char* label, bool& on);
bool choose(Ui& ui, const char* name, const char* label, int& which, const std::vector<std::string>& list,
            float width = 130);
bool slide(Ui& ui, const char* name, const char* label, double& value, double least, double most,
           const char* format, bool logarithmic = false, float width = 150);
// A heading, with muted words behind it.
void heading(Ui& ui, const char* text, const std::string& more = {});
void muted(Ui& ui, const std::string& text);
void tooltip(Ui& ui, const std::string& text);  // of the last item
// Text cut to a width, with an ellipsis.
std::string fitted(const std::string& text, float width);
// A token's bytes for people: line ends and spaces visible, halves of characters escaped.
std::string visible(const std::string& bytes);
std::string bytes_text(uint64_t bytes);
std::string number_text(double value);  // four digits, 1.2M, 3.4e-05
// Draws text with its box's centre, left or right edge at x (0.5, 0, 1).
void draw_text(ImDrawList& list, ImVec2 at, float align, ImU32 colour, const std::string& text);

}  // namespace spindle
#endif
