// Attention maps: division of an image into runs of rows and columns, and their dispatches.
#include "shaders/attention_map/attention_map.h"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "runtime/error.h"
#include "shaders/attention/attention_variant.h"

namespace spindle {
namespace {

constexpr uint32_t kCode[] =
#include "shaders/attention_map/attention_map.comp.inc"
    ;
constexpr uint32_t kPlainCode[] =
#include "shaders/attention_map/attention_map_plain.comp.inc"
    ;
constexpr uint32_t kPoolCode[] =
#include "shaders/attention_map/attention_map_pool.comp.inc"
    ;
constexpr Program kShuffle{"attention_map", kCode}, kPlain{"attention_map_plain", kPlainCode},
    kPool{"attention_map_pool", kPoolCode};

// Cells of fewer keys are pooled from single keys; units have at most so many; so many keys of a workgroup
// that writes single ones.
constexpr uint32_t kNarrow = 16, kUnitKeys = 1024, kGroupKeys = 64;
// llvmpipe ends every loop of an invocation after 65,535 iterations, silently.
constexpr uint32_t kMostIterations = 30000;

struct Tile {
  AttentionVariant v;
  uint32_t rows() const { return v.clusters() * v.rows; }
};
Tile tile_of(const Caps& caps, const CacheShape& cache, const AttentionShape& shape) {
  CacheShape keys = cache;
  keys.value_dim = 0;
  AttentionShape one_head = shape;
  one_head.n_heads = cache.n_kv_heads;
  return {choose_attention(caps, Phase::prefill, keys, one_head)};
}

KernelSpec map_kernel(const Caps& caps, const CacheShape& cache, const AttentionShape& s, MapValue value,
                      bool per_key, uint32_t blocks, bool listed_rows) {
  const AttentionVariant v = tile_of(caps, cache, s).v;
  std::vector<uint32_t> constants = {v.lanes,
                                     v.span,
                                     v.rows,
                                     v.keys,
                                     v.unroll,
                                     static_cast<uint32_t>(value),
                                     per_key ? 1u : 0u,
                                     blocks,
                                     listed_rows ? 1u : 0u,
                                     cache.head_dim,
                                     static_cast<uint32_t>(cache.k_type),
                                     cache.ring_first,
                                     cache.ring_pages,
                                     attention_features(s) & ~ATTENTION_SINKS,  // they are in the log-sum-exp
                                     std::max(1u, static_cast<uint32_t>(s.passes.size())),
                                     s.n_key_forms(),
                                     constant(s.scale)};
  const std::vector<uint32_t> score = score_constants(s, cache.head_dim);
  constants.insert(constants.end(), score.begin(), score.end());
  return {v.span > 1 || caps.known_subgroups() ? &kShuffle : &kPlain, std::move(constants)};
}

KernelSpec pool_kernel(const Caps& caps, bool shared_cells, MapValue value) {
  const uint32_t lanes = caps.software ? caps.subgroup_size : 64;
  return {&kPool, {lanes, shared_cells ? lanes : 1, value == MapValue::max ? MAP_MAX : MAP_SUM}};
}

AttentionMapParameters parameters_of(const MapSource& s, const MapSource::Part& part) {
  AttentionMapParameters p{};
  p.first_position = part.first_position;
  p.part_rows = part.n_positions();
  p.n_heads = s.shape.n_heads;
  p.n_kv_heads = s.cache.n_kv_heads;
  p.page_tokens = s.cache.page_tokens;
  p.pages_per_slot = s.slot * s.pages.cols;
  for (size_t i = 0; i < s.shape.passes.size(); i++) p.passes[i] = s.shape.passes[i].pack();
  if (s.shape.passes.empty()) p.passes[0] = KeyPass{}.pack();
  return p;
}

double key_bytes(const CacheShape& cache) {
  return 4.0 * static_cast<double>(cache_row_words(cache.k_type, cache.head_dim));
}

// What `rows` of so many heads need of `keys` keys, one version of q a row, and a value for each of n_values.
Work map_work(const MapSource& s, double n_heads, double rows, double keys, double n_values) {
  return {2 * n_heads * rows * keys * s.cache.head_dim,
          n_heads * (keys * key_bytes(s.cache) + rows * 4.0 * (s.cache.head_dim + 1) + rows * n_values * 4)};
}

bool sees_ahead(const AttentionShape& s) {
  return std::ranges::any_of(s.passes, [](const KeyPass& p) { return p.to.kind == EDGE_AHEAD; });
}

uint32_t at_least_one(double x) { return static_cast<uint32_t>(std::clamp(x, 1.0, 1e9)); }

}  // namespace

MapWork::MapWork(const Caps& caps, MapSource source, const MapImage& image, double piece_cost,
                 uint64_t units_bytes)
    : caps_(caps), source_(std::move(source)), image_(image) {
  const MapImage& m = image_;
  const bool statistics = m.value == MapValue::statistics;
  assert(m.value != MapValue::score && m.n_heads > 0 && m.first_head + m.n_heads <= source_.shape.n_heads);
  assert(m.width >= 1 && m.width <= m.n_keys && m.height >= 1 && m.height <= m.n_queries && m.n_lines >= 1);
  assert(m.first_line + m.n_lines <= m.height && (!statistics || (m.width == 1 && m.samples == 0)));
  assert((m.width <= kMapMostCells || m.width == m.n_keys) &&
         (m.height <= kMapMostCells || m.height == m.n_queries));
  const Tile tile = tile_of(caps, source_.cache, source_.shape);
  const double width = double{1} * m.n_keys / m.width;
  per_key_ = !statistics && m.n_keys / m.width < kNarrow;
  n_units_ = m.n_keys;
  if (statistics) n_units_ = ceil_div(m.n_keys, kUnitKeys);
  else if (!per_key_)
    n_units_ =
        m.width * (m.samples > 0 ? 1 : std::clamp(m.n_keys / m.width / kUnitKeys + 1, 1u, 65535 / m.width));

  // Sampled: some rows of each line, some blocks of keys of each unit.
  n_rows_ = m.n_queries;
  double keys = width;  // of a column that are looked at
  if (m.samples > 0) {
    if (!per_key_) {
      blocks_ = std::max(1u, at_least_one(std::sqrt(m.samples)) / tile.v.keys);
      keys = std::min<double>(keys, blocks_ * tile.v.keys);
    }
    const uint32_t wanted = std::max(1u, m.samples / at_least_one(keys));
    if (m.n_queries / m.height > wanted) {
      sampled_rows_ = wanted;
      n_rows_ = m.height * wanted;
      for (uint32_t line = 0; line < m.height; line++)
        for (uint32_t i = 0; i < wanted; i++) {
          const auto from = uint64_t{line} * m.n_queries / m.height;
          const auto n = (uint64_t{line} + 1) * m.n_queries / m.height - from;
          const auto low = i * n / wanted, high = (i + 1) * n / wanted;
          // The last row of a line is one of them: it sees the diagonal's cell to its end.
          const auto at =
              i + 1 == wanted ? n - 1 : low + pass_hash(line * 64 + i) % std::max<uint64_t>(high - low, 1);
          list_.push_back(m.first_query + static_cast<uint32_t>(from + at));
        }
    }
  }

  const double units = static_cast<double>(n_units_) / m.width;  // of a column
  // What pieces state as their work: a key (read once), a key of a row, a unit of a row (written and read), a
  // row.
  const double key_cost = 16 * key_bytes(source_.cache), pair_cost = 2.0 * source_.cache.head_dim,
               unit_cost = 130, row_cost = 64.0 * (source_.cache.head_dim + 1);
  const double allowed = piece_cost / m.n_heads, words = static_cast<double>(units_bytes) / 4 / m.planes();
  const double least = std::min<double>(tile.rows(), n_rows_), of_row = keys * pair_cost + units * unit_cost;
  run_columns_ = std::min(
      m.width, at_least_one(std::min((allowed - least * row_cost) / (keys * key_cost + least * of_row),
                                     words / (least * units))));
  run_units_ = static_cast<uint32_t>(std::min<double>(std::ceil(units * run_columns_) + 1, n_units_));
  const uint32_t lanes = pool_kernel(caps, true, m.value).constants[1];
  run_rows_ = at_least_one(std::min(
      {(allowed - run_columns_ * keys * key_cost) / (run_columns_ * of_row + row_cost), words / run_units_,
       static_cast<double>(kMostIterations) * lanes / std::max(units, 1.0), static_cast<double>(n_rows_)}));
  require(words >= run_units_, "attention map: {} bytes for units are too few for one row of {}", units_bytes,
          run_units_);
  const uint32_t most_rows = n_rows_ / m.height + 1;  // of a line
  run_lines_ = std::max(1u, run_rows_ / most_rows);
  run_rows_ = std::min(run_rows_, run_lines_ * most_rows);
  line_ = m.first_line;
  end_line_ = m.first_line + m.n_lines;
}

uint32_t MapWork::line_begin(uint32_t line) const {
  return static_cast<uint32_t>(uint64_t{line} * n_rows_ / image_.height);
}
uint32_t MapWork::unit_begin(uint32_t column) const {
  return static_cast<uint32_t>(uint64_t{column} * n_units_ / image_.width);
}
uint32_t MapWork::unit_key(uint32_t unit) const {
  if (per_key_) return unit;
  if (image_.value == MapValue::statistics) return std::min(unit * kUnitKeys, image_.n_keys);
  return static_cast<uint32_t>(uint64_t{unit} * image_.n_keys / n_units_);
}

double MapWork::progress() const {
  const double lines = static_cast<double>(line_ - image_.first_line),
               run = std::min(run_lines_, end_line_ - line_);
  return done() ? 1 : (lines + run * column_ / image_.width) / image_.n_lines;
}

double MapWork::line_scale(uint32_t line) const {
  if (sampled_rows_ == 0) return 1;
  const auto begin = [&](uint64_t i) { return i * image_.n_queries / image_.height; };
  return static_cast<double>(begin(line + uint64_t{1}) - begin(line)) / sampled_rows_;
}

Work MapWork::next(Stream& stream, Tensor image, Tensor units, Tensor rows) {
  Work work;
  while (!done() && work.operations == 0) {
    const uint32_t last = std::min(line_ + run_lines_, end_line_), begin = line_begin(line_),
                   end = line_begin(last);
    const uint32_t row = begin + row_, end_row = std::min(row + run_rows_, end);
    const uint32_t column = column_, end_column = std::min(column + run_columns_, image_.width);
    work += piece(stream, row, end_row, column, end_column, image, units, rows);
    column_ = end_column;
    if (column_ < image_.width) continue;
    column_ = 0;
    row_ += end_row - row;
    if (end_row < end) continue;
    row_ = 0;
    line_ = last;
  }
  return work;
}

Work MapWork::piece(Stream& stream, uint32_t row, uint32_t end_row, uint32_t column, uint32_t end_column,
                    Tensor image, Tensor units, Tensor rows) const {
  const MapImage& m = image_;
  const Tile tile = tile_of(caps_, source_.cache, source_.shape);
  const KernelSpec spec =
      map_kernel(caps_, source_.cache, source_.shape, m.value, per_key_, blocks_, sampled_rows_ > 0);
  const uint32_t unit = unit_begin(column), end_unit = unit_begin(end_column), planes = m.planes();
  const auto position = [&](uint32_t r) { return sampled_rows_ ? list_[r] : m.first_query + r; };
  const bool ahead = sees_ahead(source_.shape);
  Work all;
  for (const MapSource::Part& part : source_.parts) {
    const uint32_t low = std::max(part.first_position, source_.first_query),
                   high = std::min(part.first_position + part.n_positions(), source_.end_query);
    uint32_t r0 = row, r1 = end_row;  // rows of this part
    if (sampled_rows_ == 0) {
      r0 = std::max(r0, low > m.first_query ? low - m.first_query : 0);
      r1 = std::min(r1, high > m.first_query ? high - m.first_query : 0);
    } else {
      while (r0 < r1 && list_[r0] < low) r0++;
      while (r1 > r0 && list_[r1 - 1] >= high) r1--;
    }
    if (r0 >= r1) continue;
    const uint32_t seen = ahead ? source_.n_keys : std::min(source_.n_keys, position(r1 - 1) + 1);
    for (const CacheSegment& s : source_.segments) {
      const uint32_t k0 = std::max({s.first_position, m.first_key + unit_key(unit), m.hidden_keys}),
                     k1 =
                         std::min({s.first_position + s.n_positions, m.first_key + unit_key(end_unit), seen});
      if (k0 >= k1) continue;
      AttentionMapParameters p = parameters_of(source_, part);
      const uint32_t shift = m.first_query - part.first_position;  // wraps: rows of the part are not negative
      p.first_row = sampled_rows_ ? r0 : r0 + shift;
      p.end_row = sampled_rows_ ? r1 : r1 + shift;
      p.first_head = m.first_head;
      p.begin = k0, p.end = k1;
      uint32_t u0 = unit, u1 = end_unit;  // those that are written
      Grid grid{1, ceil_div(r1 - r0, tile.rows()), m.n_heads};
      if (per_key_) {
        u0 = k0 - m.first_key, u1 = k1 - m.first_key;
        p.first_key = k0, p.quotient = kGroupKeys, p.units = 1;
        grid.x = ceil_div(k1 - k0, kGroupKeys);
      } else {
        while (m.first_key + unit_key(u0 + 1) <= k0) u0++;
        while (m.first_key + unit_key(u1 - 1) >= k1) u1--;
        p.first_key = m.first_key;
        p.first_unit = u0;
        const bool statistics = m.value == MapValue::statistics;
        p.quotient = statistics ? kUnitKeys : m.n_keys / n_units_;
        p.rest = statistics ? m.n_sinks : m.n_keys % n_units_;
        p.units = statistics ? m.window : n_units_;
        grid.x = u1 - u0;
      }
      p.n_units = u1 - u0;
      const double share =
          blocks_ ? std::min(1.0, double{1} * blocks_ * tile.v.keys * p.n_units / (k1 - k0)) : 1;
      const Work work = map_work(source_, m.n_heads, r1 - r0, share * (k1 - k0), p.n_units);
      stream.dispatch(spec, {units, part.lse, part.q, rows, source_.pages, s.k, {}, source_.table, s.k2}, p,
                      grid, work);
      all += work;

      AttentionMapPoolParameters q{};
      q.row = r0, q.n_rows = r1 - r0, q.unit = u0, q.n_units = u1 - u0;
      q.line_quotient = n_rows_ / m.height, q.line_rest = n_rows_ % m.height, q.n_lines = m.height;
      q.column_quotient = n_units_ / m.width, q.column_rest = n_units_ % m.width, q.n_columns = m.width;
      const auto cell_of = [](uint32_t at, uint32_t n, uint32_t cells) {  // that holds row or unit `at`
        return static_cast<uint32_t>(((uint64_t{at} + 1) * cells - 1) / n);
      };
      q.first_line = cell_of(r0, n_rows_, m.height), q.end_line = cell_of(r1 - 1, n_rows_, m.height) + 1;
      q.first_column = cell_of(u0, n_units_, m.width), q.end_column = cell_of(u1 - 1, n_units_, m.width) + 1;
      q.image_line = m.first_line, q.image_lines = m.n_lines;
      const uint32_t cells = (q.end_line - q.first_line) * (q.end_column - q.first_column);
      const double values = double{1} * planes * q.n_rows * q.n_units;
      const bool shared_cells = values / planes / cells >= 32;
      const KernelSpec pool = pool_kernel(caps_, shared_cells, m.value);
      const Work pooling{values, 4 * values + 8.0 * planes * cells};
      stream.dispatch(pool, {image, units}, q,
                      {ceil_div(cells, pool.constants[0] / pool.constants[1]), 1, planes}, pooling);
      all += pooling;
    }
  }
  return all;
}

void attention_map_row(Stream& stream, Tensor values, const MapSource& source, MapValue value, uint32_t head,
                       uint32_t query) {
  assert(value == MapValue::sum || value == MapValue::score);
  assert(query >= source.first_query && query < source.end_query && values.elements() >= source.n_keys);
  const KernelSpec spec = map_kernel(stream.caps(), source.cache, source.shape, value, true, 0, false);
  for (const MapSource::Part& part : source.parts) {
    if (query < part.first_position || query - part.first_position >= part.n_positions()) continue;
    for (const CacheSegment& s : source.segments) {
      AttentionMapParameters p = parameters_of(source, part);
      p.first_row = query - part.first_position;
      p.end_row = p.first_row + 1;
      p.first_head = head;
      p.begin = s.first_position;
      p.end = std::min(s.first_position + s.n_positions, source.n_keys);
      if (p.begin >= p.end) continue;
      p.quotient = kGroupKeys, p.units = 1;
      p.first_unit = p.begin / kGroupKeys;
      p.n_units = source.n_keys;
      stream.dispatch(spec, {values, part.lse, part.q, {}, source.pages, s.k, {}, source.table, s.k2}, p,
                      {ceil_div(p.end, kGroupKeys) - p.first_unit},
                      map_work(source, 1, 1, p.end - p.begin, p.end - p.begin));
    }
  }
}

std::vector<KernelSpec> attention_map_kernels(const Caps& caps, const CacheShape& cache,
                                              const AttentionShape& shape) {
  std::vector<KernelSpec> list;
  for (MapValue value : {MapValue::max, MapValue::sum, MapValue::statistics})
    list.push_back(map_kernel(caps, cache, shape, value, false, 0, false));
  list.push_back(map_kernel(caps, cache, shape, MapValue::max, true, 0, false));
  list.push_back(map_kernel(caps, cache, shape, MapValue::score, true, 0, false));
  list.push_back(map_kernel(caps, cache, shape, MapValue::max, false, 1, true));
  for (bool shared_cells : {false, true})
    for (MapValue value : {MapValue::max, MapValue::sum})
      list.push_back(pool_kernel(caps, shared_cells, value));
  return list;
}

}  // namespace spindle
