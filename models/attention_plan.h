// How each layer of a session attends: what its architecture says, how positions are extended, and the
// pattern that a person chose, put together into what the kernels want.
#ifndef SPINDLE_MODELS_ATTENTION_PLAN_H
#define SPINDLE_MODELS_ATTENTION_PLAN_H
#include <map>
#include <string>
#include <vector>

#include "models/architecture.h"
#include "models/positions.h"
#include "shaders/attention/attention_shape.h"

namespace spindle {

// `--attention-pattern NAME:PARAMETERS`, in its causal form.
struct AttentionPattern {
  std::string text;             // as given; empty: the model's own attention
  std::string option;           // "--attention-pattern window:8", "--context-shift window"
  std::vector<KeyPass> passes;  // query version 1: sinks, which see positions inside the cache (StreamingLLM)
  uint32_t first = 0, window = 0;  // of sinks and windows: what a ring must keep; 0: everything
  uint32_t visible = 0;            // keys that a row sees at most; 0: all
  uint32_t seed = 0;
};
// Throws ErrorKind::usage naming what is allowed.
AttentionPattern parse_attention_pattern(const std::string& text);
inline constexpr const char* kAttentionPatterns =
    "window:POSITIONS, sinks:FIRST,WINDOW, longformer:WINDOW,GLOBAL, "
    "bigbird:BLOCK,GLOBAL,RANDOM,WINDOW[,SEED], "
    "dilated:SEGMENT/STRIDE,..., groups:POSITIONS";

// Temperature by position, folded into q: max(1, base + slope ln(1 + (min(position, cap) + offset) / width)).
struct Temperature {
  double base = 1, slope = 0;
  uint32_t offset = 0, width = 1, cap = UINT32_MAX;
};

struct AttentionPlan {
  AttentionShape shape;
  std::vector<RotaryForm> queries, keys;  // versions of q, forms of K; empty: as they are
  std::vector<double> inv_freq;
  bool follows = false;  // the frequencies are the rotary plan's, also when its length changes them
  double magnitude = 1;
  Temperature temperature;
};

// Small tensors that the host reads: sinks [n_heads], relative biases [n_buckets, n_heads]; by name.
using HostTensors = std::map<std::string, std::vector<float>>;

// One plan a layer. Throws ErrorKind::usage where pattern and positions exclude each other.
std::vector<AttentionPlan> plan_attention(const std::vector<Layer>& layers, const Config& config,
                                          const RopePlan& rope, const AttentionPattern& pattern,
                                          const HostTensors& tensors);
// The most versions of queries and forms of keys of any layer: what attention needs memory for.
struct AttentionForms {
  uint32_t queries = 1, keys = 1;
};
AttentionForms forms_of(const std::vector<AttentionPlan>& plans);
// Of the plans that a person's request makes, before any is made.
AttentionForms forms_of(std::span<const Layer> layers, const RopeRequest& person,
                        const AttentionPattern& pattern);
// One line for people: on how many of the layers the pattern holds.
std::string describe(const AttentionPattern& pattern, const std::vector<Layer>& layers);

}  // namespace spindle
#endif
