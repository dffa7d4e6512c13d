// Every number that positions enter attention by, made here in double precision.
// Source: the paper of each method; check values in the tests.
#ifndef SPINDLE_MODELS_POSITIONS_H
#define SPINDLE_MODELS_POSITIONS_H
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "models/config.h"

namespace spindle {

// What rotary positions come to for one model: the angle of pair t at position m is m * inv_freq[t].
struct RopePlan {
  std::vector<double> inv_freq;  // n_rot / 2
  double magnitude = 1;          // multiplies cos and sin
  std::string description;       // one line for people: method, factor, base
};

// base^(-2t / n_rot). Su et al., RoFormer, arXiv 2104.09864.
std::vector<double> rope_frequencies(uint32_t n_rot, double base);

// The plan in force for a model; divisors: the file's rope_freqs.weight, or empty.
RopePlan plan_rope(const Config& config, std::span<const float> divisors);

}  // namespace spindle
#endif
