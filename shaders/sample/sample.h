// Sampling on the device: logits -> next token, written where the next replay of the step reads it.
//
// Stages, in llama.cpp's order: repeat penalty, top-k, top-p, min-p, temperature, draw. The order of
// candidates is logit descending, then id ascending, everywhere. The draw is an exponential race
// (Gumbel-max): of the kept tokens the one with the largest logit / temperature - log(E) wins, E exponential
// from Philox4x32-10 (Salmon et al., SC 2011) keyed by (seed, sequence, position, token): no sum, no order,
// the same token on every device.
#ifndef SPINDLE_SHADERS_SAMPLE_H
#define SPINDLE_SHADERS_SAMPLE_H
#include "shaders/common/rows.h"
#ifdef __cplusplus
#include <span>

#include "shaders/common/op.h"
namespace spindle {
#endif

// How one slot samples; one row of a u32 tensor [slots, kSampleWords].
struct SampleSettings {
  float temperature;     // 0 or less: the largest logit
  uint top_k;            // 0: all
  float top_p;           // 1 or more: all
  float min_p;           // 0 or less: all
  float repeat_penalty;  // positive logits divided, others multiplied, each token once; 1 or <= 0: none
  uint repeat_last_n;    // positions it looks back, this one included; at most the ring and SAMPLE_MAX_RECENT
  uint seed_low, seed_high;
  uint sequence;      // keeps sequences with one seed apart
  uint end_position;  // the row goes out of use when its position reaches this
  uint ignore_end;    // 1: end tokens do not end
};

struct SampleParameters {
  uint vocab, n_rows, ring, n_ends;
  uint first;     // of targets, for logits row 0
  uint logprobs;  // 1: the binding is there
};

#define SAMPLE_MAX_RECENT 512

// Words of `status`, one a slot; the host clears them, the device only ever sets an error.
#define SAMPLE_OK 0
#define SAMPLE_NOT_FINITE 1

#ifdef __cplusplus
constexpr uint32_t kSampleWords = sizeof(SampleSettings) / 4;
constexpr SampleSettings kSampleDefaults = {0.8f, 40, 0.95f, 0.05f, 1.0f, 64, 0, 0, 0, UINT32_MAX, 0};

// What sampling reads and changes from step to step.
struct SampleState {
  Tensor rows;      // u32 [n_rows, 4], Row: token, position and in_use are written
  Tensor settings;  // u32 [slots, kSampleWords]
  Tensor tokens;    // u32 [slots, ring]: the token at position p lies at p % ring, the prompt's too
  Tensor ends;      // u32 [1, n]: ids that end a text; may be empty
  Tensor status;    // u32 [slots, 1]
  Tensor logprobs;  // f32 [slots, ring]: log softmax(logits)[token], before every stage; may be empty
};

// For each row i of logits (f32 [n, vocab]), with r = targets[first + i] (u32 [1, m]) and p =
// rows[r].position, the position of the token whose logits these are: t is chosen, tokens[slot][(p + 1) %
// ring] = t, rows[r] becomes {t, slot, p + 1, in_use}; in_use = 0 when t is an end or p + 1 >= end_position.
// Rows not in use, and targets >= n_rows, are skipped. Logits with a NaN, a +infinity or nothing finite set
// the slot's status and in_use = 0 and change nothing else. No two targets may share a slot.
void sample(Stream& stream, const SampleState& state, Tensor logits, Tensor targets, uint32_t first = 0);
std::vector<KernelSpec> sample_kernels(const Caps& caps);

namespace reference {

struct Candidate {
  uint32_t token;
  double probability;  // after temperature, of those kept
};
struct Sample {
  uint32_t status = SAMPLE_OK;
  uint32_t token = 0;
  double logprob = 0;
  std::vector<Candidate> kept;  // in order
  // How near the nearest decision was, so that tests can leave out what f32 may decide otherwise:
  double race = 0;  // by how much the winner's score exceeds the next
  double filter =
      0;  // smallest distance of a candidate from the limits of top-p and min-p, and of tied penalties
};
// recent: tokens up to and including this position, the oldest first.
Sample sample(std::span<const float> logits, const SampleSettings& settings, std::span<const uint32_t> recent,
              uint32_t position);

}  // namespace reference
}  // namespace spindle
#endif
#endif
