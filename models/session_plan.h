// What a session makes of its options, shared by its sources.
#ifndef SPINDLE_MODELS_SESSION_PLAN_H
#define SPINDLE_MODELS_SESSION_PLAN_H
#include <chrono>

#include "models/session.h"

namespace spindle {

// The options in force: the context is known, a context that shifts is a pattern. Throws ErrorKind::usage.
SessionOptions checked_options(SessionOptions options, const Model& model);

uint32_t most_rows(const SessionOptions& options);  // of a step
KvCacheOptions cache_options(const SessionOptions& options, uint32_t key_forms);
uint32_t ring_of(const Caps& caps, uint32_t slots);  // tokens that the device remembers of each sequence
void place_state(Arena& arena, StepState& prefill, StepState& decode, const SessionOptions& options,
                 uint32_t rows, uint32_t ring, size_t n_ends);
StepShape step_shape(Phase phase, uint32_t rows, uint32_t n_positions);

class Stopwatch {
 public:
  double seconds() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point start_ = Clock::now();
};

}  // namespace spindle
#endif
