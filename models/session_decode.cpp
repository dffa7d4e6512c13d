// Tokens one by one: a known one, or as they are sampled, with several steps in flight.
#include <algorithm>
#include <bit>
#include <cassert>
#include <deque>

#include "models/session.h"
#include "models/session_plan.h"
#include "runtime/error.h"

namespace spindle {
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
  const Stopwatch watch;
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
  statistics_.decode_seconds += watch.seconds();
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
