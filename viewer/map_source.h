// What a map is made from, whether a session has it or a capture: for the files of this library.
#ifndef SPINDLE_VIEWER_MAP_SOURCE_H
#define SPINDLE_VIEWER_MAP_SOURCE_H
#include <deque>
#include <map>

#include "shaders/attention_map/attention_map.h"
#include "viewer/map.h"

namespace spindle {

struct AttentionMaps::Source {
  explicit Source(Device& a_device) : device(a_device), stream(a_device) {}
  virtual ~Source() = default;
  // As of now; layer is pinned.
  virtual MapSource layer_source(uint32_t layer) = 0;
  virtual std::vector<MapToken> tokens() const = 0;
  virtual uint32_t n_tokens() const = 0;
  virtual uint32_t first_query() const = 0;
  virtual uint32_t end_query() const = 0;
  virtual std::vector<uint32_t> pinned() const = 0;  // ascending
  virtual const MapLayer& layer(uint32_t index) const = 0;
  virtual MapMemory memory() const = 0;  // without scratch

  // attention_table(shape), uploaded once.
  Tensor table(uint32_t layer, const AttentionShape& shape);
  double cost_of(double milliseconds) const;
  // Runs what was recorded since stream.begin(true); its milliseconds, by timestamps where the device has
  // them.
  double finish(double cost);

  Device& device;
  Stream stream;
  std::string model, positions;
  RopePlan rope;
  uint32_t n_layers = 0;
  uint64_t scratch = 0;    // of the jobs alive
  double ms_per_cost = 0;  // 0: not known yet
  PieceTimes pieces;       // of what finish() ran
  std::map<uint32_t, Buffer> tables;
};

// A capture's file, version 1: "SPNDLMAP", u32 version, u32 number of sections; each section: tag of 4
// letters, u32 layer, u64 bytes, the bytes, u64 hash of all that. Little-endian.
//   INFO  JSON: the model's name, positions, plans of the layers, how many tokens and rows there are
//   TOKN  per token: i32 id, u64 length, text
//   KEYS, KEY2  u32 first page, u32 pages, then the pages as they lie in the cache
//   (shaders/attention/cache.h), in the
//         order of positions; KEY2: the second form of K
//   QURY  u32 first position, u32 rows, f32 q [versions, rows, n_heads * head_dim], f32 log-sum-exp [rows,
//   n_heads]
void write_capture(AttentionMaps::Source& source, const std::string& path);
std::unique_ptr<AttentionMaps::Source> read_capture(Device& device, const std::string& path);

}  // namespace spindle
#endif
