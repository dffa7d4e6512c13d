// The thread that drives the model: it generates, computes maps in bounded pieces, and leaves what it found
// in snapshots. The window only asks and reads; it never waits for the device's long work.
#ifndef SPINDLE_WINDOW_ENGINE_H
#define SPINDLE_WINDOW_ENGINE_H
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "models/session.h"
#include "viewer/map.h"

namespace spindle {

enum class Doing { nothing, reading, writing, paused, comparing };

// Where maps come from: the running text, the same text under other positions, a file.
struct SourceInfo {
  std::string name, positions, model;
  RopePlan rope;
  uint32_t n_layers = 0, n_tokens = 0, first_query = 0, end_query = 0;
  std::vector<MapLayer> layers;  // pinned
  std::vector<double> loss;      // nats of each token after the first, where it was measured
  double perplexity = 0;         // 0: not measured
  uint64_t version = 0;          // another one: maps made before are stale
};

struct CacheInfo {
  uint32_t page_tokens = 0, used_pages = 0, layers = 0;
  std::vector<uint32_t> users;  // by page of the running text
  uint64_t bytes_per_page = 0, allocated = 0, full = 0;
  DType k_type = DType::f16, v_type = DType::f16;
  std::vector<uint64_t> bytes_by_layer;  // of one page
};

struct RatePoint {
  double tokens = 0, per_second = 0;
  bool reading = false;
};

struct Snapshot {
  Doing doing = Doing::nothing;
  std::string error;  // of the last command; empty
  ErrorKind error_kind = ErrorKind::runtime;
  uint32_t done = 0, all = 0;
  std::vector<MapToken> tokens;
  uint32_t n_prompt = 0;
  uint32_t context = 0;
  SessionStatistics statistics;
  std::shared_ptr<const std::vector<float>> logits;  // of the next token, while nothing runs
  std::vector<SourceInfo> sources;                   // [0]: the running text
  CacheInfo cache;
  MapMemory maps;
  std::vector<Heap> heaps;
  MemoryNeed memory;
  uint64_t allocated = 0;
  std::vector<Timing> timings;  // of the last step, when asked for
  std::vector<RatePoint> rates;
  double map_ms = 0;      // device time of the last piece of a map
  PieceTimes pieces;      // of all maps and statistics of what is open
  double writing_ms = 0;  // of the last token, pins included
};

struct MapWant {
  size_t source = 0;
  MapRequest request;
  bool operator==(const MapWant& o) const;
};

struct MapImage {
  MapWant want;
  std::vector<float> values;  // [n_heads, height, width]
  uint32_t lines = 0;         // from the top, that are exact
  bool coarse = false;        // sampled, or from before the text grew
  uint64_t serial = 0;        // another one: other values
};

struct RowWant {
  size_t source = 0;
  uint32_t layer = 0, head = 0, query = 0;
  std::optional<uint32_t> key = {};  // of the pair whose elements are wanted
  bool operator==(const RowWant&) const = default;
};

struct RowFound {
  RowWant want;
  MapRow row;
  std::vector<float> products;  // by element, of the query and the key
};

struct StatisticsFound {
  size_t source = 0;
  uint64_t version = 0;
  StatisticsOptions options;
  std::vector<HeadStatistics> heads;  // of all layers
};

struct NamedPositions {
  std::string name;
  RopeRequest request;
};

class Engine {
 public:
  // model: null when only captures are looked at. finest_ms: the most device time of one piece of a map.
  Engine(Device& device, const Model* model, const SessionOptions& options, const Sampling& sampling,
         double piece_ms);
  ~Engine();  // stops within a step

  // What a person asks for; each returns at once.
  void prompt(const std::string& text, uint32_t n_tokens);
  void write(uint32_t n_tokens);  // goes on
  void pause();
  void truncate(uint32_t n_tokens);  // back to so many
  void set_sampling(const Sampling& sampling);
  void set_positions(const RopeRequest& request);  // the text is read again
  void compare(const std::vector<NamedPositions>& list);
  void save(const std::string& path, size_t source);
  void write_map(const std::string& path, const MapWant& want);  // .npy or .json, the cells of the request
  void open(const std::string& path);
  void close(size_t source);
  void profile(bool on);
  void pin(bool on);  // whether what maps need is kept

  // What the panels show; asked for in every frame, answered when there is time. Null: no longer wanted.
  void want_map(const std::string& key, const MapWant* want);
  std::shared_ptr<const MapImage> map(const std::string& key);
  void want_row(const RowWant& want);
  std::shared_ptr<const RowFound> row();
  void want_statistics(size_t source, const StatisticsOptions& options);
  std::shared_ptr<const StatisticsFound> statistics();

  std::shared_ptr<const Snapshot> snapshot();
  bool idle();
  void wait();  // until nothing is left to do

  const Model* model() const { return model_; }
  Device& device() { return device_; }

 private:
  struct Interrupted {};  // thrown out of a prefill that is not wanted any more
  struct Source {
    std::string name;
    std::unique_ptr<Session> session;
    int slot = 0;
    std::unique_ptr<AttentionMaps> maps;
    std::vector<double> loss;
    uint64_t version = 1;
  };
  struct Job {
    MapWant want;
    bool exact = false;
    uint64_t version = 0;
    uint32_t n_tokens = 0;
    std::unique_ptr<MapJob> job;
    std::shared_ptr<const MapImage> image;
  };
  void post(std::function<void()> command);
  void loop();
  bool advance_text();
  bool advance_maps();
  bool advance_row();
  bool advance_statistics();
  void publish(bool everything);
  std::unique_ptr<Source> make_source(const std::string& name, const RopeRequest& rope, uint32_t logit_rows);
  void read(std::span<const int> ids);
  void refresh_maps(Source& source);
  MapRequest clipped(const Source& source, MapRequest request) const;
  void note_rate(uint64_t tokens, double seconds, bool reading);

  Device& device_;
  const Model* model_;
  SessionOptions options_;
  Sampling sampling_;
  double piece_ms_;
  bool pin_ = true, profile_ = false;

  // The thread's own.
  std::deque<std::unique_ptr<Source>> sources_;
  std::vector<MapToken> tokens_;
  uint32_t n_prompt_ = 0, left_ = 0, done_ = 0, all_ = 0;
  uint64_t serial_ = 0, versions_ = 1;
  Doing doing_ = Doing::nothing;
  bool logits_there_ = false;
  double map_ms_ = 0, writing_ms_ = 0;
  std::vector<RatePoint> rates_;
  std::vector<Timing> timings_;
  std::string error_;
  ErrorKind error_kind_ = ErrorKind::runtime;
  std::shared_ptr<const std::vector<float>> logits_;
  std::map<std::string, Job> jobs_;
  std::optional<RowWant> row_done_;
  uint64_t row_version_ = 0;

  std::mutex mutex_;
  std::condition_variable woken_, rested_;
  std::deque<std::function<void()>> commands_;
  std::map<std::string, MapWant> wants_;
  std::optional<RowWant> row_want_;
  std::optional<std::pair<size_t, StatisticsOptions>> statistics_want_;
  std::map<std::string, std::shared_ptr<const MapImage>> images_;
  std::shared_ptr<const RowFound> row_;
  std::shared_ptr<const StatisticsFound> statistics_;
  std::shared_ptr<const Snapshot> snapshot_;
  bool stop_ = false, idle_ = false, changed_ = false, interrupt_ = false;
  std::thread thread_;
};

}  // namespace spindle
#endif
