// Names of the optional features, and the switches that take them away.
#include "runtime/caps.h"

#include <cstdlib>

#include "runtime/error.h"
#include "runtime/specialize.h"

namespace spindle {
namespace {

struct Feature {
  const char* name;
  bool Caps::*field;
};
constexpr Feature kFeatures[] = {
    {"storage16", &Caps::storage16},
    {"storage8", &Caps::storage8},
    {"fp16", &Caps::fp16},
    {"int8", &Caps::int8},
    {"int64", &Caps::int64},
    {"dot", &Caps::dot},
    {"subgroup", &Caps::subgroup},
    {"subgroup_control", &Caps::subgroup_control},
    {"coopmat", &Caps::coopmat},
    {"coopmat2", &Caps::coopmat2},
    {"timestamps", &Caps::timestamps},
    {"memory_budget", &Caps::memory_budget},
    {"unroll", &Caps::unroll},
};

// Those that are used where they pay.
constexpr Feature kPreferences[] = {{"dot", &Caps::dot_accelerated},
                                    {"coopmat", &Caps::coopmat_pays},
                                    {"coopmat2", &Caps::coopmat2_pays},
                                    {"unroll", &Caps::unroll}};

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

double number(const char* name) {
  const std::string text = variable(name);
  if (text.empty()) return 0;
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  require(*end == 0 && value >= 0, ErrorKind::usage, "{}={}: expected a number, 0 or more", name, text);
  return value;
}

}  // namespace

std::set<std::string> split_names(const std::string& list) {
  std::set<std::string> names;
  for (size_t at = 0; at < list.size();) {
    const size_t comma = std::min(list.find(',', at), list.size());
    if (comma > at) names.insert(list.substr(at, comma - at));
    at = comma + 1;
  }
  return names;
}

const std::vector<std::string>& feature_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> list;
    for (const Feature& f : kFeatures) list.push_back(f.name);
    return list;
  }();
  return names;
}

void apply(Caps& caps, const DeviceOptions& options) {
  for (const std::string& name : options.disable) {
    bool found = name == "all";
    for (const Feature& f : kFeatures)
      if (name == "all" || name == f.name) caps.*f.field = false, found = true;
    std::string list = "all";
    for (const Feature& f : kFeatures) list += std::string(", ") + f.name;
    require(found, ErrorKind::usage, "--disable {}: no such feature; there are: {}", name, list);
  }
  for (const std::string& name : options.prefer) {
    bool found = false;
    for (const Feature& f : kPreferences)
      if (name == f.name) caps.*f.field = found = true;
    std::string list;
    for (const Feature& f : kPreferences) list += std::string(list.empty() ? "" : ", ") + f.name;
    require(found, ErrorKind::usage, "--prefer {}: no such fast path; there are: {}", name, list);
  }
  if (!caps.subgroup) caps.subgroup_control = false;
  if (options.limit_binding) caps.max_binding_bytes = std::min(caps.max_binding_bytes, options.limit_binding);
  if (options.limit_allocation)
    caps.max_allocation_bytes = std::min(caps.max_allocation_bytes, options.limit_allocation);
  if (options.precision_f32) caps.fp16 = caps.dot = caps.coopmat = caps.coopmat2 = false;
  if (!caps.dot) caps.dot_accelerated = caps.dot_mixed = false;
  caps.coopmat &= caps.fp16 && caps.known_subgroups();  // what its kernels need beside
  caps.unroll &= specialize_built();
  caps.coopmat2 &= caps.coopmat;
  caps.coopmat2_pays &= caps.coopmat2;
  caps.coopmat_pays = caps.coopmat && (caps.coopmat_pays || caps.coopmat2_pays);
}

DeviceOptions DeviceOptions::from_environment() {
  DeviceOptions o;
  o.device = variable("SPINDLE_DEVICE");
  o.disable = split_names(variable("SPINDLE_DISABLE"));
  o.prefer = split_names(variable("SPINDLE_PREFER"));
  o.limit_binding = static_cast<uint64_t>(number("SPINDLE_LIMIT_BINDING"));
  o.limit_allocation = static_cast<uint64_t>(number("SPINDLE_LIMIT_ALLOCATION"));
  o.limit_cost = number("SPINDLE_LIMIT_COST");
  o.validation = !variable("SPINDLE_VALIDATION").empty();
  o.precision_f32 = variable("SPINDLE_PRECISION") == "f32";
  return o;
}

}  // namespace spindle
