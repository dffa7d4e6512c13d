// Maps of an AttentionWorld's sequences: what was kept of them, and the reference's probabilities.
#ifndef SPINDLE_SHADERS_ATTENTION_MAP_TEST_H
#define SPINDLE_SHADERS_ATTENTION_MAP_TEST_H
#include <functional>

#include "shaders/attention/attention_test.h"
#include "shaders/attention_map/attention_keep.h"
#include "shaders/attention_map/attention_map.h"

namespace spindle::test {

class MapWorld {
 public:
  AttentionWorld world;
  uint32_t slot;
  double largest_cost = 0;  // of a piece, as a share of what was asked for

  MapWorld(Stream& stream, const CacheShape& cache, const AttentionShape& shape,
           std::vector<uint32_t> lengths, uint32_t a_slot, uint32_t part_positions,
           std::vector<uint32_t> bands = {}, const std::function<void(AttentionWorld&)>& change = {})
      : world(stream, cache, shape, std::move(lengths)), slot(a_slot), stream_(stream), tensors_(stream) {
    if (change) change(world);
    world.lay_out(cache.page_tokens, std::move(bands));
    keep(part_positions);
  }

  uint32_t length() const { return world.lengths[slot]; }
  const MapSource& source() const { return source_; }

  // [queries, n_heads, keys]
  const std::vector<double>& probabilities() {
    if (!p_.empty()) return p_;
    const uint32_t n = length(), heads = world.shape.n_heads;
    p_.resize(size_t{n} * heads * n);
    std::vector<double> y(size_t{n} * heads * world.cache.v_dim());
    std::vector<uint32_t> at(n);
    std::iota(at.begin(), at.end(), 0u);
    reference::Attention a{y, {}, world.q[slot], world.k[slot], world.v[slot], world.k2[slot], at};
    a.p = p_;
    reference::attention(a, world.cache, world.shape);
    return p_;
  }

  std::vector<float> image(const MapImage& m, double piece_cost = 1e9, uint64_t units_bytes = 1 << 20,
                           uint32_t* pieces = nullptr) {
    MapWork work(stream_.caps(), source_, m, piece_cost, units_bytes);
    Tensors t(stream_);
    const Tensor image = t.f32(m.planes(), m.n_lines * m.width);
    const Tensor units = t.u32(1, static_cast<uint32_t>(work.units_bytes() / 4));
    const Tensor list = work.row_list().empty()
                            ? Tensor{}
                            : t.u32(1, static_cast<uint32_t>(work.row_list().size()), work.row_list());
    stream_.fill(image, 0);
    stream_.fill(units, 0x7fc00000);
    while (!work.done()) {
      largest_cost = std::max(largest_cost, work.next(stream_, image, units, list).cost() / piece_cost);
      if (pieces) ++*pieces;
    }
    stream_.run();
    std::vector<float> values = t.read(image);
    for (uint32_t plane = 0; plane < m.planes(); plane++)
      for (uint32_t y = 0; y < m.n_lines; y++)
        for (uint32_t x = 0; x < m.width && m.value == MapValue::sum; x++)
          values[(size_t{plane} * m.n_lines + y) * m.width + x] *=
              static_cast<float>(work.line_scale(m.first_line + y));
    return values;
  }

 private:
  void keep(uint32_t part_positions) {
    const uint32_t n = length(), versions = world.shape.n_queries(), heads = world.shape.n_heads;
    const uint32_t width = heads * world.cache.head_dim;
    const std::vector<float> lse = world.prefill(slot, 512).lse;
    source_.pages = world.pages();
    source_.table = world.table();
    source_.segments = {world.segments().begin(), world.segments().end()};
    source_.slot = slot;
    source_.cache = world.cache;
    source_.shape = world.shape;
    source_.end_query = source_.n_keys = n;
    for (uint32_t first = 0; first < n; first += part_positions)
      source_.parts.push_back(
          {tensors_.f32(versions * part_positions, width), tensors_.f32(part_positions, heads), first});
    // In steps that hold other sequences' rows and rows not in use, across the borders of parts.
    const uint32_t step = n > 4096 ? 1000 : 37;
    for (uint32_t first = 0; first < n; first += step) {
      const uint32_t rows = std::min(step, n - first);
      std::vector<SlotPosition> at = positions(slot, first, rows);
      at.push_back({slot + 1, first});
      at.push_back({slot, first, false});
      Tensors t(stream_);
      std::vector<double> q, some(lse.begin() + first * heads, lse.begin() + (first + rows) * heads);
      for (uint32_t version = 0; version < versions; version++) {
        for (uint32_t i = 0; i < rows; i++) {
          const std::vector<double> row = world.query(at[i], version);
          q.insert(q.end(), row.begin(), row.end());
        }
        q.insert(q.end(), 2 * width, NAN);
      }
      some.insert(some.end(), 2 * heads, NAN);
      const Tensor tq = t.f32((rows + 2) * versions, width, q), tl = t.f32(rows + 2, heads, some);
      const Tensor tr = AttentionWorld::rows(t, at);
      for (const MapSource::Part& part : source_.parts)
        attention_keep(stream_, part.q, part.lse, part.first_position, tq, tl, tr, slot);
      stream_.run();
    }
  }

  Stream& stream_;
  Tensors tensors_;
  MapSource source_;
  std::vector<double> p_;
};

}  // namespace spindle::test
#endif
