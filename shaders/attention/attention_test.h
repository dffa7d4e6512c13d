// A paged cache with several sequences for tests of attention: values exact in f16, everything unused
// poisoned.
#ifndef SPINDLE_SHADERS_ATTENTION_TEST_H
#define SPINDLE_SHADERS_ATTENTION_TEST_H
#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

#include "shaders/attention/attention_coopmat.h"
#include "shaders/attention/cache_append.h"
#include "shaders/matmul/half_rows.h"
#include "tests/compare.h"
#include "tests/device.h"

namespace spindle::test {

struct SlotPosition {
  uint32_t slot, position;
  bool in_use = true;
};

struct Result {
  std::vector<float> y, lse;
  bool halves = false;  // by cooperative matrices
};

inline std::vector<double> rounded_to_f16(std::vector<double> values) {
  for (double& x : values) x = reference::round_to_f16(static_cast<float>(x));
  return values;
}
// As rows of f16 with a scale each.
inline std::vector<double> rounded_rows(const std::vector<double>& x, uint32_t dim) {
  std::vector<float> halves(x.size()), scales(x.size() / dim);
  reference::half_rows(halves, scales, floats(x));
  std::vector<double> values(x.size());
  for (size_t i = 0; i < x.size(); i++) values[i] = double{halves[i]} * scales[i / dim];
  return values;
}

// What unused memory holds: not a number or infinite as whatever a cache reads there, f32, f16 or the f16
// scale of a block.
enum class Poison { nan, infinity };
inline uint32_t poison_word(Poison p, DType type) {
  if (type == DType::f32) return p == Poison::nan ? 0x7fc17e00 : 0x7f800000;
  return p == Poison::nan ? 0x7e007fc1 : 0x7c00fc00;
}

class AttentionWorld {
 public:
  CacheShape cache;
  AttentionShape shape;
  std::vector<uint32_t> lengths;  // of the sequences
  // Per slot: q [versions, positions, heads, head_dim]; k, k2, v [positions, heads, dim] as the cache holds
  // them.
  std::vector<std::vector<double>> q, k, v, k2;
  double largest_cost = 0;  // of a submit of attention

  AttentionWorld(Stream& stream, uint32_t n_heads, uint32_t n_kv_heads, uint32_t head_dim, DType type,
                 std::vector<uint32_t> sequence_lengths)
      : AttentionWorld(stream, CacheShape{n_kv_heads, head_dim, 64, type, type},
                       {n_heads, static_cast<float>(1 / std::sqrt(head_dim))}, std::move(sequence_lengths)) {}

  AttentionWorld(Stream& stream, const CacheShape& cache_shape, const AttentionShape& attention_shape,
                 std::vector<uint32_t> sequence_lengths)
      : cache(cache_shape), shape(attention_shape), lengths(std::move(sequence_lengths)), stream_(stream) {
    for (uint32_t slot = 0; slot < lengths.size(); slot++) {
      const size_t keys = size_t{lengths[slot]} * cache.n_kv_heads;
      q.push_back(random_values(size_t{lengths[slot]} * shape.n_queries() * shape.n_heads * cache.head_dim,
                                slot * 4 + 1));
      k.push_back(values(keys, cache.head_dim, cache.k_type, slot * 4 + 2));
      v.push_back(values(keys, cache.v_dim(), cache.v_type, slot * 4 + 3));
      k2.push_back(shape.n_key_forms() > 1 ? values(keys, cache.head_dim, cache.k_type, slot * 4 + 4)
                                           : std::vector<double>{});
    }
  }

  // Lays the cache out anew; the bands are in positions, the last one is extended to hold every sequence.
  void lay_out(uint32_t page_tokens, std::vector<uint32_t> bands, Poison poison = Poison::nan) {
    cache.page_tokens = page_tokens;
    tensors_.emplace(stream_);
    segments_.clear();
    const uint32_t n_slots = static_cast<uint32_t>(lengths.size());
    const uint32_t longest = round_up(*std::max_element(lengths.begin(), lengths.end()), page_tokens);
    std::vector<uint32_t> table(size_t{n_slots} * (longest / page_tokens), 0x00ffffff);
    uint32_t first = 0;
    for (size_t i = 0; first < longest; i++) {
      const uint32_t n =
          i < bands.size() ? std::min(round_up(bands[i], page_tokens), longest - first) : longest - first;
      const uint32_t n_pages = n / page_tokens * n_slots + 1;
      const uint32_t k_poison = poison_word(poison, cache.k_type);
      CacheSegment s{words(n_pages, cache.k_page_bytes(), k_poison),
                     words(n_pages, cache.v_page_bytes(), poison_word(poison, cache.v_type)), first, n};
      if (shape.n_key_forms() > 1) s.k2 = words(n_pages, cache.k_page_bytes(), k_poison);
      std::vector<uint32_t> pages(n_pages);
      std::iota(pages.begin(), pages.end(), 0);
      std::shuffle(pages.begin(), pages.end(), std::mt19937(7));
      for (uint32_t slot = 0; slot < n_slots; slot++)
        for (uint32_t page = first / page_tokens; page < (first + n) / page_tokens; page++, pages.pop_back())
          if (page * page_tokens < lengths[slot]) table[slot * (longest / page_tokens) + page] = pages.back();
      segments_.push_back(s);
      first += n;
    }
    pages_ = tensors_->u32(n_slots, longest / page_tokens, table);
    const std::vector<uint32_t> numbers = attention_table(shape);
    table_ = numbers.empty() ? Tensor{} : tensors_->u32(1, static_cast<uint32_t>(numbers.size()), numbers);
    append();
  }

  Result run(Phase phase, const std::vector<SlotPosition>& at, uint32_t depth = 0,
             uint64_t scratch_bytes = 0) {
    const uint32_t n = static_cast<uint32_t>(at.size());
    std::vector<double> queries;
    for (uint32_t version = 0; version < shape.n_queries(); version++)
      for (const SlotPosition& a : at) {
        const std::vector<double> row = query(a, version);
        queries.insert(queries.end(), row.begin(), row.end());
        depth = std::max(depth, a.position + 1);
      }
    Tensors t(stream_);
    const Tensor y = t.f32(n, shape.n_heads * cache.v_dim()), lse = t.f32(n, shape.n_heads);
    stream_.fill(y, constant(-77));
    stream_.fill(lse, constant(-77));
    if (!scratch_bytes)
      scratch_bytes = attention_scratch_bytes(stream_.caps(), phase, n, cache, shape, depth);
    const Tensor scratch = t.u32(1, static_cast<uint32_t>(scratch_bytes / 4));
    stream_.fill(scratch, 0x7fc00001);
    const Tensor x = t.f32(n * shape.n_queries(), shape.n_heads * cache.head_dim, queries), r = rows(t, at);
    stream_.run();
    stream_.begin();
    attention(stream_, phase, y, lse, x, r, pages_, segments_, cache, shape, depth, scratch, table_);
    const Recording recording = stream_.end();
    largest_cost = std::max(largest_cost, recording.largest_cost());
    stream_.wait(stream_.submit(recording));
    return {t.read(y), t.read(lse), attention_uses_coopmat(stream_.caps(), phase, cache, shape)};
  }

  // Prompt rows 0 .. of a slot in chunks.
  Result prefill(uint32_t slot, uint32_t chunk, uint64_t scratch_bytes = 0) {
    Result all;
    for (uint32_t at = 0; at < lengths[slot]; at += chunk) {
      std::vector<SlotPosition> some;
      for (uint32_t i = at; i < std::min(lengths[slot], at + chunk); i++) some.push_back({slot, i});
      const Result r = run(Phase::prefill, some, 0, scratch_bytes);
      all.y.insert(all.y.end(), r.y.begin(), r.y.end());
      all.lse.insert(all.lse.end(), r.lse.begin(), r.lse.end());
      all.halves = r.halves;
    }
    return all;
  }

  // Share of the allowed error. exp turns the absolute error of a score into a relative one; the products of
  // a score of normal values add up to 0.64 sqrt(head_dim). A bias adds its own rounding. Cooperative
  // matrices get what they round before: q, keys and values; weights are rounded after, and q once more where
  // it decays.
  double check(const Result& r, const std::vector<SlotPosition>& at, const std::string& what,
               double bias = 0) const {
    const size_t width = shape.n_heads * cache.v_dim();
    double worst = 0;
    const double u = r.halves ? 2 * kF32 : kF32;  // circuits may truncate
    const auto held = [&](const std::vector<std::vector<double>>& slots) {
      std::vector<std::vector<double>> all = slots;
      for (std::vector<double>& one : all)
        if (r.halves) one = rounded_to_f16(one);
      return all;
    };
    const auto ks = held(k), vs = held(v), k2s = held(k2);
    for (size_t i = 0; i < at.size(); i++) {
      const auto [slot, position, in_use] = at[i];
      std::vector<double> y(width, -77), lse(shape.n_heads, -77), magnitude(width, 1);
      const double scores = 1 + 0.64 * std::sqrt(cache.head_dim) + bias,
                   share = scores * (tolerance(cache.head_dim + position, u) +
                                     (r.halves && !shape.decay.empty() ? 2 * kF16 : 0));
      if (in_use) {
        std::vector<double> queries;
        for (uint32_t version = 0; version < shape.n_queries(); version++) {
          const std::vector<double> row = query(at[i], version);
          queries.insert(queries.end(), row.begin(), row.end());
        }
        if (r.halves) queries = rounded_rows(queries, cache.head_dim);
        std::vector<double> positive(vs[slot]);
        for (double& x : positive) x = std::abs(x);
        reference::attention({y, lse, queries, ks[slot], vs[slot], k2s[slot], {&position, 1}}, cache, shape);
        reference::attention({magnitude, {}, queries, ks[slot], positive, k2s[slot], {&position, 1}}, cache,
                             shape);
      }
      // Weights below 2^-29 (they are scaled by 2^15) may be taken for 0.
      if (r.halves)
        for (double& x : magnitude) x += 0x1p-29 / kF16 * (position + 1);
      const std::string where = fmt::format("{} slot {} position {}", what, slot, position);
      worst = std::max(worst, check_close(std::span(r.y).subspan(i * width, width), y,
                                          share + (r.halves ? kF16 : 0), magnitude, where)
                                  .share());
      check_close(std::span(r.lse).subspan(i * shape.n_heads, shape.n_heads), lse, share,
                  std::vector<double>{1}, where + " lse");
    }
    return worst;
  }

  std::vector<double> query(const SlotPosition& a, uint32_t version = 0) const {
    const size_t width = size_t{shape.n_heads} * cache.head_dim;
    const auto at = q[a.slot].begin() +
                    static_cast<std::ptrdiff_t>((size_t{version} * lengths[a.slot] + a.position) * width);
    return {at, at + static_cast<std::ptrdiff_t>(width)};
  }
  Tensor table() const { return table_; }
  Tensor pages() const { return pages_; }
  std::span<const CacheSegment> segments() const { return segments_; }
  static Tensor rows(Tensors& t, const std::vector<SlotPosition>& at) {
    std::vector<uint32_t> r;
    for (const SlotPosition& a : at) r.insert(r.end(), {0, a.slot, a.position, a.in_use ? 1u : 0u});
    return t.u32(static_cast<uint32_t>(at.size()), 4, r);
  }

 private:
  // Values that the cache can hold: what the encoder makes of random ones, in the case of a quantised type.
  static std::vector<double> values(size_t rows, uint32_t dim, DType type, uint32_t seed) {
    std::vector<double> values = random_values(rows * dim, seed);
    for (double& x : values) x = std::round(x * 128) / 128;
    if (info(type).block_elements == 1) return values;
    for (size_t row = 0; row < rows; row++)
      for (uint32_t at = 0; at < dim; at += 32) {
        const std::span<double> part = std::span(values).subspan(row * dim + at, std::min(32u, dim - at));
        const std::vector<float> floats(part.begin(), part.end());
        reference::decode(part, type, reference::cache_block(type, floats));
        // A second time is the same: the extreme element decides the scale again.
        const std::vector<float> again(part.begin(), part.end());
        reference::decode(part, type, reference::cache_block(type, again));
      }
    return values;
  }
  Tensor words(uint32_t n_pages, uint64_t page_bytes, uint32_t poison) {
    const Tensor t = tensors_->u32(n_pages, static_cast<uint32_t>(page_bytes / 4));
    stream_.fill(t, poison);
    return t;
  }

  void append() {
    std::vector<SlotPosition> at;
    for (uint32_t slot = 0; slot < lengths.size(); slot++)
      for (uint32_t i = 0; i < lengths[slot]; i++) at.push_back({slot, i});
    std::shuffle(at.begin(), at.end(), std::mt19937(5));
    const auto gather = [&](const std::vector<std::vector<double>>& from, uint32_t dim) {
      const size_t width = size_t{cache.n_kv_heads} * dim;
      std::vector<double> all;
      for (const SlotPosition& a : at) {
        const auto row = from[a.slot].begin() + static_cast<std::ptrdiff_t>(a.position * width);
        all.insert(all.end(), row, row + static_cast<std::ptrdiff_t>(width));
      }
      return all;
    };
    Tensors t(stream_);
    const uint32_t n = static_cast<uint32_t>(at.size()), cols = cache.n_kv_heads * cache.head_dim;
    const Tensor values = t.f32(n, cache.n_kv_heads * cache.v_dim(), gather(v, cache.v_dim())),
                 in_use = rows(t, at);
    cache_append(stream_, segments_, cache, t.f32(n, cols, gather(k, cache.head_dim)), values, in_use,
                 pages_);
    if (shape.n_key_forms() > 1) {  // the second form is any other matrix here
      std::vector<CacheSegment> second = segments_;
      for (CacheSegment& s : second) s.k = s.k2;
      cache_append(stream_, second, cache, t.f32(n, cols, gather(k2, cache.head_dim)), values, in_use,
                   pages_);
    }
    stream_.run();
  }

  Stream& stream_;
  std::optional<Tensors> tensors_;
  std::vector<CacheSegment> segments_;
  Tensor pages_, table_;
};

inline std::vector<SlotPosition> positions(uint32_t slot, uint32_t first, uint32_t count) {
  std::vector<SlotPosition> at;
  for (uint32_t i = 0; i < count; i++) at.push_back({slot, first + i});
  return at;
}

}  // namespace spindle::test
#endif
