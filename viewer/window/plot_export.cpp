// Plots as files: a table, a drawing, a picture.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "viewer/window/plot.h"

namespace spindle {
namespace {

std::string quoted(const std::string& text) {
  if (text.find_first_of(",\"\n") == std::string::npos) return text;
  std::string out = "\"";
  for (char c : text) out += c == '"' ? "\"\"" : std::string(1, c);
  return out + "\"";
}

std::string escaped(const std::string& text) {
  std::string out;
  for (char c : text)
    if (c == '<') out += "&lt;";
    else if (c == '>') out += "&gt;";
    else if (c == '&') out += "&amp;";
    else out += c;
  return out;
}

std::string hex(ImU32 c) { return fmt::format("#{:02x}{:02x}{:02x}", c & 255, c >> 8 & 255, c >> 16 & 255); }

std::string with_unit(const Axis& a) {
  return a.unit.empty() ? a.label : fmt::format("{} ({})", a.label, a.unit);
}

}  // namespace

std::string csv_of(const Plot& p) {
  // One row a point: series may have points of their own.
  std::string out = fmt::format("series,{},{}\n", quoted(with_unit(p.x)), quoted(with_unit(p.y)));
  for (const Series& s : p.series)
    for (size_t i = 0; i < s.x.size(); i++)
      out += fmt::format("{},{:.9g},{:.9g}\n", quoted(s.name), s.x[i], s.y[i]);
  return out;
}

std::string svg_of(const Plot& p, const Theme& t, double width, double height) {
  const double left = 70, right = width - 20, top = 60, bottom = height - 50;
  const auto x_of = [&](double v) { return left + p.x.share(v) * (right - left); };
  const auto y_of = [&](double v) { return bottom - p.y.share(v) * (bottom - top); };
  std::string out = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" viewBox=\"0 0 {0} {1}\" "
      "font-family=\"sans-serif\" font-size=\"13\">\n<rect width=\"{0}\" height=\"{1}\" fill=\"{2}\"/>\n",
      width, height, hex(t.panel));
  const auto text = [&](double x, double y, const char* anchor, ImU32 colour, const std::string& words) {
    out += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\" fill=\"{}\">{}</text>\n", x, y,
                       anchor, hex(colour), escaped(words));
  };
  const auto line = [&](double x0, double y0, double x1, double y1, ImU32 colour) {
    out += fmt::format("<path d=\"M{:.1f} {:.1f}L{:.1f} {:.1f}\" stroke=\"{}\"/>\n", x0, y0, x1, y1,
                       hex(colour));
  };
  text(left, 24, "start", t.text, p.title + "  " + with_unit(p.y));
  for (double v : p.y.ticks(7)) {
    line(left, y_of(v), right, y_of(v), t.grid);
    text(left - 7, y_of(v) + 4, "end", t.muted, number_text(v));
  }
  for (double v : p.x.ticks(9)) {
    line(x_of(v), top, x_of(v), bottom, t.grid);
    text(x_of(v), bottom + 17, "middle", t.muted, p.x_text ? p.x_text(v) : number_text(v));
  }
  text((left + right) / 2, height - 12, "middle", t.muted, with_unit(p.x));
  out += fmt::format("<clipPath id=\"c\"><rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"/></clipPath>\n",
                     left, top, right - left, bottom - top);
  for (const PlotBand& b : p.bands)
    out += fmt::format(
        "<rect x=\"{:.1f}\" y=\"{}\" width=\"{:.1f}\" height=\"{}\" fill=\"{}\" opacity=\"0.14\"/>\n",
        x_of(b.from), top, std::max(0.0, x_of(b.to) - x_of(b.from)), bottom - top, hex(b.colour));
  double at = left;
  for (const Series& s : p.series) {
    std::string path;
    bool begun = false;
    for (size_t i = 0; i < s.x.size(); i++) {
      if (!std::isfinite(s.y[i]) || (p.y.logarithmic && s.y[i] <= 0)) {
        begun = false;
        continue;
      }
      const double x = x_of(s.x[i]), y = y_of(s.y[i]);
      if (s.mark == Mark::points || s.mark == Mark::bars) {
        out +=
            fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"2.6\" fill=\"{}\"/>\n", x, y, hex(s.colour));
        continue;
      }
      if (begun && s.mark == Mark::steps) path += fmt::format("H{:.1f}", x);
      path += fmt::format("{}{:.1f} {:.1f}", begun ? "L" : "M", x, y);
      begun = true;
    }
    if (!path.empty())
      out += fmt::format(
          "<path d=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"1.8\" clip-path=\"url(#c)\"/>\n", path,
          hex(s.colour));
    if (s.name.empty()) continue;
    line(at, 44, at + 18, 44, s.colour);
    text(at + 24, 48, "start", t.text, s.name);
    at += 44 + 7.5 * static_cast<double>(s.name.size());
  }
  for (const PlotLine& l : p.lines) {
    if (l.vertical) line(x_of(l.at), top, x_of(l.at), bottom, l.colour);
    else line(left, y_of(l.at), right, y_of(l.at), l.colour);
    if (l.vertical) text(x_of(l.at) + 5, top + 14, "start", l.colour, l.name);
    else text(right - 5, y_of(l.at) - 4, "end", l.colour, l.name);
  }
  return out +
         fmt::format(
             "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"none\" stroke=\"{}\"/>\n</svg>\n",
             left, top, right - left, bottom - top, hex(t.border));
}

void export_plot(Ui& ui, const Plot& p, const std::string& ending) {
  const std::string path = ui.export_path(p.id, ending);
  if (ending == "csv") ui.write_text(path, csv_of(p));
  else if (ending == "svg") ui.write_text(path, svg_of(p, ui.theme));
  else ui.shots.push_back({path, ui.marks[p.id]});
}

}  // namespace spindle
