// Scripted sessions: what a person would do, a line each, through the same input as a person's.
#ifndef SPINDLE_WINDOW_SCRIPT_H
#define SPINDLE_WINDOW_SCRIPT_H
#include <functional>
#include <string>

#include "viewer/window/state.h"

namespace spindle {

// Lines; # begins a comment. NAME is of something on screen, as Ui::mark names it.
//   panel NAME              map, tokens, heads, rotary, bias, cache, time, captures
//   click NAME [X Y]        at a share of its size, 0.5 0.5
//   hover NAME [X Y]        NAME nothing: the mouse leaves
//   drag NAME X0 Y0 X1 Y1
//   wheel TURNS
//   type TEXT               into the field that has the focus
//   key NAME                enter, escape, space, left, right, up, down, or a character
//   generate N TEXT         a prompt and how many tokens
//   set NAME VALUE          see the table in script.cpp
//   save PLOT png|csv|svg
//   wait                    until nothing is left to do; each line does so before it
//   screenshot NAME         NAME.png in the folder of exports
struct ScriptHost {
  State& state;
  std::function<void()> frame;                           // draws one
  std::function<void(const std::string& path)> picture;  // of the last one
};
// Throws ErrorKind::usage naming file and line.
void run_script(ScriptHost& host, const std::string& path);
// Frames until the window shows what there is to show.
void settle(ScriptHost& host);

}  // namespace spindle
#endif
