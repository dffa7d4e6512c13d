// What is not rotary: ALiBi, T5 buckets, sinusoids, and the temperatures of attention.
#include <algorithm>
#include <bit>
#include <cmath>

#include "models/positions.h"

namespace spindle {

std::vector<double> alibi_slopes(uint32_t n_heads, double max_bias) {
  const uint32_t whole = std::bit_floor(n_heads);  // the largest power of two: the rest interleaves
  const double m0 = std::exp2(-max_bias / whole), m1 = std::exp2(-max_bias / (2.0 * whole));
  std::vector<double> slopes;
  for (uint32_t h = 0; h < n_heads; h++)
    slopes.push_back(h < whole ? std::pow(m0, h + 1) : std::pow(m1, 2 * (h - whole) + 1));
  return slopes;
}

namespace {
// The logarithm of a ratio of integers can fall just short of a whole number: buckets begin exactly there.
uint32_t log_bucket(uint64_t n, uint32_t n_buckets, uint32_t max_distance) {
  const uint32_t exact = n_buckets / 2;
  if (n < exact) return static_cast<uint32_t>(n);
  const double ratio =
      std::log(static_cast<double>(n) / exact) / std::log(static_cast<double>(max_distance) / exact);
  const double bucket = std::floor(ratio * (n_buckets - exact) + 1e-9);
  return std::min(n_buckets - 1, exact + static_cast<uint32_t>(bucket));
}
}  // namespace

std::vector<uint32_t> t5_buckets(uint32_t n_buckets, uint32_t max_distance) {
  std::vector<uint32_t> table;
  for (uint32_t n = 0; n <= max_distance; n++) table.push_back(log_bucket(n, n_buckets, max_distance));
  return table;
}

uint32_t t5_bucket_bidirectional(int64_t key_minus_query, uint32_t n_buckets, uint32_t max_distance) {
  const uint32_t half = n_buckets / 2;
  const auto n = static_cast<uint64_t>(std::abs(key_minus_query));
  return (key_minus_query > 0 ? half : 0) + log_bucket(n, half, max_distance);
}

std::vector<double> sinusoid(uint32_t dim, double position) {
  std::vector<double> v(dim);
  for (uint32_t i = 0; i < dim; i++) {
    const double angle = position * std::pow(10000.0, -2.0 * (i / 2) / dim);
    v[i] = i % 2 == 0 ? std::sin(angle) : std::cos(angle);
  }
  return v;
}

std::vector<double> sinusoid_halves(uint32_t dim, double position) {
  std::vector<double> v(dim);
  const uint32_t half = dim / 2;
  for (uint32_t t = 0; t < half; t++) {
    const double angle = position * std::pow(10000.0, -static_cast<double>(t) / (half - 1));
    v[t] = std::sin(angle);
    v[half + t] = std::cos(angle);
  }
  return v;
}

std::vector<double> xpos_zeta(uint32_t n_rot) {
  std::vector<double> zeta(n_rot / 2);
  for (size_t t = 0; t < zeta.size(); t++) zeta[t] = (2.0 * static_cast<double>(t) / n_rot + 0.4) / 1.4;
  return zeta;
}

double log_n_factor(double position, double original_context) {
  return std::max(1.0, std::log(position + 1) / std::log(original_context));
}

double yarn_mscale(double factor, double mscale) {
  return factor > 1 ? 0.1 * mscale * std::log(factor) + 1 : 1;
}

double sandwich_bias(double distance, uint32_t head, uint32_t n_heads, uint32_t dim) {
  double sum = 0;
  for (uint32_t t = 0; t < dim / 2; t++) sum += std::cos(distance / std::pow(10000.0, 2.0 * t / dim));
  return sum * n_heads / (8.0 * (head + 1));
}

}  // namespace spindle
