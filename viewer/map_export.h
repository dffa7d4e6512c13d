// Maps of any size as files, made band by band: the command line's and the window's.
#ifndef SPINDLE_VIEWER_MAP_EXPORT_H
#define SPINDLE_VIEWER_MAP_EXPORT_H
#include <functional>
#include <optional>

#include "viewer/colours.h"
#include "viewer/map.h"

namespace spindle {

struct MapExport {
  AttentionMaps& maps;
  AttentionMaps* other = nullptr;                                  // shown are the differences from its map
  MapRequest request;                                              // whole images: lines 0 to height
  std::function<void(uint64_t done, uint64_t all)> progress = {};  // lines; may throw to end it
  double piece_ms = 50;  // device time of a piece of the work, about
};

// Calls with the cells of a head from the top, some lines at a time, then with the next head's.
void each_band(const MapExport& e, const std::function<void(std::span<const float> cells)>& lines);

// One head. Returns the scale that it chose; without `colours`: viridis, or diverging for differences.
ValueScale write_map_png(const MapExport& e, const std::string& path, Scale scale,
                         std::optional<Colours> colours);
// f32 [height, width], by_head: [n_heads, height, width].
void write_map_npy(const MapExport& e, const std::string& path, bool by_head);
// One head: what the map is of, the tokens, and {"values": [[...], ...]}; and a line of values for each line.
void write_map_json(const MapExport& e, const std::function<void(const std::string&)>& out);
void write_map_csv(const MapExport& e, const std::function<void(const std::string&)>& out);

}  // namespace spindle
#endif
