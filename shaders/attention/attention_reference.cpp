// Flash attention's definition in double precision, key by key.
#include <algorithm>
#include <cassert>
#include <cmath>

#include "shaders/attention/attention.h"

namespace spindle::reference {
namespace {

int64_t edge_of(const KeyEdge& edge, int64_t i, int64_t shift) {
  const int64_t n = edge.n;
  if (edge.kind == EDGE_AT) return n;
  if (edge.kind == EDGE_BEHIND) return std::max<int64_t>(i + 1 - n, 0);
  if (edge.kind == EDGE_AHEAD) return i + 1 + n;
  return std::max<int64_t>((i + shift) / n * n - shift - edge.back * n, 0);
}

// The blocks of a random pass by the definition in ranges.h.
int64_t random_block(const AttentionShape& shape, const KeyPass& pass, int64_t i, uint32_t head) {
  const int64_t own = i / pass.from.n, n = own - pass.from.back - pass.to.n;
  if (n <= pass.random) return -1;
  const uint32_t r = n <= pass.n_random ? pass.random
                                        : pass_random(shape.seed, head, static_cast<uint32_t>(own),
                                                      pass.random, pass.n_random, static_cast<uint32_t>(n));
  return pass.to.n + r;
}

}  // namespace

bool sees(const AttentionShape& shape, size_t number, uint32_t i, uint32_t j, uint32_t head) {
  const KeyPass& pass = shape.passes[number];
  if (pass.n_random > 0) return random_block(shape, pass, i, head) == j / pass.from.n;
  const int64_t shift = pass.shifted && head >= shape.n_heads / 2 ? pass.from.n / 2 : 0;
  if (j < edge_of(pass.from, i, shift) || j >= edge_of(pass.to, i, 0)) return false;
  if (pass.to.kind != EDGE_AHEAD && j > i) return false;
  if (pass.clipped && j >= edge_of(shape.passes.back().from, i, 0)) return false;
  if (pass.listed && !std::ranges::count(shape.listed, j)) return false;
  const auto kept = [&](uint32_t p) { return p % pass.from.n % pass.stride == head % pass.stride; };
  return pass.stride == 1 || (kept(i) && kept(j));
}

void attention(const Attention& a, const CacheShape& cache, const AttentionShape& given) {
  AttentionShape s = given;
  if (s.passes.empty()) s.passes.push_back({});
  const size_t d = cache.head_dim, dv = cache.v_dim(), group = s.n_heads / cache.n_kv_heads;
  const size_t n_keys = a.k.size() / (d * cache.n_kv_heads), n_bias = s.bias.size() / s.n_heads;
  for (size_t row = 0; row < a.positions.size(); row++)
    for (uint32_t head = 0; head < s.n_heads; head++) {
      const uint32_t i = a.positions[row];
      std::vector<double> scores;
      std::vector<size_t> keys;
      for (size_t number = 0; number < s.passes.size(); number++) {
        const KeyPass& pass = s.passes[number];
        const std::span<const double> k = pass.keys == 0 ? a.k : a.k2;
        const size_t at_q = (pass.query * a.positions.size() + row) * s.n_heads + head;
        int64_t gap = 0;
        if (pass.closed_up)
          gap = edge_of(s.passes.back().from, i, 0) -
                std::min({edge_of(pass.to, i, 0), edge_of(s.passes.back().from, i, 0), int64_t{i} + 1});
        for (uint32_t j = 0; j < n_keys; j++) {
          if (!sees(s, number, i, j, head)) continue;
          double x = 0;
          for (size_t e = 0; e < d; e++) {
            double product = a.q[at_q * d + e] * k[(j * cache.n_kv_heads + head / group) * d + e];
            if (!s.decay.empty())
              product *= std::pow(s.decay[e], double{kDecayBlock} * (i / kDecayBlock - j / kDecayBlock));
            x += product;
          }
          x *= static_cast<double>(s.scale);
          if (s.soft_cap > 0) x = s.soft_cap * std::tanh(x / s.soft_cap);
          const int64_t distance = int64_t{i} - gap - j;
          if (!s.slopes.empty()) x -= s.slopes[head] * static_cast<double>(std::abs(distance));
          if (n_bias > 0) {
            const int64_t at = distance + (s.bias_both_ways ? static_cast<int64_t>(n_bias / 2) : 0);
            x += s.bias[head * n_bias +
                        static_cast<size_t>(std::clamp<int64_t>(at, 0, static_cast<int64_t>(n_bias) - 1))];
          }
          scores.push_back(x);
          keys.push_back(j);
        }
      }
      const size_t at = row * s.n_heads + head;
      std::fill_n(a.y.begin() + static_cast<std::ptrdiff_t>(at * dv), dv, 0.0);
      double largest = s.sinks.empty() ? -1e30 : s.sinks[head];
      for (double x : scores) largest = std::max(largest, x);
      double total = s.sinks.empty() ? 0 : std::exp(s.sinks[head] - largest);
      for (double x : scores) total += std::exp(x - largest);
      for (size_t n = 0; n < keys.size(); n++) {
        const double p = std::exp(scores[n] - largest) / total;
        if (!a.p.empty()) a.p[at * n_keys + keys[n]] += p;
        for (size_t e = 0; e < dv; e++)
          a.y[at * dv + e] += p * a.v[(keys[n] * cache.n_kv_heads + head / group) * dv + e];
      }
      if (!a.lse.empty()) a.lse[at] = total > 0 ? largest + std::log(total) : -1e30;
    }
}

}  // namespace spindle::reference
