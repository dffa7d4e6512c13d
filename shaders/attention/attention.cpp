// Flash attention: division of the keys and rows into dispatches.
#include "shaders/attention/attention.h"

#include <algorithm>
#include <cassert>

#include "shaders/attention/attention_coopmat.h"

namespace spindle {
namespace {

// Scratch of a group of rows: sums, then (m, l) pairs. n_splits is 0 in prefill, where a row has one state.
struct Scratch {
  uint64_t sums_bytes = 0, states_bytes = 0;
  uint64_t bytes() const { return sums_bytes + states_bytes; }
  uint32_t first_state() const { return static_cast<uint32_t>(sums_bytes / 8); }
};

Scratch scratch_of(uint64_t n_rows, uint64_t n_splits, const CacheShape& cache, const AttentionShape& shape) {
  const uint64_t states = n_rows * shape.n_heads;
  return {states * std::max(n_splits, uint64_t{1}) * cache.v_dim() * 4,
          states * (n_splits ? n_splits + 2 : 1) * 8};
}

std::vector<AttentionPass> passes_of(const AttentionShape& shape) {
  std::vector<AttentionPass> passes;
  for (const KeyPass& p : shape.passes) passes.push_back(p.pack());
  if (passes.empty()) passes.push_back(KeyPass{}.pack());
  return passes;
}

uint32_t n_splits_of(const std::vector<AttentionPass>& passes, uint32_t depth, uint32_t split_keys) {
  uint32_t n = 0;
  for (const AttentionPass& p : passes) n += pass_splits(p, depth, split_keys);
  return n;
}

// The most of 1 .. wanted that fits; 0: not even one does.
template <class Bytes>
uint32_t most_that_fits(uint32_t wanted, uint64_t available, Bytes&& bytes) {
  uint32_t low = 0, high = wanted;
  while (low < high) {
    const uint32_t middle = high - (high - low) / 2;
    if (bytes(middle) <= available) low = middle;
    else high = middle - 1;
  }
  return low;
}

struct Range {
  const CacheSegment* segment;
  uint32_t begin, end;
};

// Passes of one dispatch; in decode also the first split of the first one and its place in scratch.
struct Part {
  uint32_t first_pass, end_pass;
  uint32_t first_split = 0, n_splits = 0, first_place = 0;
};

AttentionVariant variant_of(const Caps& caps, Phase phase, const CacheShape& cache,
                            const AttentionShape& shape) {
  if (attention_uses_coopmat(caps, phase, cache, shape)) return *find_coopmat_attention(caps, cache, shape);
  return choose_attention(caps, phase, cache, shape);
}

struct Call {
  Stream& stream;
  Tensor y, lse, q, rows, pages;
  std::span<const CacheSegment> segments;
  const CacheShape& cache;
  const AttentionShape& shape;
  Tensor scratch, table;
  AttentionVariant v;
  KernelSpec spec;
  std::vector<AttentionPass> passes;
  uint32_t depth;

  uint32_t pack() const { return attention_pack(cache, shape); }
  uint32_t n_passes() const { return static_cast<uint32_t>(passes.size()); }
  double key_bytes() const {
    return 4.0 * static_cast<double>(cache_row_words(cache.k_type, cache.head_dim) +
                                     cache_row_words(cache.v_type, cache.v_dim()));
  }
  double state_bytes() const { return 4.0 * (cache.v_dim() + 2); }

  // What n workgroups do with n_keys keys each, where `sharing` of them read the same keys.
  Work work(double n, double n_keys, double sharing = 1) const {
    const double n_parts = v.split_keys ? v.clusters() : 1, n_rows = v.rows * v.clusters() / n_parts;
    const double row_bytes = 2 * state_bytes() + 4.0 * cache.head_dim;
    return {n * n_parts * 2 * n_rows * n_keys * (cache.head_dim + cache.v_dim()),
            n * n_parts * (n_keys * key_bytes() / sharing + n_rows * row_bytes)};
  }

  // The most keys that a workgroup reads in a pass.
  uint32_t reach(const AttentionPass& pass) const {
    const uint32_t most = pass_most_keys(pass, depth), stride = pass_stride(pass.rule);
    const bool bounded = most < depth;
    const uint32_t tile = ceil_div(v.clusters() * v.rows, pack()) + 1 + v.keys;
    if (pass.rule & RULE_LISTED) return static_cast<uint32_t>(shape.listed.size()) * v.keys;
    if (pass_by_chunk(pass.rule))
      return std::min(depth, (most / stride + 2 * v.keys) * (1 + tile / pass.from));
    return bounded && (pass.rule & 3) != EDGE_AT ? std::min(depth, most + tile) : most;
  }

  // Cuts the keys first .. end - 1 at the borders of the segments and, where there are more than one
  // workgroup may have, at multiples of that.
  std::vector<Range> ranges(uint32_t first, uint32_t end, uint32_t keys, uint32_t least = 16) const {
    // llvmpipe ends every loop of an invocation after 65,535 iterations, silently; a key takes about two.
    const uint32_t most_keys = v.split_keys ? v.split_keys : stream.caps().software ? 8192 : 1u << 31;
    uint32_t piece = 16;
    while (piece < most_keys && work(1, 2.0 * piece).cost() <= stream.device().cost_bound()) piece *= 2;
    if (piece >= keys || (v.split_keys && piece >= v.split_keys)) piece = 1u << 31;
    piece = std::max(piece, least);
    std::vector<Range> list;
    for (const CacheSegment& s : segments)
      for (uint32_t at = std::max(first, s.first_position),
                    stop = std::min(end, s.first_position + s.n_positions);
           at < stop;) {
        const uint32_t to =
            static_cast<uint32_t>(std::min<uint64_t>(stop, (uint64_t{at} / piece + 1) * piece));
        list.push_back({&s, at, to});
        at = to;
      }
    return list;
  }

  AttentionParameters parameters(uint32_t first_row, uint32_t end_row) const {
    AttentionParameters p{};
    p.first_row = first_row, p.end_row = end_row;
    p.n_heads = shape.n_heads, p.n_kv_heads = cache.n_kv_heads;
    p.page_tokens = cache.page_tokens, p.pages_per_slot = pages.cols;
    p.query_rows = y.rows, p.depth = depth;
    p.flags = lse ? ATTENTION_WRITE_LSE : 0;
    p.scale = shape.scale;
    std::copy(passes.begin(), passes.end(), p.passes);
    return p;
  }

  void dispatch(const Range& range, AttentionParameters p, const Part& some, const Scratch& layout, Grid grid,
                double keys) const {
    p.begin = range.begin;
    p.end = range.end;
    p.flags |= some.first_pass << 8 | some.end_pass << 16;
    p.first_split = some.first_split, p.first_place = some.first_place;
    p.first_state = layout.first_state();
    stream.dispatch(
        spec,
        {y, lse, q, rows, pages, range.segment->k, range.segment->v, part(layout), range.segment->k2, table},
        p, grid, work(double{1} * grid.x * grid.y * grid.z, keys, v.split_keys ? 1 : grid.x));
  }

  Tensor part(const Scratch& layout) const {
    if (layout.bytes() == 0) return {};
    return {*scratch.buffer, DType::u32, 1, static_cast<uint32_t>(layout.bytes() / 4), scratch.offset_bytes};
  }

  void prefill() const {
    uint32_t together = 0;
    for (const AttentionPass& pass : passes) together = std::min(depth * n_passes(), together + reach(pass));
    struct Step {
      Range range;
      Part part;
      uint32_t keys;
    };
    std::vector<Step> steps;
    if (const auto list = ranges(0, depth, together); list.size() == 1) {
      steps.push_back({list[0], {0, n_passes()}, together});
    } else {
      for (uint32_t pass = 0; pass < n_passes(); pass++)
        for (const Range& range :
             ranges(0, depth, reach(passes[pass]), pass_stride(passes[pass].rule) > 1 ? 256 : 16))
          steps.push_back({range, {pass, pass + 1}, std::min(range.end - range.begin, reach(passes[pass]))});
    }
    const bool carries = steps.size() > 1;
    const auto layout = [&](uint32_t n) { return carries ? scratch_of(n, 0, cache, shape) : Scratch{}; };
    const uint32_t at_once =
        most_that_fits(y.rows, scratch ? scratch.bytes() : 0, [&](uint32_t n) { return layout(n).bytes(); });
    require(at_once > 0, "attention: {} bytes of scratch are too few for one row",
            scratch ? scratch.bytes() : 0);
    for (uint32_t first = 0; first < y.rows; first += at_once) {
      const uint32_t end = std::min(y.rows, first + at_once);
      const uint32_t tiles = ceil_div((end - first) * pack(), v.clusters() * v.rows);
      for (size_t i = 0; i < steps.size(); i++) {
        AttentionParameters p = parameters(first, end);
        if (i > 0) p.flags |= ATTENTION_CARRIED;
        if (i + 1 == steps.size()) p.flags |= ATTENTION_FINISHED;
        dispatch(steps[i].range, p, steps[i].part, layout(end - first), {tiles, shape.n_heads / pack()},
                 steps[i].keys);
      }
    }
  }

  uint32_t splits_of(uint32_t pass) const { return pass_splits(passes[pass], depth, v.split_keys); }

  void decode() const {
    const uint32_t n_splits = n_splits_of(passes, depth, v.split_keys);
    const uint64_t available = scratch ? scratch.bytes() : 0;
    const auto layout = [&](uint32_t n, uint32_t splits) { return scratch_of(n, splits, cache, shape); };
    const auto list = ranges(0, depth, depth);
    if (n_splits == 1 && list.size() == 1 && (attention_features(shape) & ATTENTION_RANGES) == 0) {
      split_dispatch(list[0], parameters(0, y.rows), {0, 1, 0, 1, 0}, Scratch{});
      return;
    }
    // As many rows as have a place for all their splits, else one row and as many splits of a pass as have
    // one.
    const uint32_t at_once =
        most_that_fits(y.rows, available, [&](uint32_t n) { return layout(n, n_splits).bytes(); });
    if (at_once > 0) {
      for (uint32_t first = 0; first < y.rows; first += at_once)
        window_of_splits(first, std::min(y.rows, first + at_once), {0, n_passes(), 0, n_splits}, 0, true);
      return;
    }
    const uint32_t window =
        most_that_fits(n_splits, available, [&](uint32_t n) { return layout(1, n).bytes(); });
    require(window > 0, "attention: {} bytes of scratch are too few for one row", available);
    for (uint32_t row = 0; row < y.rows; row++) {
      uint32_t turn = 0;
      for (uint32_t pass = 0; pass < n_passes(); pass++)
        for (uint32_t split = 0; split < splits_of(pass); split += window)
          window_of_splits(row, row + 1, {pass, pass + 1, split, window}, turn++,
                           pass + 1 == n_passes() && split + window >= splits_of(pass));
    }
  }

  // The splits that are together in scratch, merged into what went before.
  void window_of_splits(uint32_t first, uint32_t end, const Part& all, uint32_t turn, bool last) const {
    const Scratch layout = scratch_of(end - first, all.n_splits, cache, shape);
    AttentionParameters p = parameters(first, end);
    p.n_splits = all.n_splits;
    const std::vector<Range> list = ranges(0, depth, depth);
    for (const Range& range : list) {
      uint32_t place = 0;
      if (list.size() == 1 && all.end_pass - all.first_pass == n_passes() && n_passes() > 1) {
        split_dispatch(range, p, all, layout);
        continue;
      }
      for (uint32_t pass = all.first_pass; pass < all.end_pass; pass++) {
        const AttentionPass& rule = passes[pass];
        uint32_t from = all.first_split, to = std::min(splits_of(pass), from + all.n_splits);
        // Splits at fixed positions are launched for the segment that has them only.
        if ((rule.rule & (3 | RULE_RANDOM | RULE_LISTED)) == EDGE_AT && rule.from == 0) {
          const uint32_t begin = range.begin / v.split_keys, stop = (range.end - 1) / v.split_keys + 1;
          const uint32_t low = std::max(from, begin), high = std::min(to, stop);
          if (low < high)
            split_dispatch(range, p, {pass, pass + 1, low, high - low, place + low - from}, layout);
        } else if (from < to) {
          split_dispatch(range, p, {pass, pass + 1, from, to - from, place}, layout);
        }
        place += splits_of(pass);
      }
    }
    AttentionMergeParameters m{};
    m.first_row = first, m.end_row = end;
    m.n_heads = shape.n_heads, m.value_dim = cache.v_dim();
    m.first_split = all.first_split, m.n_splits = all.n_splits;
    m.split_keys = v.split_keys, m.depth = depth;
    m.first_state = layout.first_state();
    m.flags = p.flags | (turn > 0 ? ATTENTION_CARRIED : 0) | (last ? ATTENTION_FINISHED : 0) |
              all.first_pass << 8 | all.end_pass << 16;
    m.turn = turn % 2;
    m.n_passes = n_passes(), m.seed = shape.seed;
    std::copy(passes.begin(), passes.end(), m.passes);
    const KernelSpec merge = attention_merge_kernel(stream.caps(), shape);
    const double elements = double{1} * (end - first) * shape.n_heads * cache.v_dim();
    const Work work{4 * elements * all.n_splits, 4 * elements * (all.n_splits + 2)};
    stream.dispatch(merge, {y, lse, rows, part(layout), table}, m,
                    {ceil_div((end - first) * shape.n_heads * (cache.v_dim() / 4), merge.constants[0])},
                    work);
  }

  void split_dispatch(const Range& range, const AttentionParameters& p, const Part& some,
                      const Scratch& layout) const {
    const uint32_t heads = shape.by_head() ? shape.n_heads : cache.n_kv_heads * ceil_div(pack(), v.rows);
    uint32_t groups = 0;
    if (some.end_pass - some.first_pass == 1) groups = ceil_div(some.n_splits, v.clusters());
    else
      for (uint32_t pass = some.first_pass; pass < some.end_pass; pass++)
        groups += ceil_div(splits_of(pass), v.clusters());
    dispatch(range, p, some, layout, {groups, heads, p.end_row - p.first_row},
             std::min(range.end - range.begin, v.split_keys));
  }
};

}  // namespace

void attention(Stream& stream, Phase phase, Tensor y, Tensor lse, Tensor q, Tensor rows, Tensor pages,
               std::span<const CacheSegment> segments, const CacheShape& cache, const AttentionShape& shape,
               uint32_t depth, Tensor scratch, Tensor table) {
  assert(q.cols == shape.n_heads * cache.head_dim && y.cols == shape.n_heads * cache.v_dim() &&
         q.rows == y.rows * shape.n_queries() && rows.rows >= y.rows);
  assert(shape.n_heads % cache.n_kv_heads == 0 && cache.head_dim % 8 == 0 && cache.v_dim() % 8 == 0 &&
         std::max(cache.head_dim, cache.v_dim()) <= 576 && depth > 0);
  assert(shape.passes.size() <= ATTENTION_PASSES);
  assert(phase == Phase::prefill ||
         std::ranges::none_of(shape.passes, [](const KeyPass& p) { return p.to.kind == EDGE_AHEAD; }));
  assert(!segments.empty() && segments[0].first_position == 0);
  assert(segments.back().first_position + segments.back().n_positions >= depth);
  assert(shape.decay.empty() || (shape.decay.size() == cache.head_dim && shape.decay_depth >= depth));
  if (y.rows == 0) return;
  const AttentionVariant v = variant_of(stream.caps(), phase, cache, shape);
  const Call call{stream,
                  y,
                  lse,
                  q,
                  rows,
                  pages,
                  segments,
                  cache,
                  shape,
                  scratch,
                  table,
                  v,
                  attention_kernel(stream.caps(), v, cache, shape),
                  passes_of(shape),
                  depth};
  if (phase == Phase::prefill) call.prefill();
  else call.decode();
}

uint64_t attention_scratch_bytes(const Caps& caps, Phase phase, uint32_t n_rows, const CacheShape& cache,
                                 const AttentionShape& shape, uint32_t depth) {
  const AttentionVariant v = variant_of(caps, phase, cache, shape);
  const uint32_t n_splits = v.split_keys ? n_splits_of(passes_of(shape), depth, v.split_keys) : 0;
  return std::min(scratch_of(n_rows, n_splits, cache, shape).bytes(),
                  caps.max_binding_bytes / kTensorAlignment * kTensorAlignment);
}

std::vector<KernelSpec> attention_kernels(const Caps& caps, const CacheShape& cache,
                                          const AttentionShape& shape) {
  std::vector<KernelSpec> list;
  for (Phase phase : {Phase::prefill, Phase::decode})
    list.push_back(attention_kernel(caps, choose_attention(caps, phase, cache, shape), cache, shape));
  list.push_back(attention_merge_kernel(caps, shape));
  for (const KernelSpec& spec : attention_coopmat_kernels(caps, cache, shape)) list.push_back(spec);
  return list;
}

}  // namespace spindle
