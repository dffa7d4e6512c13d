// Attention maps of a session; rows, statistics and checks of requests for both kinds of source.
#include "viewer/map.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>

#include "runtime/error.h"
#include "viewer/map_source.h"

namespace spindle {
namespace {

constexpr uint32_t kStatisticsRows = 256;  // summed in f32 on the device, then in double precision here
constexpr uint64_t kStatisticsBytes = 16 << 20;

class LiveSource : public AttentionMaps::Source {
 public:
  LiveSource(Session& session, int slot) : Source(session.model().device()), session_(session), slot_(slot) {
    const Config& c = session.model().config();
    model = c.name;
    rope = session.rope();
    positions = rope.description;
    n_layers = c.n_layers;
    const std::vector<Layer> blocks = layers_of(session.model().architecture(), c);
    for (uint32_t i = 0; i < n_layers; i++) {
      const Rope turns = blocks[i].attention.rope;
      layers_.push_back({i, c.n_heads[i], c.n_kv_heads[i], c.head_dim, session.cache().shape(i).k_type,
                         turns == Rope::none ? 0 : c.n_rot, turns == Rope::half_split, session.plans()[i]});
    }
  }

  MapSource layer_source(uint32_t layer) override {
    const AttentionRecord& r = *record();
    MapSource s;
    for (uint32_t part = 0; part < r.n_parts(); part++)
      s.parts.push_back({r.q(layer, part), r.lse(layer, part), part * r.part_positions()});
    s.shape = layers_[layer].plan.shape;
    s.segments = session_.cache().segments(layer, session_.cache().n_segments(n_tokens()));
    if (s.shape.n_key_forms() == 1)
      for (CacheSegment& segment : s.segments) segment.k2 = {};
    s.pages = session_.cache().page_table();
    s.table = table(layer, s.shape);
    s.slot = static_cast<uint32_t>(slot_);
    s.cache = session_.cache().shape(layer);
    s.first_query = r.first();
    s.end_query = r.end();
    s.n_keys = n_tokens();
    return s;
  }
  std::vector<MapToken> tokens() const override {
    std::vector<MapToken> list;
    const bool words = session_.model().has_tokenizer();
    for (int id : session_.tokens(slot_))
      list.push_back({id, words ? session_.model().tokenizer().piece(id, true) : fmt::format("<{}>", id)});
    return list;
  }
  uint32_t n_tokens() const override { return session_.n_tokens(slot_); }
  uint32_t first_query() const override { return record() ? record()->first() : 0; }
  uint32_t end_query() const override { return record() ? record()->end() : 0; }
  std::vector<uint32_t> pinned() const override {
    return record() ? record()->layers() : std::vector<uint32_t>{};
  }
  const MapLayer& layer(uint32_t index) const override { return layers_[index]; }
  MapMemory memory() const override {
    MapMemory m;
    for (uint32_t layer : pinned()) {
      const CacheShape s = session_.cache().shape(layer);
      m.keys +=
          s.k_page_bytes() * ceil_div(n_tokens(), s.page_tokens) * layers_[layer].plan.shape.n_key_forms();
    }
    m.kept = record() ? record()->bytes() : 0;
    return m;
  }

 private:
  const AttentionRecord* record() const {
    const AttentionRecord* r = session_.record();
    return r && r->slot() == slot_ ? r : nullptr;
  }
  Session& session_;
  int slot_;
  std::vector<MapLayer> layers_;
};

constexpr double kQuarter = 0.25;  // milliseconds

void require_layer(const AttentionMaps& maps, uint32_t layer) {
  if (maps.has_layer(layer)) return;
  std::string list;
  for (const MapLayer& l : maps.layers()) list += fmt::format("{}{}", list.empty() ? "" : ", ", l.index);
  fail(ErrorKind::usage, "layer {}: its queries are not kept{}", layer,
       list.empty() ? "" : fmt::format("; those of {} are", list));
}

}  // namespace

void PieceTimes::add(double ms, double clock_ms) {
  n++;
  all_ms += ms;
  all_clock_ms += clock_ms;
  longest_ms = std::max(longest_ms, ms);
  quarters[std::min(static_cast<size_t>(std::max(0.0, ms / kQuarter)), quarters.size() - 1)]++;
}

void PieceTimes::add(const PieceTimes& others) {
  n += others.n;
  all_ms += others.all_ms;
  all_clock_ms += others.all_clock_ms;
  longest_ms = std::max(longest_ms, others.longest_ms);
  for (size_t i = 0; i < quarters.size(); i++) quarters[i] += others.quarters[i];
}

double PieceTimes::quantile(double share) const {
  const auto wanted = static_cast<uint64_t>(std::ceil(share * static_cast<double>(n)));
  uint64_t sum = 0;
  for (size_t i = 0; i + 1 < quarters.size(); i++) {
    sum += quarters[i];
    if (sum >= wanted) return std::min(longest_ms, static_cast<double>(i + 1) * kQuarter);
  }
  return longest_ms;
}

uint64_t PieceTimes::above(double ms) const {
  const auto first = std::min(static_cast<size_t>(std::max(0.0, std::ceil(ms / kQuarter))), quarters.size());
  return std::accumulate(quarters.begin() + static_cast<ptrdiff_t>(first), quarters.end(), uint64_t{0});
}

Tensor AttentionMaps::Source::table(uint32_t layer, const AttentionShape& shape) {
  const std::vector<uint32_t> words = attention_table(shape);
  if (words.empty()) return {};
  Buffer& buffer = tables[layer];
  const bool is_new = !buffer;
  if (is_new) buffer = Buffer(device, 4 * words.size(), Memory::device, "attention table");
  const Tensor t(buffer, DType::u32, 1, static_cast<uint32_t>(words.size()));
  if (is_new) stream.upload(t, std::as_bytes(std::span(words)));
  return t;
}

double AttentionMaps::Source::cost_of(double milliseconds) const {
  // Less than the whole: what costs the same does not always take the same. The first piece, by which the
  // next are measured, is a small one: the device's bound stands for 100 ms, roughly.
  constexpr double kShare = 0.75, kFirst = 0.125;
  const double usual = ms_per_cost > 0 ? kShare / ms_per_cost : kFirst * device.cost_bound() / 100;
  return milliseconds * usual;
}

double AttentionMaps::Source::finish(double cost) {
  const Recording recording = stream.end();
  const auto start = std::chrono::steady_clock::now();
  stream.wait(stream.submit(recording));
  const double wall =
      std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  uint64_t ns = 0;
  for (const Timing& t : recording.timings()) ns += t.ns;
  const double took = ns > 0 ? static_cast<double>(ns) * 1e-6 : wall;
  pieces.add(took, wall);
  if (cost > 0) {  // slow pieces count at once, fast ones little by little
    const double now = took / cost;
    ms_per_cost = ms_per_cost == 0 || now > ms_per_cost ? now : 0.8 * ms_per_cost + 0.2 * now;
  }
  return took;
}

AttentionMaps::AttentionMaps(Session& session, int slot)
    : source_(std::make_unique<LiveSource>(session, slot)) {}
AttentionMaps::AttentionMaps(std::unique_ptr<Source> source) : source_(std::move(source)) {}
AttentionMaps::~AttentionMaps() = default;
AttentionMaps::AttentionMaps(AttentionMaps&&) noexcept = default;

AttentionMaps AttentionMaps::open(Device& device, const std::string& path) {
  return AttentionMaps(read_capture(device, path));
}
void AttentionMaps::save(const std::string& path) const { write_capture(*source_, path); }

const std::string& AttentionMaps::model() const { return source_->model; }
const std::string& AttentionMaps::positions() const { return source_->positions; }
const RopePlan& AttentionMaps::rope() const { return source_->rope; }
uint32_t AttentionMaps::n_layers() const { return source_->n_layers; }
std::vector<MapToken> AttentionMaps::tokens() const { return source_->tokens(); }
uint32_t AttentionMaps::n_tokens() const { return source_->n_tokens(); }
uint32_t AttentionMaps::first_query() const { return source_->first_query(); }
uint32_t AttentionMaps::end_query() const { return source_->end_query(); }

std::vector<MapLayer> AttentionMaps::layers() const {
  std::vector<MapLayer> list;
  for (uint32_t layer : source_->pinned()) list.push_back(source_->layer(layer));
  return list;
}

bool AttentionMaps::has_layer(uint32_t index) const {
  const std::vector<uint32_t> pinned = source_->pinned();
  return std::ranges::binary_search(pinned, index);
}

const MapLayer& AttentionMaps::layer(uint32_t index) const {
  require_layer(*this, index);
  return source_->layer(index);
}

const PieceTimes& AttentionMaps::pieces() const { return source_->pieces; }

MapMemory AttentionMaps::memory() const {
  MapMemory m = source_->memory();
  m.scratch = source_->scratch;
  return m;
}

std::vector<float> AttentionMaps::tile(const MapRequest& request) {
  MapJob all = job(request, 50);
  while (!all.step(50)) {
  }
  return {all.values().begin(), all.values().end()};
}

MapRow AttentionMaps::row(uint32_t layer, uint32_t head, uint32_t query) {
  require_layer(*this, layer);
  const MapSource s = source_->layer_source(layer);
  require(head < s.shape.n_heads, ErrorKind::usage, "head {}: layer {} has heads 0 to {}", head, layer,
          s.shape.n_heads - 1);
  require(query >= s.first_query && query < s.end_query, ErrorKind::usage,
          "query {}: those of {} to {} are kept", query, s.first_query,
          static_cast<int64_t>(s.end_query) - 1);
  Stream& stream = source_->stream;
  const Buffer buffer(source_->device, uint64_t{4} * s.n_keys, Memory::device, "row of an attention map");
  const Tensor values(buffer, DType::f32, 1, s.n_keys);
  MapRow row;
  for (const auto& [value, to] :
       {std::pair{MapValue::sum, &row.probabilities}, {MapValue::score, &row.scores}}) {
    attention_map_row(stream, values, s, value, head, query);
    stream.run();
    to->resize(query + 1);
    stream.download(std::as_writable_bytes(std::span(*to)), values);
  }
  for (const MapSource::Part& part : s.parts) {
    const uint32_t at = query - part.first_position;
    if (query < part.first_position || at >= part.n_positions()) continue;
    Tensor one = part.lse;
    one.rows = one.cols = 1;
    one.offset_bytes += uint64_t{4} * (at * part.lse.cols + head);
    stream.download(std::as_writable_bytes(std::span(&row.log_sum_exp, 1)), one);
  }
  return row;
}

std::vector<HeadStatistics> AttentionMaps::statistics(uint32_t layer, const StatisticsOptions& o) {
  require_layer(*this, layer);
  const MapSource s = source_->layer_source(layer);
  const uint32_t heads = s.shape.n_heads, first = std::max(o.first_query, s.first_query);
  const uint32_t end =
      static_cast<uint32_t>(std::min<uint64_t>(uint64_t{o.first_query} + o.n_queries, s.end_query));
  require(first < end, ErrorKind::usage, "statistics: none of the queries {} to {} is kept", o.first_query,
          uint64_t{o.first_query} + o.n_queries - 1);
  MapImage m{.n_heads = heads, .first_query = first, .n_queries = end - first, .n_keys = s.n_keys};
  m.width = 1;
  m.height = m.n_lines = ceil_div(m.n_queries, kStatisticsRows);
  m.value = MapValue::statistics;
  m.n_sinks = o.sinks;
  m.window = o.window;
  Stream& stream = source_->stream;
  MapWork work(source_->device.caps(), s, m, source_->cost_of(o.piece_ms),
               std::min(kStatisticsBytes, source_->device.caps().max_binding_bytes));
  const Buffer image_buffer(source_->device, uint64_t{4} * m.planes() * m.n_lines, Memory::device,
                            "statistics");
  const Buffer units_buffer(source_->device, work.units_bytes(), Memory::device, "units of statistics");
  const Tensor image(image_buffer, DType::f32, m.planes(), m.n_lines),
      units(units_buffer, DType::u32, 1, static_cast<uint32_t>(work.units_bytes() / 4));
  stream.fill(image, 0);
  stream.run();
  while (!work.done()) {
    stream.begin(true);
    source_->finish(work.next(stream, image, units, {}).cost());
  }
  std::vector<float> sums(image.elements());
  stream.download(std::as_writable_bytes(std::span(sums)), image);
  std::vector<HeadStatistics> list;
  for (uint32_t head = 0; head < heads; head++) {
    double mean[MAP_STATISTICS_VALUES] = {};
    for (uint32_t i = 0; i < MAP_STATISTICS_VALUES; i++)
      for (uint32_t line = 0; line < m.n_lines; line++)
        mean[i] += sums[(size_t{head} * MAP_STATISTICS_VALUES + i) * m.n_lines + line] / double(m.n_queries);
    list.push_back({layer, head, mean[1], mean[2], mean[3], mean[4], mean[5], mean[0]});
  }
  return list;
}

}  // namespace spindle
