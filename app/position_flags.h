// The options that choose how positions enter attention, in every subcommand that runs a model.
#ifndef SPINDLE_APP_POSITION_FLAGS_H
#define SPINDLE_APP_POSITION_FLAGS_H
#include <CLI/CLI.hpp>

#include "models/positions.h"

namespace spindle {

struct PositionFlags {
  std::string method;
  double freq_scale = 0;
  RopeRequest request;  // what is given; method and freq_scale join it in rope()
  void add(CLI::App& command);
  RopeRequest rope() const;
  // The same for another method of a list: parameters that it does not have are left out.
  RopeRequest rope(const std::string& other) const;
};

}  // namespace spindle
#endif
