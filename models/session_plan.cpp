// What a session's options come to: ranges, the cache, the state of steps, and the memory of it all.
#include "models/session_plan.h"

#include <algorithm>
#include <bit>

#include "runtime/error.h"

namespace spindle {
namespace {

constexpr uint32_t kMaxSlots = 32, kRing = 1024, kMinDepth = 256, kMaxContext = 1u << 30;

void check_ranges(const SessionOptions& o) {
  require(o.context <= kMaxContext, ErrorKind::usage, "a context of {} positions, allowed are up to {}",
          o.context, kMaxContext);
  require(o.n_slots >= 1 && o.n_slots <= kMaxSlots, ErrorKind::usage,
          "{} sequences at a time, allowed are 1 to {}", o.n_slots, kMaxSlots);
  require(o.prefill_chunk >= 1, ErrorKind::usage, "a prefill chunk of 0 tokens, allowed are 1 or more");
  require(o.page_tokens >= 16 && o.page_tokens <= 256 && std::has_single_bit(o.page_tokens), ErrorKind::usage,
          "pages of {} tokens, allowed are 16, 32, 64, 128 and 256", o.page_tokens);
}

// What follows from the options alone; the context is known.
SessionOptions settled(SessionOptions o) {
  o.prefill_chunk = std::min(o.prefill_chunk, o.context);
  o.steps_in_flight = std::clamp(o.steps_in_flight, 1u, 64u);
  o.logit_rows = std::max(o.logit_rows, std::bit_ceil(o.n_slots));
  if (o.context_shift != ContextShift::none) {  // a pattern of sinks and window, or of a window alone
    const uint32_t first = o.context_shift == ContextShift::sinks ? std::min(o.n_sinks, o.context - 1) : 0;
    o.pattern = parse_attention_pattern(first ? fmt::format("sinks:{},{}", first, o.context - first)
                                              : fmt::format("window:{}", o.context));
    o.pattern.option = first ? "--context-shift sinks" : "--context-shift window";
  }
  return o;
}

// Positions that a sequence may reach.
uint32_t most_positions(const SessionOptions& o) {
  return o.context_shift == ContextShift::none ? o.context : KvCache::kRingLimit;
}

void check_shift(const SessionOptions& o, const Model& model) {
  if (o.context_shift == ContextShift::none) return;
  require(o.pattern.passes.empty(), ErrorKind::usage,
          "--context-shift and --attention-pattern {}: choose one", o.pattern.text);
  require(model.max_positions() == UINT32_MAX, ErrorKind::usage,
          "--context-shift: this model has embeddings for {} positions and cannot go on past them",
          model.max_positions());
  require(o.context_shift != ContextShift::sinks || (o.n_sinks >= 1 && o.n_sinks < o.context),
          ErrorKind::usage, "--sinks {}: allowed are 1 to {}, fewer than the context", o.n_sinks,
          o.context - 1);
}

}  // namespace

uint32_t most_rows(const SessionOptions& o) { return std::max(o.prefill_chunk, std::bit_ceil(o.n_slots)); }

KvCacheOptions cache_options(const SessionOptions& o, uint32_t k_forms) {
  KvCacheOptions c{o.n_slots, o.context, o.page_tokens, o.k_type, o.v_type};
  c.k_forms = k_forms;
  if (o.context_shift != ContextShift::none) {  // what a row sees, a chunk, steps in flight and a page begun
    c.ring_first = o.pattern.first;
    c.ring_positions = o.pattern.window + std::max(o.prefill_chunk, o.steps_in_flight) + o.page_tokens;
  }
  return c;
}

// The ring is as long as fits into a binding with one of each sequence; penalties look back at most that far.
uint32_t ring_of(const Caps& caps, uint32_t slots) {
  return static_cast<uint32_t>(
      std::min<uint64_t>(kRing, std::bit_floor(caps.max_binding_bytes / (uint64_t{4} * slots))));
}

void place_state(Arena& arena, StepState& prefill, StepState& decode, const SessionOptions& o, uint32_t rows,
                 uint32_t ring, size_t n_ends) {
  const uint32_t slots = o.n_slots, decode_rows = std::bit_ceil(slots);
  SampleState& shared = decode.sampling;
  arena.add(prefill.rows, DType::u32, rows, 4);
  arena.add(prefill.sampling.rows, DType::u32, slots, 4);
  arena.add(prefill.targets, DType::u32, 1, o.logit_rows);
  arena.add(decode.rows, DType::u32, decode_rows, 4);
  arena.add(decode.targets, DType::u32, 1, decode_rows);
  arena.add(shared.settings, DType::u32, slots, kSampleWords);
  arena.add(shared.tokens, DType::u32, slots, ring);
  arena.add(shared.status, DType::u32, slots, 1);
  if (n_ends > 0) arena.add(shared.ends, DType::u32, 1, static_cast<uint32_t>(n_ends));
}

StepShape step_shape(Phase phase, uint32_t rows, uint32_t n_positions) {
  StepShape shape;
  shape.phase = phase;
  shape.rows = rows;
  shape.depth = std::max(kMinDepth, std::bit_ceil(n_positions));
  return shape;
}

SessionOptions checked_options(SessionOptions o, const Model& model) {
  check_ranges(o);
  if (o.context == 0) {  // what the model was trained for, or as much of it as fits in 9/10 of the memory
    const uint64_t free = model.device().free_bytes();
    const Config& c = model.config();
    const uint32_t fits =
        free == 0 ? kMaxContext
                  : Session::largest_context(model.device().caps(), c, layers_of(model.architecture(), c), o,
                                             0, free / 10 * 9);
    o.context = std::min({c.context_length, std::max(fits, 256u), kMaxContext});
  }
  require(o.context <= model.max_positions(), ErrorKind::usage,
          "a context of {} positions, the model has embeddings for {}", o.context, model.max_positions());
  check_shift(o, model);
  return settled(o);
}

uint64_t MemoryNeed::total() const {
  uint64_t sum = 0;
  for (uint64_t part : {weights, cache, activations, scratch, state})
    if (__builtin_add_overflow(sum, part, &sum)) return UINT64_MAX;
  return sum;
}

MemoryNeed Session::memory_needed(const Caps& caps, const Config& c, std::span<const Layer> layers,
                                  const SessionOptions& options) {
  check_ranges(options);
  const SessionOptions o = settled(options);
  const AttentionForms forms = forms_of(layers, o.rope, o.pattern);
  const KvCacheOptions cache = cache_options(o, forms.keys);
  MemoryNeed need;
  need.cache = KvCache::bytes_needed(caps, c.n_kv_heads, c.head_dim, cache);
  need.activations = Transformer::activation_bytes_needed(caps, c, layers, forms, o.context,
                                                          most_positions(o), most_rows(o), o.logit_rows);
  const uint32_t rows = Activations::rows_that_fit(caps, c, layers, most_rows(o));
  const CacheShape shape = KvCache::plan(caps, c.n_kv_heads, c.head_dim, cache).shape;
  for (const auto& [phase, n] : {std::pair{Phase::prefill, std::min(o.prefill_chunk, rows)},
                                 {Phase::decode, std::bit_ceil(o.n_slots)}})
    need.scratch = std::max(
        need.scratch, Transformer::scratch_bytes_needed(caps, c, shape, step_shape(phase, n, o.context)));
  need.scratch = align_tensor(need.scratch);
  Arena arena(caps);
  StepState prefill, decode;
  place_state(arena, prefill, decode, o, rows, ring_of(caps, o.n_slots), 1);
  need.state = arena.planned_bytes();
  return need;
}

uint32_t Session::largest_context(const Caps& caps, const Config& c, std::span<const Layer> layers,
                                  const SessionOptions& options, uint64_t weights, uint64_t free_bytes) {
  SessionOptions o = options;
  const auto fits = [&](uint32_t pages) {
    o.context = pages * o.page_tokens;
    try {
      MemoryNeed need = memory_needed(caps, c, layers, o);
      need.weights = weights;
      return need.total() <= free_bytes;
    } catch (const Error&) {  // a ring must fit into one binding
      if (o.context_shift == ContextShift::none) throw;
      return false;
    }
  };
  uint32_t least = 0,
           most = kMaxContext / o.page_tokens;  // `least` pages fit, more than `most` are not allowed
  while (least < most) {
    const uint32_t middle = least + (most - least + 1) / 2;
    if (fits(middle)) least = middle;
    else most = middle - 1;
  }
  return least * o.page_tokens;
}

}  // namespace spindle
