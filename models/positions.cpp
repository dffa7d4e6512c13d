// Rotary frequencies and their scaling.
#include "models/positions.h"

#include <fmt/core.h>

#include <cassert>
#include <cmath>

namespace spindle {

std::vector<double> rope_frequencies(uint32_t n_rot, double base) {
  std::vector<double> f(n_rot / 2);
  for (size_t t = 0; t < f.size(); t++) f[t] = std::pow(base, -2.0 * static_cast<double>(t) / n_rot);
  return f;
}

RopePlan plan_rope(const Config& config, std::span<const float> divisors) {
  RopePlan plan;
  plan.inv_freq = rope_frequencies(config.n_rot, config.rope_base);
  plan.description =
      fmt::format("rope base {:g}, {} of {} dimensions", config.rope_base, config.n_rot, config.head_dim);
  if (config.rope_scaling.factor != 1) {  // position interpolation: Chen et al., arXiv 2306.15595
    for (double& f : plan.inv_freq) f /= config.rope_scaling.factor;
    plan.description += fmt::format(", linear scaling by {:g}", config.rope_scaling.factor);
  }
  if (!divisors.empty()) {
    assert(divisors.size() == plan.inv_freq.size());
    for (size_t t = 0; t < divisors.size(); t++) plan.inv_freq[t] /= static_cast<double>(divisors[t]);
    plan.description += ", frequency factors from the file";
  }
  return plan;
}

}  // namespace spindle
