// What `spindle attention` writes: pictures, arrays and tables, band of lines by band of lines.
#include <algorithm>
#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>

#include "app/attention_flags.h"
#include "runtime/error.h"
#include "viewer/colours.h"
#include "viewer/image.h"

namespace spindle {
namespace {

constexpr uint64_t kBandCells = 4 << 20, kRangeCells = 1024;

// Calls with the lines of a head from the top, some at a time.
using Lines = std::function<void(std::span<const float> cells)>;
void each_band(AttentionMaps& maps, AttentionMaps* other, MapRequest r, Progress& progress,
               const Lines& lines) {
  const auto most = static_cast<uint32_t>(std::clamp<uint64_t>(kBandCells / r.width, 1, r.height));
  const uint32_t n_heads = std::exchange(r.n_heads, 1), first_head = r.first_head;
  for (uint32_t head = 0; head < n_heads; head++)
    for (uint32_t line = 0; line < r.height; line += most) {
      r.first_head = first_head + head;
      r.first_line = line;
      r.n_lines = std::min(most, r.height - line);
      std::vector<float> cells = maps.tile(r);
      if (other) {
        const std::vector<float> from = other->tile(r);
        for (size_t i = 0; i < cells.size(); i++) cells[i] -= from[i];
      }
      lines(cells);
      progress.update(uint64_t{head} * r.height + line + r.n_lines, uint64_t{n_heads} * r.height);
    }
}

void write_png(const AttentionFlags& flags, AttentionMaps& maps, AttentionMaps* other, const MapRequest& r,
               Progress& progress) {
  PngWriter out(flags.png, r.width, r.height);
  // The range of values is that of a smaller picture where this one is large.
  MapRequest small = r;
  small.width = std::min<uint32_t>(r.width, kRangeCells);
  small.height = std::min<uint32_t>(r.height, kRangeCells);
  std::vector<float> values;
  each_band(maps, other, small, progress,
            [&](std::span<const float> cells) { values.insert(values.end(), cells.begin(), cells.end()); });
  const ValueScale scale(*find_scale(flags.scale), values, other != nullptr);
  const Colours colours =
      flags.colours.empty() ? other ? Colours::diverging : Colours::viridis : *find_colours(flags.colours);
  std::vector<Rgb> pixels(r.width);
  const auto write = [&](std::span<const float> cells) {
    for (size_t at = 0; at < cells.size(); at += r.width) {
      for (size_t x = 0; x < r.width; x++) pixels[x] = colour(colours, scale(cells[at + x]));
      out.line(pixels);
    }
  };
  if (small.width == r.width && small.height == r.height) write(values);
  else each_band(maps, other, r, progress, write);
  out.finish();
  say("picture {}: {} x {}, {} of probabilities, {} scale {:.3g} to {:.3g}", flags.png, r.width, r.height,
      flags.pool, flags.scale, scale.least(), scale.most());
}

void write_npy(const AttentionFlags& flags, AttentionMaps& maps, AttentionMaps* other, const MapRequest& r,
               Progress& progress) {
  std::vector<uint64_t> shape = {r.height, r.width};
  if (flags.head < 0) shape.insert(shape.begin(), r.n_heads);
  NpyWriter out(flags.npy, shape);
  each_band(maps, other, r, progress, [&](std::span<const float> cells) { out.put(cells); });
  out.finish();
}

void print(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  require(!std::ferror(stdout), "standard output was closed");
}

std::string row_text(std::span<const float> cells) {
  std::string text;
  for (float v : cells) text += fmt::format("{}{:.9g}", text.empty() ? "" : ",", v);
  return text;
}

}  // namespace

void write_map(const AttentionFlags& flags, AttentionMaps& maps, AttentionMaps* other) {
  const MapRequest r = flags.request(maps);
  Progress progress("maps");
  if (!flags.png.empty()) write_png(flags, maps, other, r, progress);
  if (!flags.npy.empty()) write_npy(flags, maps, other, r, progress);
  if (other) {
    double most = 0, sum = 0;
    each_band(maps, other, r, progress, [&](std::span<const float> cells) {
      for (float v : cells) most = std::max(most, std::abs(double{v})), sum += std::abs(double{v});
    });
    say("differences: largest {:.3g}, mean {:.3g}", most, sum / (double{1} * r.width * r.height * r.n_heads));
  }
  if (flags.heads || (!flags.csv && !flags.json)) return;
  if (flags.json) {
    nlohmann::ordered_json about = {
        {"model", maps.model()},
        {"layer", r.layer},
        {"head", r.first_head},
        {"queries", {r.region.first_query, r.region.first_query + r.region.n_queries}},
        {"keys", {r.region.first_key, r.region.first_key + r.region.n_keys}},
        {"width", r.width},
        {"height", r.height},
        {"pool", flags.pool}};
    about["tokens"] = nlohmann::json::array();
    for (const MapToken& t : maps.tokens()) about["tokens"].push_back({{"id", t.id}, {"text", t.text}});
    std::string text = about.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    text.pop_back();
    print(text + ",\"values\":[");
  }
  bool first = true;
  each_band(maps, other, r, progress, [&](std::span<const float> cells) {
    for (size_t at = 0; at < cells.size(); at += r.width) {
      const std::string row = row_text(cells.subspan(at, r.width));
      print(flags.json ? fmt::format("{}[{}]", first ? "" : ",", row) : row + "\n");
      first = false;
    }
  });
  if (flags.json) print("]}\n");
}

void write_statistics(const AttentionFlags& flags, const std::vector<HeadStatistics>& list) {
  if (flags.json) {
    nlohmann::ordered_json all = nlohmann::json::array();
    for (const HeadStatistics& s : list)
      all.push_back({{"layer", s.layer},
                     {"head", s.head},
                     {"entropy", s.entropy},
                     {"mean_distance", s.mean_distance},
                     {"sink_mass", s.sink_mass},
                     {"window_mass", s.window_mass},
                     {"previous", s.previous},
                     {"mass", s.mass}});
    print(all.dump() + "\n");
    return;
  }
  print(flags.csv ? "layer,head,entropy,mean_distance,sink_mass,window_mass,previous,mass\n"
                  : "layer  head   entropy  distance     sinks      near  previous\n");
  for (const HeadStatistics& s : list)
    print(flags.csv
              ? fmt::format("{},{},{:.6g},{:.6g},{:.6g},{:.6g},{:.6g},{:.6g}\n", s.layer, s.head, s.entropy,
                            s.mean_distance, s.sink_mass, s.window_mass, s.previous, s.mass)
              : fmt::format("{:5}  {:4}  {:8.4f}  {:8.1f}  {:8.4f}  {:8.4f}  {:8.4f}\n", s.layer, s.head,
                            s.entropy, s.mean_distance, s.sink_mass, s.window_mass, s.previous));
}

}  // namespace spindle
