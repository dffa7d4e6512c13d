// The specification's check values of biases, sinusoids and decays.
#include "models/positions_test.h"

#include <cmath>

#include "models/positions.h"
#include "shaders/rope/rope.h"

using namespace spindle;
using namespace spindle::test;

TEST_CASE("positions: sinusoids (A1)") {
  close(sinusoid(8, 5),
        {-0.95892427, 0.28366219, 0.47942554, 0.87758256, 0.049979169, 0.99875026, 0.0049999792, 0.9999875});
  close(sinusoid_halves(8, 5), {-0.95892427, 0.23000171, 0.010771965, 0.00049999998, 0.28366219, 0.97319022,
                                0.99994198, 0.99999988});
}

TEST_CASE("positions: T5 buckets (A2)") {
  const std::vector<uint32_t> table = t5_buckets(32, 128);
  const std::pair<uint32_t, uint32_t> first[] = {{16, 16}, {19, 17}, {21, 18}, {24, 19},  {27, 20}, {31, 21},
                                                 {35, 22}, {40, 23}, {46, 24}, {52, 25},  {59, 26}, {67, 27},
                                                 {77, 28}, {87, 29}, {99, 30}, {113, 31}, {129, 31}};
  for (uint32_t n = 0; n < 16; n++) CHECK(table[n] == n);
  for (size_t i = 0; i + 1 < std::size(first); i++)
    for (uint32_t n = first[i].first; n < first[i + 1].first; n++) CHECK(table[n] == first[i].second);
  const std::pair<int, uint32_t> past[] = {{8, 8},   {12, 9},  {16, 10}, {23, 11}, {32, 12},
                                           {46, 13}, {64, 14}, {91, 15}, {200, 15}};
  for (int n = 0; n < 8; n++) CHECK(t5_bucket_bidirectional(-n, 32, 128) == static_cast<uint32_t>(n));
  for (size_t i = 0; i + 1 < std::size(past); i++)
    for (int n = past[i].first; n < past[i + 1].first; n++) {
      CHECK(t5_bucket_bidirectional(-n, 32, 128) == past[i].second);
      CHECK(t5_bucket_bidirectional(n, 32, 128) == past[i].second + 16);
    }
}

TEST_CASE("positions: ALiBi slopes (A3)") {
  close(alibi_slopes(8), {0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625, 0.0078125, 0.00390625});
  close(alibi_slopes(12), {0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625, 0.0078125, 0.00390625, 0.70710678,
                           0.35355339, 0.1767767, 0.088388348});
  close(alibi_slopes(6), {0.25, 0.0625, 0.015625, 0.00390625, 0.5, 0.125});
  const std::vector<double> many = alibi_slopes(40);
  close(many[31], 0.00390625);
  close(many[32], 0.91700404);
  close(many[39], 0.27262693);
}

TEST_CASE("positions: xPos (A13), log-n (A17), Sandwich (A18)") {
  const std::vector<double> zeta = xpos_zeta(8);
  close(zeta, {0.28571429, 0.46428571, 0.64285714, 0.82142857});
  const double powers[] = {0.78295483, 0.8608332, 0.91732316, 0.96230871};
  for (size_t t = 0; t < 4; t++) close(std::pow(zeta[t], 100.0 / 512), powers[t]);
  close(std::pow(xpos_zeta(128)[0], -65536.0 / 512), 4.3722972e69);
  // Query 1..8 at 100, key 8..1 at 3, pairs side by side; with the decay of each pair, and without.
  std::vector<double> q = {1, 2, 3, 4, 5, 6, 7, 8}, k = {8, 7, 6, 5, 4, 3, 2, 1};
  const RopeShape shape{1, 8, 8, RopeLayout::interleaved};
  const std::vector<double> at_q = {100}, at_k = {3};
  reference::rope(q, at_q, rope_frequencies(8, 1e4), 1, shape);
  reference::rope(k, at_k, rope_frequencies(8, 1e4), 1, shape);
  double with = 0, without = 0;
  for (size_t e = 0; e < 8; e++) {
    with += q[e] * k[e] * std::pow(zeta[e / 2], 97.0 / 512);
    without += q[e] * k[e];
  }
  close(with, -15.07073);
  close(without, -22.811374);
  const std::pair<double, double> short_text[] = {{512, 1}, {1024, 1.1111111}, {4096, 1.3333333}};
  for (const auto& [n, factor] : short_text) close(log_n_factor(n - 1, 512), factor);
  const std::pair<double, double> long_text[] = {{8192, 1.0833333}, {32768, 1.25}, {131072, 1.4166667}};
  for (const auto& [n, factor] : long_text) close(log_n_factor(n - 1, 4096), factor);
  const std::pair<double, double> sums[] = {{0, 64},         {1, 62.093684},   {2, 57.381861},
                                            {10, 42.820023}, {100, 30.543455}, {1000, 10.177728}};
  for (const auto& [d, sum] : sums) close(sandwich_bias(d, 7, 8) * 8, sum * 1);
  close(sandwich_bias(10, 3, 8), 10.705006);
}
