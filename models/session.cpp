// Drives steps: which shape, which rows, when to wait. The device carries tokens and positions from step to
// step.
#include "models/session.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <chrono>
#include <cmath>
#include <deque>

#include "runtime/error.h"
#include "shaders/matmul/matmul.h"

namespace spindle {
namespace {

constexpr uint32_t kMaxSlots = 32, kRing = 1024, kMinDepth = 256, kMaxRecordings = 64, kMaxContext = 1u << 30;

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

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

SessionOptions checked(SessionOptions o, const Model& model) {
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

}  // namespace

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

Session::Session(const Model& model, const SessionOptions& options)
    : model_(model),
      options_(checked(options, model)),
      rope_(model.plan_rope(options_.context, options_.rope)),
      plans_(model.plan_attention(rope_, options_.pattern)),
      rope_length_(step_length(rope_, 0)),
      stream_(model.device()),
      cache_(model.device(), model.config().n_kv_heads, model.config().head_dim,
             cache_options(options_, forms_of(plans_).keys)),
      transformer_(stream_, model, plans_, cache_, most_rows(options_), options_.logit_rows),
      slots_(options_.n_slots) {
  require(rope_.method != RopeMethod::dynamic ||
              (options_.n_slots == 1 && options_.context_shift == ContextShift::none),
          ErrorKind::usage,
          "--rope-scaling dynamic follows one sequence's length: use it for one at a time, without "
          "--context-shift");
  require(std::bit_ceil(options_.n_slots) <= transformer_.max_rows(), ErrorKind::usage,
          "{} sequences at a time: the activations of {} fit into a binding", options_.n_slots,
          transformer_.max_rows());
  const uint32_t slots = options_.n_slots;
  const std::vector<int> ends = model.end_ids();
  ring_ = ring_of(model.device().caps(), slots);
  options_.steps_in_flight = std::min(options_.steps_in_flight, ring_ / 2);
  require(options_.steps_in_flight > 0, "the last tokens of {} sequences do not fit into a binding", slots);
  SampleState& shared = decode_.sampling;
  state_ = Arena(model.device(), Memory::shared, "step state");
  place_state(state_, prefill_, decode_, options_, transformer_.max_rows(), ring_, ends.size());
  state_.allocate();
  for (const Tensor& t : {prefill_.rows, prefill_.sampling.rows, prefill_.targets, decode_.rows,
                          shared.settings, shared.tokens, shared.status})
    std::ranges::fill(t.host<uint32_t>(), 0u);
  shared.rows = decode_.rows;
  Tensor by_slot = prefill_.sampling.rows;
  prefill_.sampling = shared;
  prefill_.sampling.rows = by_slot;
  const auto identity = decode_.targets.host<uint32_t>();
  for (uint32_t i = 0; i < identity.size(); i++) identity[i] = i;
  if (!ends.empty()) std::ranges::copy(ends, shared.ends.host<uint32_t>().begin());
  calibrate();
}

Session::~Session() { stream_.drain(); }

void Session::profile(bool on) {
  if (on == options_.profile) return;
  stream_.wait();
  recordings_.clear();
  options_.profile = on;
}

// Times a product that the model needs anyway, so that submits can be bounded by what this device does in 100
// ms.
void Session::calibrate() {
  if (model_.device().options().limit_cost > 0) return;
  const Weight& w = model_.weights().layer(0).up.weight;
  const uint32_t rows = std::min(transformer_.max_rows(), 32u);
  const Buffer memory(model_.device(),
                      align_tensor(uint64_t{4} * rows * w.k) + align_tensor(uint64_t{4} * rows * w.n),
                      Memory::device, "calibration");
  const Tensor x(memory, DType::f32, rows, w.k), y(memory, DType::f32, rows, w.n, align_tensor(x.bytes()));
  stream_.begin();
  stream_.fill(x, 0);
  for (int i = 0; i < 4; i++) matmul(stream_, Phase::prefill, y, w, x);
  const Recording recording = stream_.end();
  stream_.wait(stream_.submit(recording));  // compiles
  double fastest = 1e9;
  for (int i = 0; i < 3; i++) {
    const auto start = Clock::now();
    stream_.wait(stream_.submit(recording));
    fastest = std::min(fastest, seconds_since(start));
  }
  model_.device().calibrate(recording.work().cost(), fastest);
}

const Session::Slot& Session::get(int slot) const {
  require(slot >= 0 && static_cast<size_t>(slot) < slots_.size() && slots_[static_cast<size_t>(slot)].used,
          ErrorKind::usage, "sequence {}: there is no such sequence", slot);
  return slots_[static_cast<size_t>(slot)];
}

bool Session::ends(int slot, int id) const {
  return !get(slot).ignore_end && std::ranges::count(model_.end_ids(), id) > 0;
}

int Session::open(const Sampling& s) {
  const auto free = std::ranges::find_if(slots_, [](const Slot& slot) { return !slot.used; });
  require(free != slots_.end(), ErrorKind::usage, "all {} sequences are in use", slots_.size());
  stream_.wait();
  *free = {};
  free->used = true;
  const auto slot = static_cast<int>(free - slots_.begin());
  set_sampling(slot, s);
  clear_status(slot);
  return slot;
}

void Session::set_sampling(int index, const Sampling& s) {
  get(index);
  stream_.wait();
  const auto slot = static_cast<uint32_t>(index);
  slots_[slot].ignore_end = s.ignore_end;
  SampleSettings settings = kSampleDefaults;
  settings.temperature = s.temperature;
  settings.top_k = s.top_k;
  settings.top_p = s.top_p;
  settings.min_p = s.min_p;
  settings.repeat_penalty = s.repeat_penalty;
  settings.repeat_last_n = s.repeat_last_n;
  settings.seed_low = static_cast<uint32_t>(s.seed);
  settings.seed_high = static_cast<uint32_t>(s.seed >> 32);
  settings.sequence = s.sequence;
  settings.end_position = cache_.limit();
  settings.ignore_end = s.ignore_end;
  const Tensor& to = decode_.sampling.settings;
  std::memcpy(to.host<uint32_t>().data() + slot * kSampleWords, &settings, sizeof settings);
}

uint32_t Session::truncate(int slot, uint32_t n) {
  get(slot);
  Slot& s = slots_[static_cast<size_t>(slot)];
  n = std::min(n, n_tokens(slot));
  if (!s.stale && !ring_holds(s, n)) n = s.written = std::min(n, cache_.ring_begin());
  // A page that another sequence reads too must not be written again.
  if (n < cache_.n_shared(static_cast<uint32_t>(slot))) n = n / cache_.page_tokens() * cache_.page_tokens();
  s.tokens.resize(n);
  s.n_prefilled = std::min(s.n_prefilled, n);
  s.next.reset();
  roll_back(slot);
  return n;
}

// Whether the row at position n finds all that it sees: a ring has not come round to it.
bool Session::ring_holds(const Slot& s, uint32_t n) const {
  const uint32_t from = cache_.kept_from(s.written);
  return from == 0 || n <= cache_.ring_begin() || n + 1 >= from + options_.pattern.window;
}

void Session::close(int slot) {
  get(slot);
  stream_.wait();
  cache_.truncate(static_cast<uint32_t>(slot), 0);
  if (record_ && record_->slot() == slot) pin(slot, {});
  slots_[static_cast<size_t>(slot)] = {};
}

void Session::check_ids(std::span<const int> ids) const {
  for (int id : ids)
    require(id >= 0 && static_cast<uint32_t>(id) < model_.config().vocab_size, ErrorKind::usage,
            "token {}: the vocabulary has ids 0 to {}", id, model_.config().vocab_size - 1);
}

void Session::check_room(int slot, size_t n) const {
  const size_t have = get(slot).tokens.size();
  require(have + n <= cache_.limit(), ErrorKind::usage,
          "the prompt has {} tokens{}, the context {}: try -c {} or a shorter prompt", n,
          have ? fmt::format(" after {} earlier ones", have) : "", cache_.context(),
          have + n + 256);  // with room for a reply
}

void Session::write_row(Tensor rows, uint32_t index, Row row) {
  std::memcpy(rows.host<uint32_t>().data() + size_t{4} * index, &row, sizeof row);
}

void Session::write_ring(int slot, uint32_t position, int id) {
  decode_.sampling.tokens.host<uint32_t>()[static_cast<uint32_t>(slot) * ring_ + position % ring_] =
      static_cast<uint32_t>(id);
}

void Session::clear_status(int slot) {
  decode_.sampling.status.host<uint32_t>()[static_cast<size_t>(slot)] = SAMPLE_OK;
}

void Session::check_status(int slot) {
  uint32_t& status = decode_.sampling.status.host<uint32_t>()[static_cast<size_t>(slot)];
  if (status == SAMPLE_OK) return;
  status = SAMPLE_OK;
  fail(ErrorKind::runtime,
       "non-finite logits after {} tokens of sequence {}: the weights hold NaN or infinity, or overflow",
       get(slot).tokens.size(), slot);
}

StepShape Session::shape_for(Phase phase, uint32_t rows, uint32_t n_positions) const {
  StepShape shape = step_shape(phase, rows, n_positions);
  shape.segments = cache_.n_segments(n_positions);
  return shape;
}

StepShape Session::keeping(StepShape shape, int slot, uint32_t begin, uint32_t end) {
  if (!record_ || record_->slot() != slot || !record_->reserve(end)) return shape;
  shape.kept = begin / record_->part_positions();
  shape.end_kept = (end - 1) / record_->part_positions() + 1;
  return shape;
}

void Session::pin(int slot, const AttentionPins& pins) {
  get(slot);
  require(options_.context_shift == ContextShift::none || pins.layers.empty(), ErrorKind::usage,
          "attention maps need every key: not with --context-shift");
  stream_.wait();
  std::unique_ptr<AttentionRecord> record;
  if (!pins.layers.empty())
    record = std::make_unique<AttentionRecord>(model_.device(), plans_, model_.config().head_dim,
                                               transformer_.max_rows(), cache_.limit(), slot, pins);
  std::erase_if(recordings_, [](const auto& r) { return r.first.kept < r.first.end_kept; });
  transformer_.keep(record.get());
  record_ = std::move(record);
  n_pins_++;
}

uint64_t Session::run(const StepShape& shape) {
  const auto submit = [&](const Recording& recording) {
    const uint64_t ticket = stream_.submit(recording);
    if (options_.profile) {
      stream_.wait(ticket);
      add_timings(recording.timings(true));
    }
    return ticket;
  };
  const auto found = recordings_.find(shape);
  if (found != recordings_.end()) return submit(found->second);
  if (!transformer_.serves(shape) || recordings_.size() >= kMaxRecordings) {
    stream_.wait();
    recordings_.clear();
    transformer_.reserve(shape);
  }
  stream_.begin(options_.profile);
  transformer_.record(shape, shape.phase == Phase::prefill ? prefill_ : decode_);
  return submit(recordings_.emplace(shape, stream_.end()).first->second);
}

void Session::add_timings(const std::vector<Timing>& more) {
  for (const Timing& t : more) {
    const auto share = [](const Timing& a) {
      return std::pair(a.work.bytes / a.dispatches, a.work.operations / a.dispatches);
    };
    const auto found = std::ranges::find_if(
        timings_, [&](const Timing& o) { return o.name == t.name && share(o) == share(t); });
    if (found == timings_.end()) {
      timings_.push_back(t);
      continue;
    }
    found->ns += t.ns;
    found->dispatches += t.dispatches;
    found->work += t.work;
  }
}

// Whole pages that another sequence has computed with the prefill kernels from the same tokens.
uint32_t Session::share_prefix(int slot, std::span<const int> ids) {
  if (!options_.share_prefixes || options_.context_shift != ContextShift::none ||
      (record_ && record_->slot() == slot) || !slots_[static_cast<size_t>(slot)].tokens.empty())
    return 0;
  uint32_t best = 0, from = 0;
  for (uint32_t other = 0; other < slots_.size(); other++) {
    const Slot& s = slots_[other];
    if (!s.used || other == static_cast<uint32_t>(slot)) continue;
    // The last token is always computed: its logits are wanted.
    const size_t most = std::min<size_t>(s.n_prefilled, ids.size() - 1);
    const size_t same = static_cast<size_t>(
        std::mismatch(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(most), s.tokens.begin()).first -
        ids.begin());
    const auto whole = static_cast<uint32_t>(same / cache_.page_tokens() * cache_.page_tokens());
    if (whole > best) best = whole, from = other;
  }
  if (best > 0) cache_.share(from, static_cast<uint32_t>(slot), best);
  return best;
}

void Session::prefill(int slot, std::span<const int> ids, const PrefillOptions& options) {
  get(slot);
  Slot& s = slots_[static_cast<size_t>(slot)];
  check_ids(ids);
  std::vector<int> all;
  if (s.next && s.emitted) all.push_back(*s.next);
  all.insert(all.end(), ids.begin(), ids.end());
  require(!all.empty(), ErrorKind::usage, "the prompt is empty");
  check_room(slot, all.size());
  stream_.wait();
  const auto start = Clock::now();
  clear_status(slot);
  bring_up_to_date(slot, static_cast<uint32_t>(s.tokens.size() + all.size()));
  Slot before = s;
  const bool contiguous = s.n_prefilled == s.tokens.size();
  try {
    prefill_all(slot, all, options);
  } catch (...) {
    before.written = s.written;
    s = std::move(before);
    roll_back(slot);
    throw;
  }
  if (contiguous) s.n_prefilled = n_tokens(slot);
  statistics_.prefill_tokens += all.size();
  statistics_.prefill_seconds += seconds_since(start);
}

// Before a sequence grows to n_positions: `dynamic` gets the frequencies of that length. What the cache holds
// of others, and what a failure took from a ring, is computed anew; should that fail, then the next time.
void Session::bring_up_to_date(int slot, uint32_t n_positions) {
  const double length = step_length(rope_, n_positions);
  Slot& s = slots_[static_cast<size_t>(slot)];
  if (length != rope_length_) {
    stream_.wait();
    transformer_.retune(inv_freq_at(rope_, rope_length_), inv_freq_at(rope_, length));
    rope_length_ = length;
    s.stale = !s.tokens.empty();
  }
  if (!s.stale) return;
  s.n_prefilled = 0;
  Slot before = s;
  try {
    cache_.truncate(static_cast<uint32_t>(slot), 0);
    if (record_ && record_->slot() == slot) record_->truncate(0);
    s.tokens.clear();
    s.written = 0;
    prefill_all(slot, before.tokens, {.sample = false, .progress = {}, .on_logits = {}});
  } catch (...) {
    s = std::move(before);
    roll_back(slot);
    throw;
  }
  s.next = before.next;
  s.emitted = before.emitted;
  s.n_prefilled = n_tokens(slot);
  s.stale = false;
}

// Makes cache and ring what they were when the sequence had its present tokens.
void Session::roll_back(int slot) {
  stream_.drain();
  Slot& s = slots_[static_cast<size_t>(slot)];
  const std::vector<int>& tokens = s.tokens;
  const auto n = static_cast<uint32_t>(tokens.size());
  if (n == 0) s.written = 0;
  s.stale = n > 0 && (s.stale || !ring_holds(s, n));
  cache_.truncate(static_cast<uint32_t>(slot), n);
  if (record_ && record_->slot() == slot) record_->truncate(n);
  for (uint32_t i = n - std::min(n, ring_); i < n; i++) write_ring(slot, i, tokens[i]);
  clear_status(slot);
}

void Session::prefill_all(int slot, std::span<const int> all, const PrefillOptions& options) {
  Slot& s = slots_[static_cast<size_t>(slot)];
  const bool every = static_cast<bool>(options.on_logits);
  uint32_t done = every ? 0 : share_prefix(slot, all);
  statistics_.shared_tokens += done;
  s.next.reset();
  s.tokens.insert(s.tokens.end(), all.begin(), all.begin() + done);
  for (uint32_t i = 0; i < done; i++) write_ring(slot, i, all[i]);

  const auto total = static_cast<uint32_t>(all.size());
  const uint32_t most = std::min(
      options_.prefill_chunk,
      every ? std::min(transformer_.max_rows(), transformer_.max_logit_rows()) : transformer_.max_rows());
  while (done < total) {
    const uint32_t n = std::min(most, total - done), first = static_cast<uint32_t>(s.tokens.size());
    const bool final = done + n == total;
    cache_.reserve(static_cast<uint32_t>(slot), first + n);
    for (uint32_t i = 0; i < n; i++) {
      const int id = all[done + i];
      write_row(prefill_.rows, i, {static_cast<uint32_t>(id), static_cast<uint32_t>(slot), first + i, 1});
      write_ring(slot, first + i, id);
    }
    StepShape shape = keeping(shape_for(Phase::prefill, n, first + n), slot, first, first + n);
    shape.logits = every ? Logits::all : final && options.sample ? Logits::last : Logits::none;
    shape.sample = !every && final && options.sample;
    if (shape.sample) {
      write_row(prefill_.sampling.rows, static_cast<uint32_t>(slot),
                {0, static_cast<uint32_t>(slot), first + n - 1, 1});
      prefill_.targets.host<uint32_t>()[0] = static_cast<uint32_t>(slot);
    }
    s.written = std::max(s.written, first + n);
    stream_.wait(run(shape));
    if (shape.kept < shape.end_kept) record_->add(first, first + n);
    s.tokens.insert(s.tokens.end(), all.begin() + done, all.begin() + done + n);
    done += n;
    if (every) {
      const std::vector<float> logits = read_logits(n);
      const size_t vocabulary = model_.config().vocab_size;
      for (uint32_t i = 0; i < n; i++)
        options.on_logits(first + i, std::span(logits).subspan(i * vocabulary, vocabulary));
    }
    if (shape.sample) {
      check_status(slot);
      s.next =
          static_cast<int>(decode_.sampling.tokens
                               .host<uint32_t>()[static_cast<uint32_t>(slot) * ring_ + (first + n) % ring_]);
      s.emitted = false;
    }
    if (options.progress) options.progress(done, total);
  }
}

std::vector<float> Session::read_logits(uint32_t rows) {
  const size_t vocabulary = model_.config().vocab_size;
  std::vector<float> values(rows * vocabulary);
  std::span<float> left(values);
  for (const Tensor& part : transformer_.logits()) {
    const std::span<float> here = left.first(std::min(left.size(), part.rows * vocabulary));
    if (here.empty()) break;
    stream_.download(std::as_writable_bytes(here), part);
    left = left.subspan(here.size());
  }
  assert(left.empty());
  return values;
}

std::vector<float> Session::decode(int slot, int id) {
  get(slot);
  Slot& s = slots_[static_cast<size_t>(slot)];
  check_ids({&id, 1});
  check_room(slot, 1);
  require(!(s.next && s.emitted), ErrorKind::usage,
          "sequence {}: a generated token waits to be continued, give it to prefill", slot);
  stream_.wait();
  clear_status(slot);
  const auto position = static_cast<uint32_t>(s.tokens.size());
  bring_up_to_date(slot, position + 1);
  cache_.reserve(static_cast<uint32_t>(slot), position + 1);
  write_row(decode_.rows, 0, {static_cast<uint32_t>(id), static_cast<uint32_t>(slot), position, 1});
  write_ring(slot, position, id);
  StepShape shape = keeping(shape_for(Phase::decode, 1, position + 1), slot, position, position + 1);
  shape.sample = false;
  s.written = std::max(s.written, position + 1);
  try {
    stream_.wait(run(shape));
    if (shape.kept < shape.end_kept) record_->add(position, position + 1);
  } catch (...) {
    roll_back(slot);
    throw;
  }
  s.tokens.push_back(id);
  s.next.reset();
  return read_logits(1);
}

void Session::generate(std::span<const int> slots, uint32_t max_tokens, const OnToken& on_token) {
  std::vector<Active> active;
  for (int slot : slots) {
    require(std::ranges::count(slots, slot) == 1, ErrorKind::usage, "sequence {} is named twice", slot);
    require(get(slot).next.has_value(), ErrorKind::usage,
            "sequence {}: there is nothing to continue, give it a prompt first", slot);
  }
  for (int slot : slots) {
    Slot& s = slots_[static_cast<size_t>(slot)];
    if (max_tokens == 0) continue;
    Active a{slot, max_tokens};
    if (!s.emitted) {
      s.emitted = true;
      a.left--;
      if (!on_token(slot, *s.next) || ends(slot, *s.next)) continue;
    }
    active.push_back(a);
  }
  const auto start = Clock::now();
  while (true) {
    std::erase_if(active, [&](const Active& a) {
      return a.stopped || a.left == 0 || n_tokens(a.slot) >= cache_.limit();
    });
    if (active.empty()) break;
    try {
      for (const Active& a : active) bring_up_to_date(a.slot, n_tokens(a.slot) + 1);
      decode_round(active, on_token);
    } catch (...) {
      for (const Active& a : active) roll_back(a.slot);
      throw;
    }
  }
  statistics_.decode_seconds += seconds_since(start);
}

// Steps with one set of sequences, until one of them stops. Several steps are in flight: the device needs
// nothing from the host between them. What a stopped sequence did too much is rolled back.
void Session::decode_round(std::vector<Active>& active, const OnToken& on_token) {
  stream_.wait();
  for (const Active& a : active) clear_status(a.slot);  // a step too many may have met what is not finite
  const uint32_t rows = std::bit_ceil(static_cast<uint32_t>(active.size()));
  for (uint32_t i = 0; i < rows; i++) write_row(decode_.rows, i, {0, 0, 0, 0});
  uint32_t steps = UINT32_MAX, deepest = 0;
  std::vector<uint32_t> base;
  for (uint32_t i = 0; i < active.size(); i++) {
    const Slot& s = slots_[static_cast<size_t>(active[i].slot)];
    const auto position = static_cast<uint32_t>(s.tokens.size());
    base.push_back(position);
    write_row(decode_.rows, i,
              {static_cast<uint32_t>(*s.next), static_cast<uint32_t>(active[i].slot), position, 1});
    steps = std::min({steps, active[i].left, cache_.limit() - position});
    if (rope_length_ < cache_.limit())
      steps = std::min(steps, static_cast<uint32_t>(rope_length_) - position);
    deepest = std::max(deepest, position);
  }
  const auto ring = decode_.sampling.tokens.host<uint32_t>();
  struct Flight {
    uint64_t ticket;
    uint32_t pins;  // with which it keeps what maps need; 0: it does not
  };
  std::deque<Flight> flights;
  size_t kept = active.size();  // which of the sequences that is done for
  uint32_t launched = 0, finished = 0;
  bool stopped = false;
  while (finished < launched || (!stopped && launched < steps)) {
    while (!stopped && launched < steps && launched - finished < options_.steps_in_flight) {
      for (uint32_t i = 0; i < active.size(); i++) {
        uint32_t& written = slots_[static_cast<size_t>(active[i].slot)].written;
        written = std::max(written, base[i] + launched + 1);
        cache_.reserve(static_cast<uint32_t>(active[i].slot), base[i] + launched + 1);
      }
      StepShape shape = shape_for(Phase::decode, rows, deepest + launched + 1);
      for (kept = 0; record_ && kept < active.size() && active[kept].slot != record_->slot();) kept++;
      if (record_ && kept < active.size())
        shape = keeping(shape, active[kept].slot, base[kept] + launched, base[kept] + launched + 1);
      flights.push_back({run(shape), shape.kept < shape.end_kept ? n_pins_ : 0});
      launched++;
    }
    stream_.wait(flights.front().ticket);
    if (record_ && flights.front().pins == n_pins_ && !active[kept].stopped)
      record_->add(base[kept] + finished, base[kept] + finished + 1);
    flights.pop_front();
    for (uint32_t i = 0; i < active.size(); i++) {
      if (active[i].stopped) continue;
      const int slot = active[i].slot;
      Slot& s = slots_[static_cast<size_t>(slot)];
      check_status(slot);
      s.tokens.push_back(*s.next);
      s.next = static_cast<int>(ring[static_cast<uint32_t>(slot) * ring_ + (base[i] + finished + 1) % ring_]);
      s.emitted = true;
      active[i].left--;
      statistics_.decode_tokens++;
      if (!on_token(slot, *s.next) || ends(slot, *s.next)) active[i].stopped = stopped = true;
    }
    finished++;
  }
  stream_.wait();
  for (const Active& a : active) {
    cache_.truncate(static_cast<uint32_t>(a.slot), n_tokens(a.slot));
    if (record_ && record_->slot() == a.slot) record_->truncate(n_tokens(a.slot));
  }
}

}  // namespace spindle
