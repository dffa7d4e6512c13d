// Flash attention: choice of variant, division of the keys and rows into dispatches, and reference.
#include "shaders/attention/attention.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cmath>

namespace spindle {
namespace {

constexpr uint32_t kCode[] =
#include "shaders/attention/attention.comp.inc"
    ;
constexpr uint32_t kPlainCode[] =
#include "shaders/attention/attention_plain.comp.inc"
    ;
constexpr uint32_t kMergeCode[] =
#include "shaders/attention/attention_merge.comp.inc"
    ;
constexpr Program kShuffle{"attention", kCode}, kPlain{"attention_plain", kPlainCode},
    kMerge{"attention_merge", kMergeCode};

// The constants of attention.glsl, chosen by device and model, never by the number of rows or keys.
struct Variant {
  uint32_t lanes, span, rows, keys, unroll, split_keys;
  uint32_t clusters() const { return lanes / span; }
};

Variant choose(const Caps& caps, Phase phase, const CacheShape& cache, const AttentionShape& shape) {
  const uint32_t group = shape.n_heads / cache.n_kv_heads, chunks = cache.head_dim / 8;
  const bool decode = phase == Phase::decode;
  Variant v;
  v.split_keys = decode ? (caps.software ? 256 : 128) : 0;
  v.lanes = std::max(caps.software ? caps.subgroup_size : decode ? 64 : 128, caps.max_subgroup_size);
  v.unroll = 1;
  if (!caps.known_subgroups()) {
    v.span = v.rows = 1;
    v.keys = 4;
    return v;
  }
  // A lane holds 8 floats of q and 8 of the output for each of its rows * chunks. Lavapipe keeps them in the
  // L1 cache: measured. Others are given what Mesa's compilers keep in registers (RADV: 132 on gfx1100, ANV:
  // 128 of 8 lanes).
  v.span = std::min(std::bit_ceil(chunks), std::bit_floor(std::min(caps.min_subgroup_size, 16u)));
  v.keys = std::max(v.span, 8u);
  const uint32_t own = ceil_div(chunks, v.span);
  if (caps.software) {
    v.rows = std::min(decode ? group : 8, std::max(1u, 16 / std::max(own, v.keys / v.span)));
  } else {
    const bool narrow = caps.min_subgroup_size <= 8;
    v.rows = std::min({decode ? group : 4, narrow ? 2u : 4u, std::max(1u, 4 / own)});
    v.unroll = narrow ? 1 : std::min(v.span, 2u);
  }
  return v;
}

KernelSpec kernel(const Caps& caps, const Variant& v, const CacheShape& cache) {
  return {caps.known_subgroups() ? &kShuffle : &kPlain,
          {v.lanes, v.span, v.rows, v.keys, v.unroll, cache.head_dim, static_cast<uint32_t>(cache.k_type),
           static_cast<uint32_t>(cache.v_type), v.split_keys}};
}

KernelSpec merge_kernel(const Caps& caps) { return {&kMerge, {caps.software ? caps.subgroup_size : 64}}; }

// Scratch of a group of rows: sums, then (m, l) pairs. n_splits is 0 in prefill, where a row has one state.
struct Scratch {
  uint64_t sums_bytes = 0, states_bytes = 0;
  uint64_t bytes() const { return sums_bytes + states_bytes; }
  uint32_t first_state() const { return static_cast<uint32_t>(sums_bytes / 8); }
};

Scratch scratch_of(uint64_t n_rows, uint64_t n_splits, const CacheShape& cache, const AttentionShape& shape) {
  const uint64_t states = n_rows * shape.n_heads;
  return {states * std::max(n_splits, uint64_t{1}) * cache.head_dim * 4,
          states * (n_splits ? n_splits + 2 : 1) * 8};
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

struct Call {
  Stream& stream;
  Tensor y, lse, q, rows, pages;
  std::span<const CacheSegment> segments;
  const CacheShape& cache;
  const AttentionShape& shape;
  Tensor scratch;
  Variant v;
  KernelSpec spec;

  uint32_t group() const { return shape.n_heads / cache.n_kv_heads; }
  double key_bytes() const {
    return static_cast<double>(bytes_of(cache.k_type, cache.head_dim) +
                               bytes_of(cache.v_type, cache.head_dim));
  }
  double state_bytes() const { return 4.0 * (cache.head_dim + 2); }

  // What n workgroups do with n_keys keys each, where `sharing` of them read the same keys.
  Work work(double n, double n_keys, double sharing = 1) const {
    const double n_parts = v.split_keys ? v.clusters() : 1, n_rows = v.rows * v.clusters() / n_parts;
    const double row_bytes = 2 * state_bytes() + 4.0 * cache.head_dim;
    return {n * n_parts * 4 * n_rows * n_keys * cache.head_dim,
            n * n_parts * (n_keys * key_bytes() / sharing + n_rows * row_bytes)};
  }

  // Cuts the keys first .. end - 1 at the borders of the segments and at multiples of what one workgroup may
  // cost.
  std::vector<Range> ranges(uint32_t first, uint32_t end) const {
    // llvmpipe ends every loop of an invocation after 65,535 iterations, silently; a key takes about two.
    const uint32_t most_keys = v.split_keys ? v.split_keys : stream.caps().software ? 8192 : 1u << 31;
    uint32_t piece = 16;
    while (piece < most_keys && work(1, 2.0 * piece).cost() <= stream.device().cost_bound()) piece *= 2;
    if (v.split_keys && piece >= v.split_keys) piece = 1u << 31;
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

  void dispatch(const Range& range, AttentionParameters p, const Scratch& layout, Grid grid) const {
    p.begin = range.begin;
    p.end = range.end;
    p.first_state = layout.first_state();
    const double keys = std::min(range.end - range.begin, v.split_keys ? v.split_keys : range.end);
    stream.dispatch(spec, {y, lse, q, rows, pages, range.segment->k, range.segment->v, part(layout)}, p, grid,
                    work(double{1} * grid.x * grid.y * grid.z, keys, v.split_keys ? 1 : grid.x));
  }

  Tensor part(const Scratch& layout) const {
    if (layout.bytes() == 0) return {};
    return {*scratch.buffer, DType::u32, 1, static_cast<uint32_t>(layout.bytes() / 4), scratch.offset_bytes};
  }

  AttentionParameters parameters(uint32_t first_row, uint32_t end_row) const {
    return {first_row, end_row, shape.n_heads, cache.n_kv_heads, cache.page_tokens, pages.cols, 0, 0, 0,
            0,         0,       shape.scale,   lse ? 1u : 0u};
  }

  void prefill(uint32_t depth) const {
    const std::vector<Range> list = ranges(0, depth);
    const bool carries = list.size() > 1;
    const auto layout = [&](uint32_t n) { return carries ? scratch_of(n, 0, cache, shape) : Scratch{}; };
    const uint32_t at_once =
        most_that_fits(q.rows, scratch ? scratch.bytes() : 0, [&](uint32_t n) { return layout(n).bytes(); });
    require(at_once > 0, "attention: {} bytes of scratch are too few for one row",
            scratch ? scratch.bytes() : 0);
    for (uint32_t first = 0; first < q.rows; first += at_once) {
      const uint32_t end = std::min(q.rows, first + at_once);
      const uint32_t tiles = ceil_div((end - first) * group(), v.clusters() * v.rows);
      for (const Range& range : list)
        dispatch(range, parameters(first, end), layout(end - first), {tiles, cache.n_kv_heads});
    }
  }

  void decode(uint32_t depth) const {
    const uint32_t n_splits = ceil_div(depth, v.split_keys), head_blocks = ceil_div(group(), v.rows);
    const uint64_t available = scratch ? scratch.bytes() : 0;
    const auto layout = [&](uint32_t n, uint32_t splits) { return scratch_of(n, splits, cache, shape); };
    if (n_splits == 1 && ranges(0, depth).size() == 1) {
      dispatch(ranges(0, depth)[0], parameters(0, q.rows), Scratch{},
               {1, cache.n_kv_heads * head_blocks, q.rows});
      return;
    }
    // As many rows as have a place for all their splits, else one row and as many splits as have one.
    uint32_t window = n_splits;
    uint32_t at_once =
        most_that_fits(q.rows, available, [&](uint32_t n) { return layout(n, n_splits).bytes(); });
    if (at_once == 0) {
      at_once = 1;
      window = most_that_fits(n_splits, available, [&](uint32_t n) { return layout(1, n).bytes(); });
    }
    require(window > 0, "attention: {} bytes of scratch are too few for one row", available);
    for (uint32_t first = 0; first < q.rows; first += at_once)
      for (uint32_t split = 0; split < n_splits; split += window)
        window_of_splits(first, std::min(q.rows, first + at_once), split, window, head_blocks, depth);
  }

  void window_of_splits(uint32_t first, uint32_t end, uint32_t split, uint32_t window, uint32_t head_blocks,
                        uint32_t depth) const {
    const Scratch layout = scratch_of(end - first, window, cache, shape);
    AttentionParameters p = parameters(first, end);
    p.first_split = split;
    p.n_splits = window;
    for (const Range& range :
         ranges(split * v.split_keys, std::min(depth, (split + window) * v.split_keys))) {
      const uint32_t splits = (range.end - 1) / v.split_keys - range.begin / v.split_keys + 1;
      dispatch(range, p, layout,
               {ceil_div(splits, v.clusters()), cache.n_kv_heads * head_blocks, end - first});
    }
    const AttentionMergeParameters m{first,  end,          shape.n_heads,        cache.head_dim, split,
                                     window, v.split_keys, layout.first_state(), p.write_lse};
    const KernelSpec merge = merge_kernel(stream.caps());
    const double elements = double{1} * (end - first) * shape.n_heads * cache.head_dim;
    const Work work{4 * elements * window, 4 * elements * (window + 2)};
    stream.dispatch(merge, {y, lse, rows, part(layout)}, m,
                    {ceil_div((end - first) * shape.n_heads * (cache.head_dim / 4), merge.constants[0])},
                    work);
  }
};

}  // namespace

void attention(Stream& stream, Phase phase, Tensor y, Tensor lse, Tensor q, Tensor rows, Tensor pages,
               std::span<const CacheSegment> segments, const CacheShape& cache, const AttentionShape& shape,
               uint32_t depth, Tensor scratch) {
  assert(q.cols == shape.n_heads * cache.head_dim && y.cols == q.cols && y.rows == q.rows &&
         rows.rows >= q.rows);
  assert(shape.n_heads % cache.n_kv_heads == 0 && cache.head_dim % 8 == 0 && cache.head_dim <= 256 &&
         depth > 0);
  assert(!segments.empty() && segments[0].first_position == 0);
  assert(segments.back().first_position + segments.back().n_positions >= depth);
  if (q.rows == 0) return;
  const Variant v = choose(stream.caps(), phase, cache, shape);
  const Call call{stream,   y,     lse,   q,       rows, pages,
                  segments, cache, shape, scratch, v,    kernel(stream.caps(), v, cache)};
  if (phase == Phase::prefill) call.prefill(depth);
  else call.decode(depth);
}

uint64_t attention_scratch_bytes(const Caps& caps, Phase phase, uint32_t n_rows, const CacheShape& cache,
                                 const AttentionShape& shape, uint32_t depth) {
  const Variant v = choose(caps, phase, cache, shape);
  const uint32_t n_splits = v.split_keys ? ceil_div(depth, v.split_keys) : 0;
  return std::min(scratch_of(n_rows, n_splits, cache, shape).bytes(),
                  caps.max_binding_bytes / kTensorAlignment * kTensorAlignment);
}

std::vector<KernelSpec> attention_kernels(const Caps& caps, const CacheShape& cache,
                                          const AttentionShape& shape) {
  return {kernel(caps, choose(caps, Phase::prefill, cache, shape), cache),
          kernel(caps, choose(caps, Phase::decode, cache, shape), cache), merge_kernel(caps)};
}

void reference::attention(std::span<double> y, std::span<double> lse, std::span<const double> q,
                          std::span<const double> k, std::span<const double> v,
                          std::span<const uint32_t> positions, const CacheShape& cache,
                          const AttentionShape& shape) {
  const size_t d = cache.head_dim, group = shape.n_heads / cache.n_kv_heads;
  for (size_t row = 0; row < positions.size(); row++)
    for (size_t head = 0; head < shape.n_heads; head++) {
      const size_t n_keys = positions[row] + size_t{1}, at = row * shape.n_heads + head;
      std::vector<double> scores(n_keys);
      const auto key = [&](size_t j) { return (j * cache.n_kv_heads + head / group) * d; };
      for (size_t j = 0; j < n_keys; j++) {
        for (size_t i = 0; i < d; i++) scores[j] += q[at * d + i] * k[key(j) + i];
        scores[j] *= shape.scale;
      }
      const double largest = *std::max_element(scores.begin(), scores.end());
      double total = 0;
      for (double s : scores) total += std::exp(s - largest);
      std::fill_n(y.begin() + static_cast<std::ptrdiff_t>(at * d), d, 0.0);
      for (size_t j = 0; j < n_keys; j++)
        for (size_t i = 0; i < d; i++) y[at * d + i] += std::exp(scores[j] - largest) / total * v[key(j) + i];
      if (!lse.empty()) lse[at] = largest + std::log(total);
    }
}

}  // namespace spindle
