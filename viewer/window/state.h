// What the window remembers between frames, and the panels that draw it.
#ifndef SPINDLE_WINDOW_STATE_H
#define SPINDLE_WINDOW_STATE_H
#include <array>
#include <memory>
#include <string>
#include <vector>

#include "viewer/window/engine.h"
#include "viewer/window/ui.h"

namespace spindle {

enum class Panel { map, tokens, heads, rotary, bias, cache, time, captures };
inline constexpr std::array<const char*, 8> kPanelNames = {"Map",  "Tokens", "Heads", "Rotary",
                                                           "Bias", "Cache",  "Time",  "Captures"};

struct Cell {
  uint32_t query = 0, key = 0;
  bool operator==(const Cell&) const = default;
};

// Which map is looked at, and how.
struct MapView {
  int source = 0, other = 0;  // other: what it is compared with; 0 here: nothing
  int layer = 0, head = 0;    // head: n_heads is the mean over heads, n_heads + 1 the most
  int pool = 0, scale = 0;    // as Pool and Scale
  double decades = 4;         // of the logarithmic scale
  double most = 1;            // share of the largest value where colours end
  int hidden_keys = 0;        // hide sinks: the first keys
  bool follow = true;         // the whole text, as it grows
  double query0 = 0, query1 = 1, key0 = 0, key1 = 1;  // visible positions
  std::optional<Cell> hover, locked;
  bool pairs = false;  // what each rotary pair adds to the score, instead of the strongest keys
};

struct HeatPicture {  // one heat map's pixels
  std::shared_ptr<Picture> picture;
  uint64_t serial = 0;
  size_t look = 0;  // hash of scale, colours and so on
  MapRegion region;
};

struct RotaryMethod {
  std::string name;
  RopeRequest request;
  RopePlan plan;
  std::string error;  // why it cannot be
  bool shown = true;
};

struct RotaryState {
  std::vector<RotaryMethod> methods;
  int chosen = 0;
  RopeModel model;
  double position = 1000;
  double length = 0;  // how far the decay is drawn; 0: 4 times the trained context
  bool stale = true;
};

struct State {
  explicit State(Engine& e) : engine(e) {}
  Ui ui;
  Engine& engine;
  std::shared_ptr<const Snapshot> now;
  Panel panel = Panel::map;
  bool help = false, welcome = true, to_prompt = false, profiled = false;
  float scrub = -1;      // where a drag along the text is
  size_t looked_at = 0;  // tokens whose characters the fonts have

  std::string prompt;
  int n_tokens = 64;
  Sampling sampling;

  MapView map;
  std::map<std::string, HeatPicture> heats;
  RotaryState rotary;
  struct {
    int heads = 8;
    double max_bias = 8;
    int buckets = 32, max_distance = 128;  // T5's
  } bias;
  struct {
    std::string search;
    int first = -1, last = -1;  // the span
    double temperature = 1;
    bool lines = false;
    int top = 3;
  } tokens;
  struct {
    int sort = -1;  // column; -1: as in the model
    bool ascending = false, thumbnails = true;
    int sinks = 4, window = 64;
    int colour_by = 0;
  } heads;
  struct {
    std::string path = "capture.spindle";
  } captures;

  double drawing_ms = 0;  // of the last frame, on the device
  PieceTimes drawing;
  double drawing_bound_ms = 12, piece_bound_ms = 4;  // a frame is drawn, and waits for one piece of a map
};

// One frame: everything between ImGui::NewFrame and ImGui::Render.
void draw_window(State& s);

void draw_map(State& s);
void draw_tokens(State& s);
void draw_heads(State& s);
void draw_rotary(State& s);
void draw_bias(State& s);
void draw_cache(State& s);
void draw_time(State& s);
void draw_captures(State& s);

// Shared by panels that show one head.
const SourceInfo* source_of(const State& s, int index);
const MapLayer* layer_of(const State& s, int source, int layer);
void choose_source(State& s, const char* name, const char* label, int& which, bool with_none,
                   float width = 120);
void choose_head(State& s);  // source, layer and head of s.map
// A heat map in a box of the window; the cell under the mouse, if any.
struct HeatOptions {
  std::string id;
  std::string link;
  bool axes = true, zoom = true;
  bool queries = true;              // the axis of queries; false: that of the map at the left
  const MapImage* minus = nullptr;  // shown is the difference
};
std::optional<Cell> draw_heat(State& s, const HeatOptions& options, const MapImage* image, ImVec2 size);
void draw_cell(State& s, float height);  // the box beside the map
void request_row(State& s, uint32_t query, std::optional<uint32_t> key = {});
std::string token_text(const State& s, uint32_t position);
// Why there is no map yet, and what to do; empty: there is one.
std::string missing_map(const State& s);

// The rotary plans as the sliders have them.
void plan_methods(State& s);
void add_method(State& s, RopeMethod method);

}  // namespace spindle
#endif
