// Sampling in double precision: the definition the kernel is tested against.
#include <algorithm>
#include <cmath>
#include <limits>

#include "shaders/sample/sample.h"

namespace spindle {
namespace {

// First word of Philox4x32-10.
uint32_t philox(uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3, uint32_t k0, uint32_t k1) {
  for (int round = 0; round < 10; round++) {
    const uint64_t a = uint64_t{0xD2511F53} * c0, b = uint64_t{0xCD9E8D57} * c2;
    const auto high_a = static_cast<uint32_t>(a >> 32), high_b = static_cast<uint32_t>(b >> 32);
    c0 = high_b ^ c1 ^ k0;
    c2 = high_a ^ c3 ^ k1;
    c1 = static_cast<uint32_t>(b);
    c3 = static_cast<uint32_t>(a);
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  return c0;
}

double log_of_sum(std::span<const float> logits) {
  const double top = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const double x : logits) sum += std::exp(x - top);
  return top + std::log(sum);
}

}  // namespace

reference::Sample reference::sample(std::span<const float> logits, const SampleSettings& s,
                                    std::span<const uint32_t> recent, uint32_t position) {
  Sample result;
  result.race = result.filter = std::numeric_limits<double>::infinity();
  bool finite = false;
  for (const float x : logits) {
    if (std::isnan(x) || x == HUGE_VALF) return {.status = SAMPLE_NOT_FINITE};
    finite = finite || std::isfinite(x);
  }
  if (!finite) return {.status = SAMPLE_NOT_FINITE};

  std::vector<double> x(logits.begin(), logits.end());
  if (s.repeat_penalty > 0 && s.repeat_penalty != 1) {
    std::vector<uint32_t> seen(
        recent.end() - std::min<size_t>({recent.size(), s.repeat_last_n, SAMPLE_MAX_RECENT}), recent.end());
    std::sort(seen.begin(), seen.end());
    seen.erase(std::unique(seen.begin(), seen.end()), seen.end());
    for (const uint32_t token : seen)
      if (token < x.size())
        x[token] = x[token] > 0 ? x[token] / s.repeat_penalty : x[token] * s.repeat_penalty;
  }

  std::vector<uint32_t> order(x.size());
  for (uint32_t i = 0; i < order.size(); i++) order[i] = i;
  std::sort(order.begin(), order.end(),
            [&](uint32_t a, uint32_t b) { return x[a] != x[b] ? x[a] > x[b] : a < b; });
  const double top = x[order[0]];
  const auto weight = [&](uint32_t token) { return std::exp(x[token] - top); };
  const auto near = [&](double distance) { result.filter = std::min(result.filter, std::abs(distance)); };
  result.token = order[0];

  if (s.temperature > 0) {
    if (s.top_k > 0 && s.top_k < order.size()) {
      near(x[order[s.top_k - 1]] == x[order[s.top_k]] ? HUGE_VAL : x[order[s.top_k - 1]] - x[order[s.top_k]]);
      order.resize(s.top_k);
    }
    if (s.top_p < 1) {
      double sum = 0, reached = 0;
      for (const uint32_t token : order) sum += weight(token);
      for (size_t i = 0; i < order.size(); i++) {
        reached += weight(order[i]);
        near(reached / sum - s.top_p);
        if (reached >= s.top_p * sum) order.resize(i + 1);
      }
    }
    if (s.min_p > 0) {
      const double least = top + std::log(std::min(double{s.min_p}, 1.0));
      size_t n = 0;
      while (n < order.size() && (n == 0 || x[order[n]] >= least)) n++;
      for (const uint32_t token : order)
        if (x[token] != top) near(x[token] - least);
      order.resize(n);
    }
    double sum = 0, best = -HUGE_VAL;
    for (const uint32_t token : order) {
      const double scaled = (x[token] - top) / std::max(double{s.temperature}, 1e-6);
      if (x[token] == -HUGE_VAL) continue;
      result.kept.push_back({token, std::exp(scaled)});
      sum += result.kept.back().probability;
      const uint32_t word = philox(token, position, s.sequence, 0, s.seed_low, s.seed_high);
      const double v = std::min((word + 0.5) / 4294967296.0, 1 - 0x1p-24);
      const double score = scaled - std::log(-std::log1p(-v));
      result.race = std::min(result.race, std::abs(score - best));
      if (score > best) {
        result.race = score - best;
        best = score;
        result.token = token;
      }
    }
    for (Candidate& c : result.kept) c.probability /= sum;
  } else {
    result.kept = {{result.token, 1.0}};
    if (order.size() > 1 && x[order[1]] != top) near(top - x[order[1]]);
  }
  result.logprob = logits[result.token] - log_of_sum(logits);
  return result;
}

}  // namespace spindle
