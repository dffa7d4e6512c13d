// The engine's thread: commands, then one token, then one piece of a map, and again.
#include "viewer/window/engine.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "runtime/error.h"

namespace spindle {
namespace {

using Clock = std::chrono::steady_clock;
double since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

bool same(const StatisticsOptions& a, const StatisticsOptions& b) {
  return a.first_query == b.first_query && a.n_queries == b.n_queries && a.sinks == b.sinks &&
         a.window == b.window;
}

}  // namespace

bool MapWant::operator==(const MapWant& o) const {
  const MapRequest &a = request, &b = o.request;
  return source == o.source && a.layer == b.layer && a.first_head == b.first_head && a.n_heads == b.n_heads &&
         a.region == b.region && a.width == b.width && a.height == b.height && a.pool == b.pool &&
         a.hidden_keys == b.hidden_keys;
}

Engine::Engine(Device& device, const Model* model, const SessionOptions& options, const Sampling& sampling,
               double piece_ms)
    : device_(device), model_(model), options_(options), sampling_(sampling), piece_ms_(piece_ms) {
  if (model_) sources_.push_back(make_source("running", options_.rope, 1));
  publish(true);
  thread_ = std::thread([this] { loop(); });
}

Engine::~Engine() {
  {
    std::lock_guard lock(mutex_);
    stop_ = interrupt_ = true;
  }
  woken_.notify_all();
  thread_.join();
}

void Engine::post(std::function<void()> command) {
  {
    std::lock_guard lock(mutex_);
    commands_.push_back(std::move(command));
    idle_ = false;
  }
  woken_.notify_all();
}

void Engine::want_map(const std::string& key, const MapWant* want) {
  std::lock_guard lock(mutex_);
  const auto it = wants_.find(key);
  if (!want) {
    if (it == wants_.end()) return;
    wants_.erase(it);
    images_.erase(key);
    return;
  }
  if (it != wants_.end() && it->second == *want) return;
  wants_[key] = *want;
  idle_ = false;
  changed_ = true;
  woken_.notify_all();
}

std::shared_ptr<const MapImage> Engine::map(const std::string& key) {
  std::lock_guard lock(mutex_);
  const auto it = images_.find(key);
  return it == images_.end() ? nullptr : it->second;
}

void Engine::want_row(const RowWant& want) {
  std::lock_guard lock(mutex_);
  if (row_want_ == want) return;
  row_want_ = want;
  idle_ = false;
  changed_ = true;
  woken_.notify_all();
}

std::shared_ptr<const RowFound> Engine::row() {
  std::lock_guard lock(mutex_);
  return row_;
}

void Engine::want_statistics(size_t source, const StatisticsOptions& options) {
  std::lock_guard lock(mutex_);
  if (statistics_want_ && statistics_want_->first == source && same(statistics_want_->second, options))
    return;
  statistics_want_ = {source, options};
  idle_ = false;
  changed_ = true;
  woken_.notify_all();
}

std::shared_ptr<const StatisticsFound> Engine::statistics() {
  std::lock_guard lock(mutex_);
  return statistics_;
}

std::shared_ptr<const Snapshot> Engine::snapshot() {
  std::lock_guard lock(mutex_);
  return snapshot_;
}

bool Engine::idle() {
  std::lock_guard lock(mutex_);
  return idle_;
}

void Engine::wait() {
  std::unique_lock lock(mutex_);
  rested_.wait(lock, [&] { return idle_ || stop_; });
}

void Engine::loop() {
  while (true) {
    std::function<void()> command;
    {
      std::unique_lock lock(mutex_);
      if (stop_) break;
      if (!commands_.empty()) {
        command = std::move(commands_.front());
        commands_.pop_front();
        interrupt_ = false;
      }
      changed_ = false;
    }
    bool worked = static_cast<bool>(command), whole = worked;
    try {
      if (command) {
        error_.clear();
        command();
      }
      const bool wrote = advance_text();
      whole |= wrote;
      worked |= wrote;
      worked |= advance_maps();
      worked |= advance_row();
      worked |= advance_statistics();
    } catch (const Interrupted&) {
      doing_ = Doing::nothing;
    } catch (const std::exception& e) {
      error_ = e.what();
      const auto* known = dynamic_cast<const Error*>(&e);
      error_kind_ = known ? known->kind() : ErrorKind::runtime;
      doing_ = Doing::nothing;
      left_ = 0;
      jobs_.clear();
      worked = whole = true;
    }
    publish(whole);
    if (worked) continue;
    std::unique_lock lock(mutex_);
    if (stop_) break;
    if (!commands_.empty() || changed_) continue;
    idle_ = true;
    rested_.notify_all();
    woken_.wait(lock, [&] { return stop_ || !commands_.empty() || changed_; });
  }
  jobs_.clear();
  sources_.clear();
  std::lock_guard lock(mutex_);
  idle_ = true;
  rested_.notify_all();
}

// One token.
bool Engine::advance_text() {
  if (left_ == 0 || !model_ || tokens_.empty()) {
    if (doing_ == Doing::writing) doing_ = Doing::nothing;
    if (logits_there_ && left_ == 0 && doing_ == Doing::nothing) {
      logits_ = std::make_shared<const std::vector<float>>(sources_[0]->session->last_logits());
      logits_there_ = false;
      return true;
    }
    return false;
  }
  Source& s = *sources_[0];
  doing_ = Doing::writing;
  const auto start = Clock::now();
  // A drawn token is handed out before it is in the cache; the text shows those that are there.
  bool ended = false;
  const uint32_t before = s.session->n_tokens(s.slot);
  for (int call = 0; call < 2 && !ended && s.session->n_tokens(s.slot) == before; call++)
    s.session->generate({&s.slot, 1}, 1, [&](int, int id) {
      ended = !sampling_.ignore_end && model_->tokenizer().is_end(id);
      return true;
    });
  const auto now = s.session->tokens(s.slot);
  for (size_t i = tokens_.size(); i < now.size(); i++)
    tokens_.push_back({now[i], model_->tokenizer().piece(now[i], true)});
  writing_ms_ = since(start) * 1000;
  if (now.size() > before) note_rate(now.size() - before, since(start), false);
  left_ = ended || now.size() == before || now.size() >= s.session->context() ? 0 : left_ - 1;
  logits_there_ = true;
  if (left_ == 0) doing_ = Doing::nothing;
  return true;
}

}  // namespace spindle
