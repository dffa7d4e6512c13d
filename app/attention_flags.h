// Flags of `spindle attention`, and what they ask of the maps.
#ifndef SPINDLE_APP_ATTENTION_FLAGS_H
#define SPINDLE_APP_ATTENTION_FLAGS_H
#include "app/command.h"
#include "app/prompt_flags.h"
#include "viewer/map.h"

namespace spindle {

struct AttentionFlags {
  DeviceFlags device;
  ModelFlags model;
  PromptFlags prompt;
  uint32_t n = 0;  // tokens to generate
  int layer = -1, head = 0;
  std::string png, npy, open, compare, capture;
  bool csv = false, json = false, heads = false;
  std::string size, pool = "max", scale = "log", colours, queries, keys;
  uint32_t hidden = 0, window = 64;

  AttentionFlags() { model.k_type = model.v_type = "f32"; }  // it is about the model, not about the cache
  void add(CLI::App& command);
  bool wants_map() const { return !png.empty() || !npy.empty() || ((csv || json) && !heads); }
  // The whole picture of one head, or of all (head -1).
  MapRequest request(const AttentionMaps& maps) const;
  StatisticsOptions statistics(const AttentionMaps& maps) const;
};

// Writes the picture; with `other`, the differences from it.
void write_map(const AttentionFlags& flags, AttentionMaps& maps, AttentionMaps* other);
void write_statistics(const AttentionFlags& flags, const std::vector<HeadStatistics>& list);

}  // namespace spindle
#endif
