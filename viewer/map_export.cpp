// Files of maps; no more than a band of cells is in memory.
#include "viewer/map_export.h"

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>
#include <utility>

#include "runtime/error.h"
#include "viewer/image.h"

namespace spindle {
namespace {

constexpr uint64_t kBandCells = 4 << 20, kRangeCells = 1024;

std::string row_text(std::span<const float> row) {
  std::string text;
  for (float v : row) fmt::format_to(std::back_inserter(text), "{}{:.9g}", text.empty() ? "" : ",", v);
  return text;
}

std::vector<float> tile(AttentionMaps& maps, const MapRequest& r, double piece_ms) {
  MapJob job = maps.job(r, piece_ms);
  while (!job.step(piece_ms)) {
  }
  return {job.values().begin(), job.values().end()};
}

std::string name_of(Pool pool) { return pool == Pool::max ? "max" : pool == Pool::mean ? "mean" : "sum"; }

}  // namespace

void each_band(const MapExport& e, const std::function<void(std::span<const float> cells)>& lines) {
  MapRequest r = e.request;
  const auto most = static_cast<uint32_t>(std::clamp<uint64_t>(kBandCells / r.width, 1, r.height));
  const uint32_t n_heads = std::exchange(r.n_heads, 1), first_head = r.first_head;
  for (uint32_t head = 0; head < n_heads; head++)
    for (uint32_t line = 0; line < r.height; line += most) {
      r.first_head = first_head + head;
      r.first_line = line;
      r.n_lines = std::min(most, r.height - line);
      std::vector<float> cells = tile(e.maps, r, e.piece_ms);
      if (e.other) {
        const std::vector<float> from = tile(*e.other, r, e.piece_ms);
        for (size_t i = 0; i < cells.size(); i++) cells[i] -= from[i];
      }
      lines(cells);
      if (e.progress) e.progress(uint64_t{head} * r.height + line + r.n_lines, uint64_t{n_heads} * r.height);
    }
}

ValueScale write_map_png(const MapExport& e, const std::string& path, Scale scale,
                         std::optional<Colours> colours) {
  const MapRequest& r = e.request;
  PngWriter out(path, r.width, r.height);
  // The range of values is that of a smaller picture where this one is large.
  MapExport small = e;
  small.request.width = std::min<uint32_t>(r.width, kRangeCells);
  small.request.height = std::min<uint32_t>(r.height, kRangeCells);
  std::vector<float> values;
  each_band(small,
            [&](std::span<const float> cells) { values.insert(values.end(), cells.begin(), cells.end()); });
  ValueScale shown(scale, values, e.other != nullptr);
  const Colours map = colours.value_or(e.other ? Colours::diverging : Colours::viridis);
  std::vector<Rgb> pixels(r.width);
  const auto write = [&](std::span<const float> cells) {
    for (size_t at = 0; at < cells.size(); at += r.width) {
      for (size_t x = 0; x < r.width; x++) pixels[x] = colour(map, shown(cells[at + x]));
      out.line(pixels);
    }
  };
  if (small.request.width == r.width && small.request.height == r.height) write(values);
  else each_band(e, write);
  out.finish();
  return shown;
}

void write_map_npy(const MapExport& e, const std::string& path, bool by_head) {
  std::vector<uint64_t> shape = {e.request.height, e.request.width};
  if (by_head) shape.insert(shape.begin(), e.request.n_heads);
  NpyWriter out(path, shape);
  each_band(e, [&](std::span<const float> cells) { out.put(cells); });
  out.finish();
}

void write_map_json(const MapExport& e, const std::function<void(const std::string&)>& out) {
  const MapRequest& r = e.request;
  nlohmann::ordered_json about = {
      {"model", e.maps.model()},
      {"layer", r.layer},
      {"head", r.first_head},
      {"queries", {r.region.first_query, r.region.first_query + r.region.n_queries}},
      {"keys", {r.region.first_key, r.region.first_key + r.region.n_keys}},
      {"width", r.width},
      {"height", r.height},
      {"pool", name_of(r.pool)}};
  about["tokens"] = nlohmann::json::array();
  for (const MapToken& t : e.maps.tokens()) about["tokens"].push_back({{"id", t.id}, {"text", t.text}});
  std::string text = about.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  text.pop_back();
  out(text + ",\"values\":[");
  bool first = true;
  each_band(e, [&](std::span<const float> cells) {
    for (size_t at = 0; at < cells.size(); at += r.width) {
      out(fmt::format("{}[{}]", first ? "" : ",", row_text(cells.subspan(at, r.width))));
      first = false;
    }
  });
  out("]}\n");
}

void write_map_csv(const MapExport& e, const std::function<void(const std::string&)>& out) {
  each_band(e, [&](std::span<const float> cells) {
    for (size_t at = 0; at < cells.size(); at += e.request.width)
      out(row_text(cells.subspan(at, e.request.width)) + "\n");
  });
}

}  // namespace spindle
