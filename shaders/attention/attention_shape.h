// What a layer's attention is: which keys a row sees, in which form, and what is added to their scores.
#ifndef SPINDLE_SHADERS_ATTENTION_SHAPE_H
#define SPINDLE_SHADERS_ATTENTION_SHAPE_H
#include <cstdint>
#include <vector>

#include "shaders/attention/ranges.h"

namespace spindle {

// An end of a range of keys, seen from the row at position i.
struct KeyEdge {
  uint32_t kind = EDGE_AT;
  uint32_t n = 0;     // a position, a distance, or the positions of a chunk
  uint32_t back = 0;  // chunks, 0 to 3
};
namespace edge {
constexpr KeyEdge at(uint32_t n) { return {EDGE_AT, n, 0}; }
constexpr KeyEdge behind(uint32_t n) {
  return {EDGE_BEHIND, n, 0};
}  // the row and the n - 1 before are after it
constexpr KeyEdge chunk(uint32_t n, uint32_t back = 0) { return {EDGE_CHUNK, n, back}; }
constexpr KeyEdge ahead(uint32_t n) { return {EDGE_AHEAD, n, 0}; }  // `to` only, prefill only, depth exact
inline constexpr KeyEdge self{EDGE_BEHIND, 0, 0};
inline constexpr KeyEdge everything{EDGE_AHEAD, 0x3fffffff, 0};
}  // namespace edge

// The row at i sees the keys from <= j < to, and none after i unless `to` is ahead. A key that two passes
// show counts twice.
struct KeyPass {
  KeyEdge from = edge::at(0), to = edge::self;
  uint32_t query = 0;  // version of q, 0 to 3
  uint32_t keys = 0;   // 0: K, 1: the second form of K
  uint32_t stride =
      1;  // from is a chunk: only its positions p with p mod stride = head mod stride, both ways
  bool clipped = false;    // ends where the last pass begins
  bool closed_up = false;  // bias and slope see distances without what lies between this pass and the last
  bool shifted = false;    // the chunks of the second half of the heads lie half a chunk earlier
  bool listed = false;     // AttentionShape::listed only
  uint32_t n_random =
      0;                // 1 to 4: a random block of from.n positions, in [to.n blocks, from.back blocks ago),
  uint32_t random = 0;  // the random-th of so many

  AttentionPass pack() const;
};

struct AttentionShape {
  uint32_t n_heads = 0;
  float scale = 0;  // of q k^T, usually 1 / sqrt(head_dim); T5: 1
  std::vector<KeyPass>
      passes;  // at most ATTENTION_PASSES, through one softmax; none: every key up to the row
  // The score: x = scale q k^T, then soft_cap tanh(x / soft_cap) unless that is 0, then slope and bias.
  float soft_cap = 0;
  std::vector<float> slopes;  // by head: - slope * |i - j| (ALiBi), exact up to a distance of 2^24
  std::vector<float>
      bias;  // [n_heads, n]: by distance, the last one for all further ones (T5: distance_bias),
  bool bias_both_ways = false;  // or, n odd, by i - j from -(n / 2) to n / 2
  std::vector<float> sinks;     // by head: a logit of no key, in the denominator only
  // xPos: the products of element e are multiplied by decay[e]^(i - j), (0, 1]; q must hold its factor of i
  // mod 256 and the keys theirs of -(j mod 256), which stay within reach of f16 at any position.
  std::vector<double> decay;     // by element of a head
  uint32_t decay_depth = 0;      // the largest depth
  std::vector<uint32_t> listed;  // ascending positions for a listed pass
  uint32_t seed = 0;             // of random blocks

  uint32_t n_queries() const;  // versions of q
  uint32_t n_key_forms() const;
  bool by_head() const;  // heads of a group see different keys
};

// What the device needs of slopes, bias, sinks, decay and listed: words to be uploaded once; may be empty.
std::vector<uint32_t> attention_table(const AttentionShape& shape);

constexpr uint32_t kDecayBlock = 256;  // positions

// [n_heads, buckets.size()] from the bucket of each distance (the last one for all further ones) and biases
// [n_buckets, n_heads] as models store them.
std::vector<float> distance_bias(const std::vector<uint32_t>& buckets, const std::vector<float>& biases,
                                 uint32_t n_heads);

// Lists of passes. Windows count the row itself.
namespace pattern {
std::vector<KeyPass> window(uint32_t positions);              // B4
std::vector<KeyPass> sinks(uint32_t first, uint32_t window);  // StreamingLLM: sinks take q version 1
// Two forms: beyond the window keys form 1 meets q version 1. ReRoPE, Leaky ReRoPE, Self-Extend.
std::vector<KeyPass> far_and_near(uint32_t window);
std::vector<KeyPass> dual_chunk(uint32_t chunk);  // q versions: 0 same, 1 previous, 2 older
std::vector<KeyPass> blockwise(uint32_t block);   // xPos: own and previous block
std::vector<KeyPass> longformer(uint32_t window, uint32_t n_global, bool listed);
std::vector<KeyPass> bigbird(uint32_t block, uint32_t n_global, uint32_t n_random,
                             uint32_t n_window);      // blocks
std::vector<KeyPass> shifted_groups(uint32_t group);  // S2-Attn
struct Dilation {
  uint32_t segment, stride;
};
std::vector<KeyPass> dilated(const std::vector<Dilation>& branches);  // LongNet
}  // namespace pattern

}  // namespace spindle
#endif
