// Plain loops that compilers turn into vector instructions.
#include "app/eval_score.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace spindle {
namespace {

constexpr size_t kLanes = 16, kBlock = 256;

// e^x for x <= 0, to 2e-7 of itself (Cephes' polynomial); 0 below e^-87.
float exp_negative(float x) {
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: what is added to it loses its fraction
  const float y = x < -87.0f ? -87.0f : x;
  const float k = (y * 1.44269504f + kRound) - kRound;
  const float r = (y - k * 0.693359375f) + k * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const float e = p * std::bit_cast<float>((static_cast<int32_t>(k) + 127) << 23);
  return x < -87.0f ? 0.0f : e;
}

float largest(std::span<const float> x) {
  float lanes[kLanes];
  std::fill_n(lanes, kLanes, x[0]);
  size_t i = 0;
  for (; i + kLanes <= x.size(); i += kLanes)
    for (size_t l = 0; l < kLanes; l++) lanes[l] = x[i + l] > lanes[l] ? x[i + l] : lanes[l];
  float most = *std::max_element(lanes, lanes + kLanes);
  for (; i < x.size(); i++) most = std::max(most, x[i]);
  return most;
}

}  // namespace

double log_sum_exp(std::span<const float> x) {
  const float most = largest(x);
  double sum = 0;
  size_t i = 0;
  for (; i + kBlock <= x.size(); i += kBlock) {
    float lanes[kLanes] = {};
    for (size_t j = i; j < i + kBlock; j += kLanes)
      for (size_t l = 0; l < kLanes; l++) lanes[l] += exp_negative(x[j + l] - most);
    for (float lane : lanes) sum += static_cast<double>(lane);
  }
  for (; i < x.size(); i++) sum += std::exp(static_cast<double>(x[i]) - most);
  return most + std::log(sum);
}

std::vector<Window> chunk_windows(size_t n_tokens, size_t length) {
  std::vector<Window> windows;
  for (size_t begin = 0; begin + length <= n_tokens; begin += length)
    windows.push_back({begin, begin + length, begin + length / 2 + 1});
  return windows;
}

std::vector<Window> sliding_windows(size_t n_tokens, size_t length, size_t stride) {
  std::vector<Window> windows;
  size_t scored = 1;
  for (size_t begin = 0; scored < n_tokens; begin += stride) {
    const Window w{begin, std::min(begin + length, n_tokens), std::max(scored, begin + 1)};
    if (w.scored < w.end) windows.push_back(w);
    scored = w.end;
  }
  return windows;
}

std::vector<Window> aligned_windows(size_t n_tokens, size_t length, size_t stride, size_t longest) {
  std::vector<Window> windows;
  for (size_t end = longest; end <= n_tokens; end += stride) {
    const size_t begin = end - length;
    windows.push_back({begin, end, std::max(end - stride, begin + 1)});
  }
  return windows;
}

void Likelihood::add(double nll, size_t token_bytes) {
  sum += nll;
  squares += nll * nll;
  n++;
  bytes += token_bytes;
}

double Likelihood::perplexity() const { return std::exp(mean()); }

double Likelihood::perplexity_error() const {
  if (n < 2) return 0;
  const double variance = squares / static_cast<double>(n) - mean() * mean();
  return perplexity() * std::sqrt(std::max(variance, 0.0) / static_cast<double>(n - 1));
}

double Likelihood::bits_per_byte() const {
  return bytes ? sum / std::log(2.0) / static_cast<double>(bytes) : 0;
}

Share& Share::operator+=(Share s) {
  right += s.right;
  n += s.n;
  return *this;
}

Interval wilson(Share share) {
  if (share.n == 0) return {};
  constexpr double z = 1.959963984540054;
  const double n = share.n, p = share.value(), z2 = z * z / n;
  const double middle = p + z2 / 2, half = z * std::sqrt(p * (1 - p) / n + z2 / (4 * n));
  return {std::max(0.0, (middle - half) / (1 + z2)), std::min(1.0, (middle + half) / (1 + z2))};
}

}  // namespace spindle
