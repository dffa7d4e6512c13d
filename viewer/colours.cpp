// Scales and colour maps. viridis and magma: Matt Zucker's polynomials of degree 6 (shadertoy WlfXRN, public
// domain) of matplotlib's maps; cividis: d3-scale-chromatic's polynomial of Nunez, Anderton and Renslow's
// map; diverging: ColorBrewer's RdBu.
#include "viewer/colours.h"

#include <algorithm>
#include <cmath>

namespace spindle {
namespace {

using Curve = std::array<std::array<double, 3>, 7>;
constexpr Curve kViridis = {{{0.2777273272234177, 0.005407344544966578, 0.3340998053353061},
                             {0.1050930431085774, 1.404613529898575, 1.384590162594685},
                             {-0.3308618287255563, 0.214847559468213, 0.09509516302823659},
                             {-4.634230498983486, -5.799100973351585, -19.33244095627987},
                             {6.228269936347081, 14.17993336680509, 56.69055260068105},
                             {4.776384997670288, -13.74514537774601, -65.35303263337234},
                             {-5.435455855934631, 4.645852612178535, 26.3124352495832}}};
constexpr Curve kMagma = {{{-0.002136485053939582, -0.000749655052795221, -0.005386127855323933},
                           {0.2516605407371642, 0.6775232436837668, 2.494026599312351},
                           {8.353717279216625, -3.577719514958484, 0.3144679030132573},
                           {-27.66873308576866, 14.26473078096533, -13.64921318813922},
                           {52.17613981234068, -27.94360607168351, 12.94416944238394},
                           {-50.76852536473588, 29.04658282127291, 4.23415299384598},
                           {18.65570506591883, -11.48977351997711, -5.601961508734096}}};
constexpr Rgb kDiverging[] = {{5, 48, 97},     {33, 102, 172},  {67, 147, 195},  {146, 197, 222},
                              {209, 229, 240}, {247, 247, 247}, {253, 219, 199}, {244, 165, 130},
                              {214, 96, 77},   {178, 24, 43},   {103, 0, 31}};

uint8_t byte(double x) { return static_cast<uint8_t>(std::lround(std::clamp(x, 0.0, 255.0))); }

Rgb polynomial(const Curve& c, double t) {
  Rgb rgb;
  for (size_t i = 0; i < 3; i++) {
    double x = 0;
    for (size_t k = c.size(); k-- > 0;) x = x * t + c[k][i];
    rgb[i] = byte(255 * x);
  }
  return rgb;
}

template <class T, size_t N>
std::optional<T> find(const std::vector<std::string>& names, const std::array<T, N>& values,
                      std::string_view name) {
  const auto found = std::ranges::find(names, name);
  if (found == names.end()) return std::nullopt;
  return values[static_cast<size_t>(found - names.begin())];
}

}  // namespace

const std::vector<std::string>& scale_names() {
  static const std::vector<std::string> names = {"log", "linear", "rank"};
  return names;
}
const std::vector<std::string>& colour_names() {
  static const std::vector<std::string> names = {"viridis", "cividis", "magma", "grey", "diverging"};
  return names;
}
std::optional<Scale> find_scale(std::string_view name) {
  return find(scale_names(), std::array{Scale::log, Scale::linear, Scale::rank}, name);
}
std::optional<Colours> find_colours(std::string_view name) {
  using enum Colours;
  return find(colour_names(), std::array{viridis, cividis, magma, grey, diverging}, name);
}

Rgb colour(Colours map, double t) {
  t = std::isnan(t) ? 0 : std::clamp(t, 0.0, 1.0);
  switch (map) {
    case Colours::viridis:
      return polynomial(kViridis, t);
    case Colours::magma:
      return polynomial(kMagma, t);
    case Colours::cividis:
      return {byte(-4.54 - t * (35.34 - t * (2381.73 - t * (6402.7 - t * (7024.72 - t * 2710.57))))),
              byte(32.49 + t * (170.73 + t * (52.82 - t * (131.46 - t * (176.58 - t * 67.37))))),
              byte(81.24 + t * (442.36 - t * (2482.43 - t * (6167.24 - t * (6614.94 - t * 2475.67)))))};
    case Colours::grey:
      return {byte(255 * t), byte(255 * t), byte(255 * t)};
    case Colours::diverging:
      break;
  }
  const double at = t * 10;
  const auto i = std::min<size_t>(static_cast<size_t>(at), 9);
  Rgb rgb;
  for (size_t k = 0; k < 3; k++)
    rgb[k] =
        byte(kDiverging[i][k] + (at - static_cast<double>(i)) * (kDiverging[i + 1][k] - kDiverging[i][k]));
  return rgb;
}

ValueScale::ValueScale(Scale scale, std::span<const float> values, bool two_sided, double decades)
    : scale_(scale), two_sided_(two_sided), decades_(decades) {
  for (float v : values) {
    const float size = std::abs(v);
    if (!(size > 0) || std::isinf(size)) continue;
    most_ = std::max<double>(most_, size);
    if (scale == Scale::rank) sorted_.push_back(size);
  }
  std::ranges::sort(sorted_);
}

double ValueScale::least() const { return scale_ == Scale::log ? most_ * std::pow(10, -decades_) : 0; }

double ValueScale::operator()(float value) const {
  const double size = std::abs(value);
  double t = 0;
  if (size > 0 && most_ > 0) {
    if (scale_ == Scale::linear) t = size / most_;
    else if (scale_ == Scale::log) t = 1 + std::log10(size / most_) / decades_;
    else
      t = static_cast<double>(std::ranges::upper_bound(sorted_, static_cast<float>(size)) - sorted_.begin()) /
          static_cast<double>(sorted_.size());
  }
  t = std::clamp(t, 0.0, 1.0);
  return two_sided_ ? 0.5 + (value < 0 ? -t : t) / 2 : t;
}

}  // namespace spindle
