// Entry point of all tests; with SPINDLE_VALIDATION set, any message of the validation layer is a failure.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>
#include <fmt/core.h>

#include "tests/device.h"

int main(int argc, char** argv) {
  doctest::Context context(argc, argv);
  const int failed = context.run();
  if (context.shouldExit()) return failed;
  const auto messages = spindle::n_loud_validation_messages();
  spindle::test::shared_device().reset();
  if (messages) fmt::print(stderr, "{} messages of the validation layer\n", messages);
  return failed ? failed : messages ? 1 : 0;
}
