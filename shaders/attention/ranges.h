// Which keys a row sees, as a short list of passes over its keys; read by both compilers, so that the host
// launches what the device computes. patterns.h names the usual lists.
#ifndef SPINDLE_SHADERS_RANGES_H
#define SPINDLE_SHADERS_RANGES_H
#include "shaders/common/glsl.h"
#ifdef __cplusplus
#include <algorithm>
#define RANGES_FUNCTION inline
namespace spindle {
using std::max;
using std::min;
#else
#define RANGES_FUNCTION
#endif

#define ATTENTION_PASSES 5

// What the kernels are specialized for.
#define ATTENTION_RANGES 0x1u   // not simply every key up to the row
#define ATTENTION_BY_HEAD 0x2u  // the heads of a group see different keys
#define ATTENTION_STRIDED 0x4u
#define ATTENTION_LISTED 0x8u
#define ATTENTION_DECAY 0x10u
#define ATTENTION_SLOPES 0x20u
#define ATTENTION_BIAS 0x40u
#define ATTENTION_SINKS 0x80u

// One pass: the row at position i sees the keys from <= j < to, at most i. Packed from KeyPass (attention.h):
// bits 0, 2: kinds of the edges; 4, 6: chunks back; 8: query version; 10: key form; 11 .. 15: flags; 16, 18:
// which random block, how many less one; 20: stride.
struct AttentionPass {
  uint rule, from, to;
};

#define EDGE_AT 0             // n
#define EDGE_BEHIND 1         // i + 1 - n, at least 0
#define EDGE_CHUNK 2          // where the row's own chunk of n positions begins, or one `back` chunks before
#define EDGE_AHEAD 3          // i + 1 + n: the future too
#define RULE_CLIPPED 0x0800u  // ends where the last pass begins
#define RULE_CLOSED_UP 0x1000u  // distances leave out what lies between this pass and the last one
#define RULE_SHIFTED 0x2000u    // the chunks of the second half of the heads lie half a chunk earlier
#define RULE_RANDOM \
  0x4000u  // a random block of `from` positions; `to`: so many blocks at the start are global
#define RULE_LISTED 0x8000u  // the listed positions only

struct AttentionRange {
  uint from, to;
  uint gap;  // distances are i - j - gap
};

RANGES_FUNCTION uint pass_stride(uint rule) { return max(rule >> 20, 1u); }
// Rows of a tile in different chunks see unrelated keys.
RANGES_FUNCTION bool pass_by_chunk(uint rule) { return (rule & RULE_RANDOM) != 0 || rule >> 20 > 1; }

// One way out of each function: compilers make loops of several.
RANGES_FUNCTION uint pass_edge(uint kind, uint n, uint back, uint i, uint shift) {
  const uint size = max(n, 1u), chunk = (i + shift) / size;
  const uint behind = i + 1 > n ? i + 1 - n : 0, begin = chunk > back ? (chunk - back) * size - shift : 0;
  return kind == EDGE_AT ? n : kind == EDGE_BEHIND ? behind : kind == EDGE_AHEAD ? i + 1 + n : begin;
}

// Chris Wellons, "Prospecting for hash functions": lowbias32.
RANGES_FUNCTION uint pass_hash(uint x) {
  x = (x ^ (x >> 16)) * 0x7feb352du;
  x = (x ^ (x >> 15)) * 0x846ca68bu;
  return x ^ (x >> 16);
}

// The r-th of `count` blocks that block `own` of a head sees among `candidates` blocks: one of each of as
// many equal strata, so that they differ and ascend. A pure function of seed, head and block.
RANGES_FUNCTION uint pass_random(uint seed, uint head, uint own, uint r, uint count, uint candidates) {
  const uint low = r * candidates / count, high = (r + 1) * candidates / count;
  return low + pass_hash(seed ^ pass_hash(head ^ pass_hash(own ^ pass_hash(r + 1)))) % (high - low);
}

// What the row at position i sees, `stride` aside; `last` is the last pass of the list.
RANGES_FUNCTION AttentionRange pass_range(AttentionPass pass, AttentionPass last, uint i, uint head,
                                          uint n_heads, uint seed) {
  const uint rule = pass.rule;
  AttentionRange range;
  range.gap = 0;
  if ((rule & RULE_RANDOM) != 0) {
    const uint own = i / pass.from, back = rule >> 4 & 3, count = (rule >> 18 & 3) + 1, r = rule >> 16 & 3;
    const uint candidates = own > back + pass.to ? own - back - pass.to : 0;
    const uint block = candidates <= count ? r : pass_random(seed, head, own, r, count, candidates);
    range.from = candidates > r ? pass.from * (pass.to + block) : 0;
    range.to = candidates > r ? range.from + pass.from : 0;
  } else {
    const uint shift = (rule & RULE_SHIFTED) != 0 && head >= n_heads / 2 ? pass.from / 2 : 0;
    range.from = pass_edge(rule & 3, pass.from, rule >> 4 & 3, i, shift);
    range.to = pass_edge(rule >> 2 & 3, pass.to, rule >> 6 & 3, i, 0);
    if ((rule >> 2 & 3) != EDGE_AHEAD) range.to = min(range.to, i + 1);
    if ((rule & (RULE_CLIPPED | RULE_CLOSED_UP)) != 0) {
      const uint begin = pass_edge(last.rule & 3, last.from, last.rule >> 4 & 3, i, 0);
      if ((rule & RULE_CLIPPED) != 0) range.to = min(range.to, begin);
      if ((rule & RULE_CLOSED_UP) != 0 && begin > range.to) range.gap = begin - range.to;
    }
    range.from = min(range.from, range.to);
  }
  return range;
}

// Whether a row takes part in a pass with a stride: dilated attention keeps every stride-th position of a
// chunk.
RANGES_FUNCTION bool pass_keeps(AttentionPass pass, uint i, uint head) {
  const uint stride = pass_stride(pass.rule);
  return stride == 1 || i % pass.from % stride == head % stride;
}

// The most keys between the edges, for any row below `depth`.
RANGES_FUNCTION uint pass_most_keys(AttentionPass pass, uint depth) {
  const uint kind = pass.rule & 3;
  if ((pass.rule & RULE_RANDOM) != 0) return min(pass.from, depth);
  if ((pass.rule & RULE_LISTED) != 0) return depth;
  if (kind == EDGE_AT) return (pass.rule >> 2 & 3) == EDGE_AT ? min(pass.to, depth) : depth;
  if ((pass.rule >> 2 & 3) == EDGE_AHEAD) return depth;
  if (kind == EDGE_BEHIND) return min(pass.from, depth);
  const uint chunks = (pass.rule >> 4 & 3) + 1;
  return pass.from < depth / chunks ? chunks * pass.from : depth;
}

// Decode: how many splits at fixed positions any row can see keys of.
RANGES_FUNCTION uint pass_splits(AttentionPass pass, uint depth, uint split_keys) {
  if ((pass.rule & RULE_LISTED) != 0) return 1;
  const uint most = pass_most_keys(pass, depth), all = (depth + split_keys - 1) / split_keys;
  if ((pass.rule & (3 | RULE_RANDOM)) == EDGE_AT)
    return (most + split_keys - 1) / split_keys + (pass.from > 0 ? 1 : 0);
  return min(all, (most + split_keys - 2) / split_keys + 1);
}

#ifdef __cplusplus
}  // namespace spindle
#endif
#endif
