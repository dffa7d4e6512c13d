// Any part of any attention map, in as many cells as a picture has: probabilities exp(score - log-sum-exp) of
// queries and keys, pooled. Nothing of size queries x keys is kept.
#ifndef SPINDLE_SHADERS_ATTENTION_MAP_H
#define SPINDLE_SHADERS_ATTENTION_MAP_H
#include "shaders/attention/ranges.h"
#ifdef __cplusplus
#include "shaders/attention/attention.h"
namespace spindle {
#endif

#define MAP_MAX 0u
#define MAP_SUM 1u
#define MAP_STATISTICS \
  2u                  // sums of p: 1, -ln p, distance, of the first keys, of near keys, of the key before
#define MAP_SCORE 3u  // one by one, before the log-sum-exp is taken off; unseen: -1e30
#define MAP_STATISTICS_VALUES 6u

struct AttentionMapParameters {
  uint first_row, end_row;  // of the part of q, or of the list of rows
  uint first_position;      // of the part's row 0
  uint part_rows;           // of one version of q
  uint n_heads, n_kv_heads, first_head;
  uint page_tokens;
  uint pages_per_slot;  // where the sequence's row of the page table begins
  uint begin, end;      // keys of this dispatch, within the segment that is bound
  // Unit u begins at the key first_key + u * quotient + u * rest / units, so that units of cells nest.
  // Statistics: units of `quotient` keys; the first `rest` keys are sinks, `units` positions are near.
  uint first_key, quotient, rest, units;
  uint first_unit, n_units;  // of the output
  AttentionPass passes[ATTENTION_PASSES];
};

struct AttentionMapPoolParameters {
  uint row, n_rows, unit, n_units;               // the rows and units that are bound
  uint line_quotient, line_rest, n_lines;        // line i begins at row i * quotient + i * rest / n_lines
  uint column_quotient, column_rest, n_columns;  // columns begin at units likewise
  uint first_line, end_line, first_column, end_column;  // cells to add to
  uint image_line, image_lines;
};

#ifdef __cplusplus
enum class MapValue { max = MAP_MAX, sum = MAP_SUM, statistics = MAP_STATISTICS, score = MAP_SCORE };

// One layer of one sequence.
struct MapSource {
  struct Part {  // what attention_keep wrote
    Tensor q, lse;
    uint32_t first_position = 0;
    uint32_t n_positions() const { return lse.rows; }
  };
  std::vector<Part> parts;  // ascending
  std::vector<CacheSegment> segments;
  Tensor pages, table;  // as attention()'s
  uint32_t slot = 0;
  CacheShape cache;
  AttentionShape shape;
  uint32_t first_query = 0, end_query = 0;  // rows that are there
  uint32_t n_keys = 0;
};

// Cell (x, y) of an image [n_heads, n_lines, width] holds the queries first_query + y * n_queries / height up
// to those of y + 1, and keys likewise; width and height are at most n_keys and n_queries. statistics: a
// width of 1 and 6 planes a head.
struct MapImage {
  uint32_t first_head = 0, n_heads = 1;
  uint32_t first_query = 0, n_queries = 0, first_key = 0, n_keys = 0;
  uint32_t width = 0, height = 0, first_line = 0, n_lines = 0;
  MapValue value = MapValue::max;
  uint32_t hidden_keys = 0;          // the first ones count as 0
  uint32_t samples = 0;              // 0: every pair
  uint32_t n_sinks = 0, window = 0;  // statistics
  uint32_t planes() const {
    return value == MapValue::statistics ? n_heads * MAP_STATISTICS_VALUES : n_heads;
  }
};
constexpr uint32_t kMapMostCells = 32768;  // of a side, unless it has a cell for every position

// An image being made in pieces: runs of rows and columns, each about piece_cost (Work::cost) at the most and
// with units that fit into units_bytes.
class MapWork {
 public:
  MapWork(const Caps& caps, MapSource source, const MapImage& image, double piece_cost, uint64_t units_bytes);

  uint64_t units_bytes() const { return uint64_t{4} * run_rows_ * run_units_ * image_.planes(); }
  // Rows that a sampled image looks at, by position: u32, to be uploaded before the first piece; may be
  // empty.
  const std::vector<uint32_t>& row_list() const { return list_; }
  bool done() const { return line_ >= end_line_; }
  double progress() const;
  uint32_t lines_done() const { return line_ - image_.first_line; }
  // What to multiply sums of a line with: rows that were not looked at.
  double line_scale(uint32_t line) const;
  // Dispatches the next piece that has anything to show, and returns what it needs. image: f32 [planes,
  // n_lines, width], 0 at first; units: f32 words, units_bytes(); rows: row_list() on the device.
  Work next(Stream& stream, Tensor image, Tensor units, Tensor rows);

 private:
  uint32_t line_begin(uint32_t line) const;  // in rows
  uint32_t unit_begin(uint32_t column) const;
  uint32_t unit_key(uint32_t unit) const;  // from first_key on
  Work piece(Stream&, uint32_t row, uint32_t end_row, uint32_t column, uint32_t end_column, Tensor image,
             Tensor units, Tensor rows) const;

  Caps caps_;
  MapSource source_;
  MapImage image_;
  std::vector<uint32_t> list_;
  bool per_key_ = false;
  uint32_t n_rows_ = 0, n_units_ = 0, blocks_ = 0, sampled_rows_ = 0;
  uint32_t run_rows_ = 1, run_lines_ = 1, run_columns_ = 1, run_units_ = 1;
  uint32_t line_ = 0, end_line_ = 0, row_ = 0,
           column_ = 0;  // where the next piece begins; row_: within its line
};

// One row of one head, key by key: probabilities (sum) or scores; values: f32 [1, n_keys], keys 0 .. n_keys
// - 1.
void attention_map_row(Stream& stream, Tensor values, const MapSource& source, MapValue value, uint32_t head,
                       uint32_t query);
std::vector<KernelSpec> attention_map_kernels(const Caps& caps, const CacheShape& cache,
                                              const AttentionShape& shape);

namespace reference {
// image [n_heads, n_lines, width] of p [queries, n_heads, n_keys]; value max, sum, or statistics.
std::vector<double> attention_map(std::span<const double> p, uint32_t n_heads, uint32_t n_keys,
                                  const MapImage& image);
}  // namespace reference
}  // namespace spindle
#endif
#endif
