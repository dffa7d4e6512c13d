// Prompts: shared prefixes, chunks, and what becomes of a sequence when one fails.
#include <algorithm>

#include "models/session.h"
#include "models/session_plan.h"
#include "runtime/error.h"

namespace spindle {
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
  const Stopwatch watch;
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
  statistics_.prefill_seconds += watch.seconds();
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

}  // namespace spindle
