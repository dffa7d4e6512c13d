// Attention maps of any layer and head at any length, of a running session or of a capture file. Data only:
// no window, no ImGui. Nothing here stores queries x keys: cells are computed on the device from Q, K and the
// row log-sum-exp.
#ifndef SPINDLE_VIEWER_MAP_H
#define SPINDLE_VIEWER_MAP_H
#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "models/session.h"

namespace spindle {

enum class Pool { max, mean, sum };

// Queries go downwards, keys to the right; both are positions of the sequence.
struct MapRegion {
  uint32_t first_query = 0, n_queries = 0, first_key = 0, n_keys = 0;
  bool operator==(const MapRegion&) const = default;
};

// An image of a region. Cell (x, y) pools queries first_query + y * n_queries / height up to, not with, that
// of y + 1 (at least one query), and keys likewise; its value is of probabilities exp(score - log-sum-exp), 0
// where the query does not see the key. mean: over all pairs of the cell, unseen ones included.
struct MapRequest {
  uint32_t layer = 0;
  uint32_t first_head = 0, n_heads = 1;  // consecutive heads, an image each
  MapRegion region;
  uint32_t width = 0, height = 0;
  uint32_t first_line = 0, n_lines = 0;  // part of the image; n_lines 0: all after first_line
  Pool pool = Pool::max;
  uint32_t hidden_keys = 0;  // the first keys of the sequence count as 0: "hide sinks"
  uint32_t samples = 0;  // 0: exact; else at most so many pairs of each cell, fixed ones: the coarse picture
};

class AttentionMaps;

// One request being worked on, a bounded piece at a time. Lines come from the top. Throw it away when the
// session truncates or closes the sequence, or pins other layers; more tokens do no harm.
class MapJob {
 public:
  // Does work of about `milliseconds` of the device's time (at least one piece, made for the finest bound
  // that was given to AttentionMaps::job) and waits for it. Returns done().
  bool step(double milliseconds);
  bool done() const;
  double progress() const;  // 0 to 1, by work
  double gpu_ms() const;    // of the last step, by timestamps where the device has them
  uint32_t lines_done() const;
  const MapRequest& request() const;
  // [n_heads, n_lines, width]; lines from lines_done() on are 0.
  std::span<const float> values() const;

  ~MapJob();
  MapJob(MapJob&&) noexcept;
  MapJob& operator=(MapJob&&) noexcept;

 private:
  friend class AttentionMaps;
  struct State;
  explicit MapJob(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

struct MapToken {
  int id = 0;
  std::string text;  // the bytes of the token, maybe a part of a character
};

// What a layer's map is made of.
struct MapLayer {
  uint32_t index = 0;  // in the model
  uint32_t n_heads = 0, n_kv_heads = 0, head_dim = 0;
  DType k_type = DType::f32;
  uint32_t n_rot = 0;   // elements that turn with the position: pairs 2t and 2t + 1,
  bool halves = false;  // or t and t + n_rot / 2
  AttentionPlan plan;   // passes (windows, sinks), soft cap, slopes, bias, rotary forms and frequencies
};

// Over rows [first, first + n) of the region of a head; means over the rows.
struct HeadStatistics {
  uint32_t layer = 0, head = 0;
  double entropy = 0;        // nats, of the probabilities of keys
  double mean_distance = 0;  // positions from query to key
  double sink_mass = 0;      // probability of the first `sinks` keys
  double window_mass = 0;    // of keys at distances below `window`
  double previous = 0;       // of the key right before the query
  double mass = 0;           // of all keys: below 1 where a learned sink takes a share
};
struct StatisticsOptions {
  uint32_t first_query = 0, n_queries = UINT32_MAX;  // clipped to what was kept
  uint32_t sinks = 4, window = 64;                   // keys, positions
  double piece_ms = 50;                              // device time of a piece of the work, about
};

// One query: what a hover, the line view and ranks need.
struct MapRow {
  std::vector<float> probabilities, scores;  // by key 0 .. query; a score of a key that is not seen: -1e30
  float log_sum_exp = 0;
};

// Bytes on the device.
struct MapMemory {
  uint64_t keys = 0;     // K of the layers, in the cache or of the capture
  uint64_t kept = 0;     // Q and log-sum-exp
  uint64_t scratch = 0;  // of the jobs alive and of the largest statistics
};

// Device times of pieces of work.
struct PieceTimes {
  uint64_t n = 0;
  double longest_ms = 0, all_ms = 0;
  double all_clock_ms = 0;               // from submit to end, as the host sees it
  std::array<uint64_t, 256> quarters{};  // by quarters of a millisecond; the last: and longer

  void add(double ms, double clock_ms);
  void add(const PieceTimes& others);
  double quantile(double share) const;  // milliseconds that such a share of them did not exceed
  uint64_t above(double ms) const;      // how many took longer, to a quarter of a millisecond
};

// One sequence. All calls on the thread that drives the session, between its calls or inside its callbacks
// (PrefillOptions::progress, OnToken): maps follow the session's work in the queue, and see what is there
// then.
class AttentionMaps {
 public:
  // Live: the layers pinned with session.pin(slot, ...) (models/attention_record.h), rows from when they
  // were.
  AttentionMaps(Session& session, int slot);
  // A capture file; no model needed. Throws ErrorKind::model_file with one line that names file, field and
  // byte.
  static AttentionMaps open(Device& device, const std::string& path);
  // Writes beside the path and renames: the old file or the new one, never half of one.
  void save(const std::string& path) const;
  ~AttentionMaps();
  AttentionMaps(AttentionMaps&&) noexcept;

  const std::string& model() const;             // its name
  const std::string& positions() const;         // the position plan in words
  const RopePlan& rope() const;                 // of a capture: method, base, factor, frequencies
  uint32_t n_layers() const;                    // of the model, pinned or not
  std::vector<MapLayer> layers() const;         // the pinned ones, ascending
  const MapLayer& layer(uint32_t index) const;  // throws ErrorKind::usage for one that is not pinned
  bool has_layer(uint32_t index) const;
  std::vector<MapToken> tokens() const;  // of the sequence, as it is now
  uint32_t n_tokens() const;
  // Queries that can be shown: [first, end). Keys are [0, n_tokens()).
  uint32_t first_query() const;
  uint32_t end_query() const;

  // Throws ErrorKind::usage for a region, head or size that is not there. Queries outside first_query() ..
  // end_query() give 0. finest_ms: the least bound that step() will be asked to keep.
  MapJob job(const MapRequest& request, double finest_ms = 4);
  // The whole request at once.
  std::vector<float> tile(const MapRequest& request);
  MapRow row(uint32_t layer, uint32_t head, uint32_t query);
  // What each element adds to the product of a query and a key, scaled: [head_dim], in the form of the first
  // pass that shows the key; none does: empty. Their sum is the score, but for soft cap, slopes and bias.
  std::vector<float> products(uint32_t layer, uint32_t head, uint32_t query, uint32_t key);
  // Of every head of a layer, exact.
  std::vector<HeadStatistics> statistics(uint32_t layer, const StatisticsOptions& options = {});
  MapMemory memory() const;
  const PieceTimes& pieces() const;  // of jobs and statistics, so far

  struct Source;

 private:
  friend class MapJob;
  explicit AttentionMaps(std::unique_ptr<Source> source);
  std::unique_ptr<Source> source_;
};

}  // namespace spindle
#endif
