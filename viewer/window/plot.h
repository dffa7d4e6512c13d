// Plots of our own: axes with units, legend, tooltip, linked cursor, and export as picture, table or drawing.
#ifndef SPINDLE_WINDOW_PLOT_H
#define SPINDLE_WINDOW_PLOT_H
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "viewer/window/ui.h"

namespace spindle {

struct Axis {
  std::string label, unit;
  bool logarithmic = false;
  double low = 0, high = 1;
  bool whole = false;  // only whole numbers are written at it
  // Shares of the axis from numbers, and back.
  double share(double value) const;
  double value(double share) const;
  // Round numbers to write at it, about so many.
  std::vector<double> ticks(int about) const;
  // Widens to hold the values, with some room; a logarithmic axis leaves out what is not positive.
  void fit(const std::vector<double>& values, double room = 0.05);
};

enum class Mark { line, points, steps, bars, area };

struct Series {
  std::string name;
  ImU32 colour = 0;
  Mark mark = Mark::line;
  std::vector<double> x, y;
  std::vector<ImU32> colours = {};  // of bars, one by one; none: colour
  float width = 1.8f;
};

struct PlotLine {  // across the plot
  std::string name;
  bool vertical = true;
  double at = 0;
  ImU32 colour = 0;
};

struct PlotBand {  // from side to side, along x
  std::string name;
  double from = 0, to = 0;
  ImU32 colour = 0;
};

struct Plot {
  std::string id, title;  // id: of marks and files
  Axis x, y;
  std::vector<Series> series;
  std::vector<PlotLine> lines;
  std::vector<PlotBand> bands;
  std::string link;                           // plots of one link share their cursor
  std::function<std::string(double x)> tip;   // more for the tooltip
  std::function<std::string(double)> x_text;  // names of ticks; default: the number
  bool legend = true;
};

// Draws it and returns where the mouse is on its x axis. A right click offers the exports.
std::optional<double> draw_plot(Ui& ui, const Plot& plot, ImVec2 size);

std::string csv_of(const Plot& plot);
std::string svg_of(const Plot& plot, const Theme& theme, double width = 900, double height = 420);

// PNG, CSV and SVG of the plot as it is on screen; ending: "png", "csv" or "svg".
void export_plot(Ui& ui, const Plot& plot, const std::string& ending);

}  // namespace spindle
#endif
