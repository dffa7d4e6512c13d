// Numbers of the specification, to 6 digits.
#ifndef SPINDLE_MODELS_POSITIONS_TEST_H
#define SPINDLE_MODELS_POSITIONS_TEST_H
#include <doctest/doctest.h>

#include <cmath>
#include <vector>

namespace spindle::test {

inline void close(double got, double expected) {
  CAPTURE(got);
  CAPTURE(expected);
  CHECK(std::abs(got - expected) <= 1e-6 * std::abs(expected));
}

inline void close(const std::vector<double>& got, const std::vector<double>& expected) {
  REQUIRE(got.size() == expected.size());
  for (size_t i = 0; i < got.size(); i++) {
    CAPTURE(i);
    close(got[i], expected[i]);
  }
}

}  // namespace spindle::test
#endif
