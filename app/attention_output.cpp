// What `spindle attention` writes: pictures, arrays and tables, band of lines by band of lines.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "app/attention_flags.h"
#include "runtime/error.h"
#include "viewer/map_export.h"

namespace spindle {
namespace {

void print(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  require(!std::ferror(stdout), "standard output was closed");
}

}  // namespace

void write_map(const AttentionFlags& flags, AttentionMaps& maps, AttentionMaps* other) {
  Progress progress("maps");
  const MapExport e{maps, other, flags.request(maps),
                    [&](uint64_t done, uint64_t all) { progress.update(done, all); }};
  const MapRequest& r = e.request;
  if (!flags.png.empty()) {
    const auto colours = flags.colours.empty() ? std::nullopt : find_colours(flags.colours);
    const ValueScale scale = write_map_png(e, flags.png, *find_scale(flags.scale), colours);
    say("picture {}: {} x {}, {} of probabilities, {} scale {:.3g} to {:.3g}", flags.png, r.width, r.height,
        flags.pool, flags.scale, scale.least(), scale.most());
  }
  if (!flags.npy.empty()) write_map_npy(e, flags.npy, flags.head < 0);
  if (other) {
    double most = 0, sum = 0;
    each_band(e, [&](std::span<const float> cells) {
      for (float v : cells) most = std::max(most, std::abs(double{v})), sum += std::abs(double{v});
    });
    say("differences: largest {:.3g}, mean {:.3g}", most, sum / (double{1} * r.width * r.height * r.n_heads));
  }
  if (flags.heads) return;
  if (flags.json) write_map_json(e, print);
  else if (flags.csv) write_map_csv(e, print);
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
