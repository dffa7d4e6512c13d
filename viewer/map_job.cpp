// One request, piece by piece: device memory, the clock, and cells from what the device pooled.
#include <algorithm>
#include <cmath>

#include "runtime/error.h"
#include "viewer/map_source.h"

namespace spindle {
namespace {

constexpr uint64_t kUnitsBytes = 16 << 20;

// The cell of `n` that cell i of `cells` shows, where a picture has more cells than there are positions.
uint32_t shown(uint32_t i, uint32_t n, uint32_t cells) {
  return cells <= n ? i : static_cast<uint32_t>(uint64_t{i} * n / cells);
}

uint32_t size_of(uint32_t cell, uint32_t n, uint32_t cells) {
  return static_cast<uint32_t>((uint64_t{cell} + 1) * n / cells - uint64_t{cell} * n / cells);
}

}  // namespace

struct MapJob::State {
  AttentionMaps::Source& source;
  MapRequest request;
  MapImage image;
  MapWork work;
  Buffer image_buffer, units_buffer, list_buffer;
  Tensor pixels, units, list;
  double piece_cost = 0, gpu_ms = 0;
  uint32_t lines_done = 0;  // of the picture
  std::vector<float> values;

  State(AttentionMaps::Source& s, MapSource from, const MapRequest& r, const MapImage& m, double cost)
      : source(s),
        request(r),
        image(m),
        work(s.device.caps(), std::move(from), m, cost,
             std::min(kUnitsBytes, s.device.caps().max_binding_bytes)),
        piece_cost(cost),
        values(size_t{r.n_heads} * r.n_lines * r.width) {
    const std::vector<uint32_t>& rows = work.row_list();
    image_buffer =
        Buffer(s.device, uint64_t{4} * m.planes() * m.n_lines * m.width, Memory::device, "attention map");
    units_buffer = Buffer(s.device, work.units_bytes(), Memory::device, "units of an attention map");
    pixels = Tensor(image_buffer, DType::f32, m.planes() * m.n_lines, m.width);
    units = Tensor(units_buffer, DType::u32, 1, static_cast<uint32_t>(work.units_bytes() / 4));
    if (!rows.empty()) {
      list_buffer = Buffer(s.device, 4 * rows.size(), Memory::device, "rows of an attention map");
      list = Tensor(list_buffer, DType::u32, 1, static_cast<uint32_t>(rows.size()));
      s.stream.upload(list, std::as_bytes(std::span(rows)));
    }
    s.stream.fill(pixels, 0);
    s.stream.run();
    s.scratch += bytes();
  }
  ~State() { source.scratch -= bytes(); }
  uint64_t bytes() const { return image_buffer.bytes() + units_buffer.bytes() + list_buffer.bytes(); }

  // Cells of the lines that became complete.
  void collect() {
    const uint32_t first = lines_done, line = image.first_line + work.lines_done();
    while (lines_done < request.n_lines &&
           shown(request.first_line + lines_done, request.region.n_queries, request.height) < line)
      lines_done++;
    if (first == lines_done) return;
    const uint32_t from = shown(request.first_line + first, request.region.n_queries, request.height) -
                          image.first_line,
                   n = work.lines_done() - from;
    std::vector<float> cells(size_t{n} * image.width);
    for (uint32_t head = 0; head < request.n_heads; head++) {
      Tensor part = pixels;
      part.rows = n;
      part.offset_bytes += uint64_t{4} * (head * image.n_lines + from) * image.width;
      source.stream.download(std::as_writable_bytes(std::span(cells)), part);
      for (uint32_t y = first; y < lines_done; y++) {
        const uint32_t inner = shown(request.first_line + y, request.region.n_queries, request.height);
        const double rows = size_of(inner, image.n_queries, image.height);
        for (uint32_t x = 0; x < request.width; x++) {
          const uint32_t column = shown(x, request.region.n_keys, request.width);
          double value = cells[size_t{inner - image.first_line - from} * image.width + column];
          if (request.pool != Pool::max) value *= work.line_scale(inner);
          if (request.pool == Pool::mean) value /= rows * size_of(column, image.n_keys, image.width);
          values[(size_t{head} * request.n_lines + y) * request.width + x] = static_cast<float>(value);
        }
      }
    }
  }
};

MapJob::MapJob(std::unique_ptr<State> state) : state_(std::move(state)) {}
MapJob::~MapJob() = default;
MapJob::MapJob(MapJob&&) noexcept = default;
MapJob& MapJob::operator=(MapJob&&) noexcept = default;

bool MapJob::done() const { return state_->work.done(); }
double MapJob::progress() const { return state_->work.progress(); }
double MapJob::gpu_ms() const { return state_->gpu_ms; }
uint32_t MapJob::lines_done() const { return state_->lines_done; }
const MapRequest& MapJob::request() const { return state_->request; }
std::span<const float> MapJob::values() const { return state_->values; }

bool MapJob::step(double milliseconds) {
  State& s = *state_;
  if (done()) return true;
  Stream& stream = s.source.stream;
  const double allowed = s.source.cost_of(milliseconds);
  double cost = 0;
  stream.begin(true);
  do cost += s.work.next(stream, s.pixels, s.units, s.list).cost();
  while (!done() && cost + s.piece_cost <= allowed);
  s.gpu_ms = s.source.finish(cost);
  s.collect();
  return done();
}

MapJob AttentionMaps::job(const MapRequest& request, double finest_ms) {
  MapRequest r = request;
  const MapLayer& l = layer(r.layer);
  const auto usage = [](bool good, const char* what, uint64_t found, uint64_t most) {
    require(good, ErrorKind::usage, "attention map: {} {}, allowed are 1 to {}", what, found, most);
  };
  require(r.n_heads >= 1 && uint64_t{r.first_head} + r.n_heads <= l.n_heads, ErrorKind::usage,
          "attention map: heads {} to {}, layer {} has heads 0 to {}", r.first_head,
          uint64_t{r.first_head} + r.n_heads - 1, r.layer, l.n_heads - 1);
  const uint32_t n = n_tokens();
  require(r.region.n_queries >= 1 && r.region.n_keys >= 1 &&
              uint64_t{r.region.first_query} + r.region.n_queries <= n &&
              uint64_t{r.region.first_key} + r.region.n_keys <= n,
          ErrorKind::usage, "attention map: {} queries from {} and {} keys from {}, there are {} positions",
          r.region.n_queries, r.region.first_query, r.region.n_keys, r.region.first_key, n);
  const uint32_t most_width = r.width == r.region.n_keys ? r.width : kMapMostCells,
                 most_height = r.height == r.region.n_queries ? r.height : kMapMostCells;
  usage(r.width >= 1 && r.width <= most_width, "a width of", r.width, most_width);
  usage(r.height >= 1 && r.height <= most_height, "a height of", r.height, most_height);
  require(r.first_line < r.height && r.n_lines <= r.height - r.first_line, ErrorKind::usage,
          "attention map: {} lines from {} of {}", r.n_lines, r.first_line, r.height);
  if (r.n_lines == 0) r.n_lines = r.height - r.first_line;

  MapImage m{r.first_head,       r.n_heads,          r.region.first_query,
             r.region.n_queries, r.region.first_key, r.region.n_keys};
  m.width = std::min(r.width, m.n_keys);
  m.height = std::min(r.height, m.n_queries);
  m.first_line = shown(r.first_line, m.n_queries, r.height);
  m.n_lines = shown(r.first_line + r.n_lines - 1, m.n_queries, r.height) + 1 - m.first_line;
  m.value = r.pool == Pool::max ? MapValue::max : MapValue::sum;
  m.hidden_keys = r.hidden_keys;
  m.samples = r.samples;
  const uint64_t bytes = uint64_t{4} * m.planes() * m.n_lines * m.width,
                 most = source_->device.caps().max_binding_bytes;
  require(bytes <= most, ErrorKind::usage,
          "attention map: {} cells need {} bytes, allowed are {}: ask for fewer lines", bytes / 4, bytes,
          most);
  return MapJob(std::make_unique<MapJob::State>(*source_, source_->layer_source(r.layer), r, m,
                                                source_->cost_of(finest_ms) / 2));
}

}  // namespace spindle
