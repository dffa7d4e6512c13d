// Attention described: packing of passes, the table of a layer, and the usual patterns.
#include "shaders/attention/attention_shape.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cmath>

#include "runtime/error.h"

namespace spindle {

AttentionPass KeyPass::pack() const {
  assert(from.back < 4 && to.back < 4 && query < 4 && keys < 2 && stride < 4096 && n_random <= 4);
  assert(stride == 1 || from.kind == EDGE_CHUNK);
  uint32_t rule = from.kind | to.kind << 2 | from.back << 4 | to.back << 6 | query << 8 | keys << 10;
  if (clipped) rule |= RULE_CLIPPED;
  if (closed_up) rule |= RULE_CLOSED_UP;
  if (shifted) rule |= RULE_SHIFTED;
  if (listed) rule |= RULE_LISTED;
  if (n_random > 0) rule |= RULE_RANDOM | random << 16 | (n_random - 1) << 18;
  if (stride > 1) rule |= stride << 20;
  return {rule, from.n, to.n};
}

uint32_t AttentionShape::n_queries() const {
  uint32_t n = 1;
  for (const KeyPass& p : passes) n = std::max(n, p.query + 1);
  return n;
}

uint32_t AttentionShape::n_key_forms() const {
  uint32_t n = 1;
  for (const KeyPass& p : passes) n = std::max(n, p.keys + 1);
  return n;
}

bool AttentionShape::by_head() const {
  for (const KeyPass& p : passes)
    if (p.shifted || p.n_random > 0 || p.stride > 1) return true;
  return false;
}

// [n_heads] of (slope, sink), [n_heads, n_bias], then from a multiple of 4 the decay by blocks of 256 and
// element, then the list.
std::vector<uint32_t> attention_table(const AttentionShape& s) {
  if (s.slopes.empty() && s.sinks.empty() && s.bias.empty() && s.decay.empty() && s.listed.empty()) return {};
  assert(s.slopes.empty() || s.slopes.size() == s.n_heads);
  assert(s.sinks.empty() || s.sinks.size() == s.n_heads);
  assert(s.bias.size() % s.n_heads == 0);
  assert(std::ranges::is_sorted(s.listed));
  std::vector<uint32_t> table;
  const auto put = [&](float x) { table.push_back(std::bit_cast<uint32_t>(x)); };
  for (uint32_t head = 0; head < s.n_heads; head++) {
    put(s.slopes.empty() ? 0 : s.slopes[head]);
    put(s.sinks.empty() ? 0 : s.sinks[head]);
  }
  for (float x : s.bias) put(x);
  while (table.size() % 4 != 0) put(0);
  if (!s.decay.empty())
    for (uint32_t block = 0; block <= s.decay_depth / kDecayBlock; block++)
      for (double decay : s.decay) {
        const double power = std::pow(decay, double{kDecayBlock} * block);
        put(power < 0x1p-126 ? 0 : static_cast<float>(power));
      }
  table.insert(table.end(), s.listed.begin(), s.listed.end());
  return table;
}

std::vector<float> distance_bias(const std::vector<uint32_t>& buckets, const std::vector<float>& biases,
                                 uint32_t n_heads) {
  std::vector<float> table;
  for (uint32_t head = 0; head < n_heads; head++)
    for (uint32_t bucket : buckets) {
      require(size_t{bucket} * n_heads + head < biases.size(), "distance bias: bucket {} of {}", bucket,
              biases.size() / n_heads);
      table.push_back(biases[size_t{bucket} * n_heads + head]);
    }
  return table;
}

namespace pattern {

std::vector<KeyPass> window(uint32_t positions) { return {{.from = edge::behind(positions)}}; }

std::vector<KeyPass> sinks(uint32_t first, uint32_t positions) {
  return {{.to = edge::at(first), .query = 1, .clipped = true, .closed_up = true},
          {.from = edge::behind(positions)}};
}

std::vector<KeyPass> far_and_near(uint32_t positions) {
  return {{.to = edge::behind(positions), .query = 1, .keys = 1}, {.from = edge::behind(positions)}};
}

std::vector<KeyPass> dual_chunk(uint32_t n) {
  return {{.to = edge::chunk(n, 1), .query = 2},
          {.from = edge::chunk(n, 1), .to = edge::chunk(n), .query = 1},
          {.from = edge::chunk(n)}};
}

std::vector<KeyPass> blockwise(uint32_t block) { return {{.from = edge::chunk(block, 1)}}; }

std::vector<KeyPass> longformer(uint32_t positions, uint32_t n_global, bool listed) {
  std::vector<KeyPass> passes;
  if (n_global > 0) passes.push_back({.to = edge::at(n_global), .clipped = true});
  if (listed) passes.push_back({.clipped = true, .listed = true});
  passes.push_back({.from = edge::behind(positions)});
  return passes;
}

std::vector<KeyPass> bigbird(uint32_t block, uint32_t n_global, uint32_t n_random, uint32_t n_window) {
  assert(n_window >= 1 && n_random + 2 <= ATTENTION_PASSES);
  std::vector<KeyPass> passes = {{.to = edge::at(n_global * block), .clipped = true}};
  for (uint32_t r = 0; r < n_random; r++)
    passes.push_back({.from = {EDGE_CHUNK, block, n_window - 1},
                      .to = edge::at(n_global),
                      .n_random = n_random,
                      .random = r});
  passes.push_back({.from = edge::chunk(block, n_window - 1)});
  return passes;
}

std::vector<KeyPass> shifted_groups(uint32_t group) {
  return {{.from = edge::chunk(group), .shifted = true}};
}

std::vector<KeyPass> dilated(const std::vector<Dilation>& branches) {
  std::vector<KeyPass> passes;
  for (const Dilation& d : branches) passes.push_back({.from = edge::chunk(d.segment), .stride = d.stride});
  return passes;
}

}  // namespace pattern
}  // namespace spindle
