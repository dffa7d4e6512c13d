// The options that choose how positions enter attention, in every subcommand that runs a model.
#ifndef SPINDLE_APP_POSITION_FLAGS_H
#define SPINDLE_APP_POSITION_FLAGS_H
#include <CLI/CLI.hpp>

#include "models/positions.h"

namespace spindle {

struct NamedRope {
  std::string name;  // as it was given: yarn:scale=8
  RopeRequest request;
};

struct PositionFlags {
  std::string method;
  double freq_scale = 0;
  RopeRequest request;  // what is given; method and freq_scale join it in rope()
  void add(CLI::App& command);
  RopeRequest rope() const;
  // The same for another method of a list: parameters that it does not have are left out.
  RopeRequest rope(const std::string& other) const;
  // --rope-scaling as a list: METHOD[:key=value,...],... and `file` for what the file says. Keys are options'
  // names or their last words: yarn:scale=8,beta-fast=16. Options go to every method that has them.
  std::vector<NamedRope> list() const;
};

}  // namespace spindle
#endif
