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

struct Interrupted {};

double loss_of(std::span<const float> logits, int id) {
  const float most = *std::ranges::max_element(logits);
  double sum = 0;
  for (float x : logits) sum += std::exp(static_cast<double>(x) - most);
  return std::log(sum) + most - logits[static_cast<size_t>(id)];
}

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

std::unique_ptr<Engine::Source> Engine::make_source(const std::string& name, const RopeRequest& rope,
                                                    uint32_t logit_rows) {
  auto source = std::make_unique<Source>();
  SessionOptions options = options_;
  options.rope = rope;
  options.logit_rows = logit_rows;
  options.share_prefixes = false;
  source->name = name;
  source->session = std::make_unique<Session>(*model_, options);
  options_.context = source->session->context();  // the same for all
  source->slot = source->session->open(sampling_);
  source->session->profile(profile_ && sources_.empty());
  source->version = ++versions_;
  if (pin_) refresh_maps(*source);
  return source;
}

// Keeps what maps need from now on.
void Engine::refresh_maps(Source& source) {
  source.maps.reset();
  source.session->pin(source.slot, pin_ ? pin_all(model_->config().n_layers) : AttentionPins{});
  if (pin_) source.maps = std::make_unique<AttentionMaps>(*source.session, source.slot);
}

void Engine::prompt(const std::string& text, uint32_t n_tokens) {
  {
    std::lock_guard lock(mutex_);
    interrupt_ = true;  // what runs is not wanted any more
  }
  post([=, this] {
    require(model_, ErrorKind::usage, "there is no model: only captures can be looked at");
    const std::vector<int> ids = model_->tokenizer().encode(text, {.parse_special = true});
    require(!ids.empty(), ErrorKind::usage, "the prompt is empty");
    const uint32_t most = sources_[0]->session->context();
    require(ids.size() < most, ErrorKind::usage, "the prompt has {} tokens, the context {}: try -c {}",
            ids.size(), most, ids.size() * 5 / 4);
    jobs_.clear();
    while (sources_.size() > 1 && sources_.back()->session) sources_.pop_back();
    left_ = 0;
    Source& s = *sources_[0];
    s.maps.reset();
    s.session->close(s.slot);
    s.slot = s.session->open(sampling_);
    s.version = ++versions_;
    refresh_maps(s);
    tokens_.clear();
    n_prompt_ = static_cast<uint32_t>(ids.size());
    rates_.clear();
    read(ids);
    left_ = n_tokens;
  });
}

// Prefills the running text; the window sees it grow.
void Engine::read(std::span<const int> ids) {
  Source& s = *sources_[0];
  doing_ = Doing::reading;
  done_ = 0, all_ = static_cast<uint32_t>(ids.size());
  auto chunk = Clock::now();
  uint32_t before = 0;
  const std::vector<int> all(ids.begin(), ids.end());
  try {
    s.session->prefill(s.slot, ids, {.progress = [&](uint32_t done, uint32_t) {
                         {
                           std::lock_guard lock(mutex_);
                           if (interrupt_) throw Interrupted{};
                         }
                         note_rate(done - before, since(chunk), true);
                         for (uint32_t i = before; i < done; i++)
                           tokens_.push_back({all[i], model_->tokenizer().piece(all[i], true)});
                         before = done_ = done;
                         advance_maps();
                         publish(true);
                         chunk = Clock::now();
                       }});
  } catch (const Interrupted&) {
    tokens_.clear();
    n_prompt_ = 0;
  }
  jobs_.clear();  // whatever was asked of the session while it was being filled
  logits_there_ = s.session->n_tokens(s.slot) > 0;
  doing_ = Doing::nothing;
}

void Engine::write(uint32_t n) {
  post([=, this] { left_ = n; });
}

void Engine::pause() {
  {
    std::lock_guard lock(mutex_);
    interrupt_ = true;
  }
  post([this] { left_ = 0; });
}

void Engine::truncate(uint32_t n) {
  post([=, this] {
    if (!model_) return;
    Source& s = *sources_[0];
    left_ = 0;
    n_prompt_ = std::min(n_prompt_, n);
    if (n == 0 || n >= tokens_.size()) return;
    jobs_.clear();
    // One token less, and that one read again: the next can then be drawn.
    const int last = tokens_[n - 1].id;
    const uint32_t kept = s.session->truncate(s.slot, n - 1);
    require(kept == n - 1, "the text shares pages: {} tokens were kept", kept);
    tokens_.resize(n);
    s.version = ++versions_;
    s.session->prefill(s.slot, {&last, 1}, {});
    logits_there_ = true;
  });
}

void Engine::set_sampling(const Sampling& sampling) {
  post([=, this] {
    sampling_ = sampling;
    if (model_) sources_[0]->session->set_sampling(sources_[0]->slot, sampling_);
  });
}

void Engine::set_positions(const RopeRequest& request) {
  {
    std::lock_guard lock(mutex_);
    interrupt_ = true;
  }
  post([=, this] {
    if (!model_) return;
    jobs_.clear();
    left_ = 0;
    std::vector<int> ids;
    for (const MapToken& t : tokens_) ids.push_back(t.id);
    auto made = make_source("running", request, 1);
    options_.rope = request;
    sources_[0] = std::move(made);
    tokens_.clear();
    if (!ids.empty()) read(ids);
  });
}

void Engine::compare(const std::vector<NamedPositions>& list) {
  post([=, this] {
    require(model_ && !tokens_.empty(), ErrorKind::usage,
            "there is no text to compare methods on: generate first");
    jobs_.clear();
    std::erase_if(sources_, [&](const auto& s) { return s->session && s != sources_[0]; });
    std::vector<int> ids;
    for (const MapToken& t : tokens_) ids.push_back(t.id);
    doing_ = Doing::comparing;
    size_t at = 1;
    for (const NamedPositions& named : list) {
      auto s = make_source(named.name, named.request, std::min<uint32_t>(options_.prefill_chunk, 64));
      std::vector<double> loss(ids.size() - 1);
      s->session->prefill(s->slot, ids,
                          {.progress =
                               [&](uint32_t done, uint32_t all) {
                                 done_ = done, all_ = all;
                                 publish(false);
                                 std::lock_guard lock(mutex_);
                                 if (stop_) throw Interrupted{};
                               },
                           .on_logits =
                               [&](uint32_t position, std::span<const float> logits) {
                                 if (position + 1 < ids.size())
                                   loss[position] = loss_of(logits, ids[position + 1]);
                               }});
      s->loss = std::move(loss);
      sources_.insert(sources_.begin() + static_cast<std::ptrdiff_t>(at++), std::move(s));
    }
    doing_ = Doing::nothing;
  });
}

void Engine::save(const std::string& path, size_t source) {
  post([=, this] {
    require(source < sources_.size() && sources_[source]->maps, ErrorKind::usage, "there is nothing to save");
    sources_[source]->maps->save(path);
  });
}

void Engine::open(const std::string& path) {
  post([=, this] {
    auto s = std::make_unique<Source>();
    s->maps = std::make_unique<AttentionMaps>(AttentionMaps::open(device_, path));
    s->name = path.substr(path.find_last_of('/') + 1);
    s->version = ++versions_;
    sources_.push_back(std::move(s));
  });
}

void Engine::close(size_t source) {
  post([=, this] {
    if (source >= sources_.size() || (source == 0 && model_)) return;
    jobs_.clear();
    sources_.erase(sources_.begin() + static_cast<std::ptrdiff_t>(source));
    for (auto& s : sources_) s->version = ++versions_;
  });
}

void Engine::profile(bool on) {
  post([=, this] {
    if (profile_ == on) return;
    profile_ = on;
    if (model_) sources_[0]->session->profile(on);
  });
}

void Engine::pin(bool on) {
  post([=, this] {
    if (pin_ == on || !model_) return;
    pin_ = on;
    jobs_.clear();
    refresh_maps(*sources_[0]);
    sources_[0]->version = ++versions_;
  });
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

void Engine::note_rate(uint64_t tokens, double seconds, bool reading) {
  if (seconds <= 0) return;
  if (rates_.size() >= 2000) rates_.erase(rates_.begin(), rates_.begin() + 1000);
  const auto at = static_cast<double>(tokens_.size() + (reading ? tokens : 0));
  rates_.push_back({at, static_cast<double>(tokens) / seconds, reading});
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
