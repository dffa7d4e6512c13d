// From values to pixels: scales and colour maps.
#ifndef SPINDLE_VIEWER_COLOURS_H
#define SPINDLE_VIEWER_COLOURS_H
#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace spindle {

using Rgb = std::array<uint8_t, 3>;
enum class Scale { log, linear, rank };
// viridis, cividis and diverging (blue to red through white) are safe for colour-blind eyes; viridis is the
// default.
enum class Colours { viridis, cividis, magma, grey, diverging };

std::optional<Scale> find_scale(std::string_view name);
std::optional<Colours> find_colours(std::string_view name);
const std::vector<std::string>& scale_names();
const std::vector<std::string>& colour_names();  // the default first

Rgb colour(Colours map, double t);  // t: 0 to 1, clamped

// Turns values into 0 .. 1. log: from `most` down over `decades`; linear: value / most; rank: the share of
// the values given that are smaller, zeros left out. diverging maps: values of both signs, 0 in the middle.
class ValueScale {
 public:
  ValueScale(Scale scale, std::span<const float> values, bool two_sided = false, double decades = 5);
  double operator()(float value) const;
  double most() const { return most_; }
  double least() const;  // the value at 0 of a log scale, else 0

 private:
  Scale scale_;
  bool two_sided_;
  double decades_, most_ = 0;
  std::vector<float> sorted_;  // rank: magnitudes
};

}  // namespace spindle
#endif
