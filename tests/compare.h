// How close a result must be to its double-precision reference: one rule, computed from sizes and precision.
#ifndef SPINDLE_TESTS_COMPARE_H
#define SPINDLE_TESTS_COMPARE_H
#include <doctest/doctest.h>
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <string>

namespace spindle::test {

constexpr double kF32 = 0x1p-24, kF16 = 0x1p-11;  // unit roundoff

// Allowed error, as a share of the magnitude (the sum of the absolute values of what was added up), of a
// chain of `terms` roundings of size u: errors of random sign grow with the square root, plus a few final
// roundings.
inline double tolerance(double terms, double u = kF32) { return u * (4 * std::sqrt(terms) + 8); }

struct Worst {
  double error = 0, allowed = 0, got = 0, expected = 0;
  size_t index = 0;
  double share() const { return allowed > 0 ? error / allowed : error > 0 ? HUGE_VAL : 0; }
};

// Compares element by element; magnitudes may have one element for all. Prints the worst one when it fails.
inline Worst check_close(std::span<const float> got, std::span<const double> expected, double share,
                         std::span<const double> magnitudes, const std::string& what) {
  REQUIRE(got.size() == expected.size());
  Worst worst;
  for (size_t i = 0; i < got.size(); i++) {
    Worst w{std::abs(got[i] - expected[i]), share * magnitudes[magnitudes.size() == 1 ? 0 : i] + 1e-30,
            got[i], expected[i], i};
    if (!(w.error <= w.allowed)) w.error = std::isfinite(w.error) ? w.error : HUGE_VAL;
    if (w.share() > worst.share() || i == 0) worst = w;
  }
  CHECK_MESSAGE(
      worst.share() <= 1,
      fmt::format("{}: element {} of {}: got {:.9g}, expected {:.9g}, error {:.3g}, allowed {:.3g}", what,
                  worst.index, got.size(), worst.got, worst.expected, worst.error, worst.allowed));
  return worst;
}

inline double largest(std::span<const double> values) {
  double m = 0;
  for (double v : values) m = std::max(m, std::abs(v));
  return m;
}

}  // namespace spindle::test
#endif
