// A session's sequences and the steps that it records and replays. The device carries tokens and positions
// from step to step.
#include "models/session.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "models/session_plan.h"
#include "runtime/error.h"
#include "shaders/matmul/matmul.h"

namespace spindle {
namespace {

constexpr uint32_t kMaxRecordings = 64;

}  // namespace

Session::Session(const Model& model, const SessionOptions& options)
    : model_(model),
      options_(checked_options(options, model)),
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
  const LayerWeights& layer = model_.weights().layer(0);
  const Weight& w = layer.gate_up.empty() ? layer.output.weight : layer.gate_up.back().weight;
  const uint32_t rows = std::min(transformer_.max_rows(), 32u);
  const Buffer memory(model_.device(),
                      align_tensor(uint64_t{4} * rows * w.k) + align_tensor(uint64_t{4} * rows * w.n),
                      Memory::device, "calibration");
  const Tensor x(memory, DType::f32, rows, w.k), y(memory, DType::f32, rows, w.n, align_tensor(x.bytes()));
  stream_.fill(x, 0);
  matmul(stream_, Phase::prefill, y, w, x);
  stream_.run();  // compiles
  // Some 0.4 GFLOP, whatever the model: enough to be timed, and no long wait on the slowest devices.
  const double n = std::clamp(4e8 / (2.0 * rows * w.n * w.k), 1.0, 16.0);
  stream_.begin();
  for (int i = 0; i < static_cast<int>(n); i++) matmul(stream_, Phase::prefill, y, w, x);
  const Recording recording = stream_.end();
  double fastest = 1e9;
  for (int i = 0; i < 3; i++) {
    const Stopwatch watch;
    stream_.wait(stream_.submit(recording));
    fastest = std::min(fastest, watch.seconds());
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
  const auto record = [&] { transformer_.record(shape, shape.phase == Phase::prefill ? prefill_ : decode_); };
  stream_.compile(record);
  stream_.begin(options_.profile);
  record();
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

}  // namespace spindle
