// What a person asks of the engine: each posts a command that the engine's thread runs.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>

#include "runtime/error.h"
#include "viewer/map_export.h"
#include "viewer/window/engine.h"

namespace spindle {
namespace {

using Clock = std::chrono::steady_clock;
double since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

double loss_of(std::span<const float> logits, int id) {
  const float most = *std::ranges::max_element(logits);
  double sum = 0;
  for (float x : logits) sum += std::exp(static_cast<double>(x) - most);
  return std::log(sum) + most - logits[static_cast<size_t>(id)];
}

}  // namespace

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

void Engine::write_map(const std::string& path, const MapWant& want) {
  post([=, this] {
    require(want.source < sources_.size() && sources_[want.source]->maps, ErrorKind::usage,
            "there is nothing to save");
    const Source& s = *sources_[want.source];
    const MapRequest request = clipped(s, want.request);
    require(request.width > 0 && request.height > 0, ErrorKind::usage, "there is nothing to save");
    const MapExport e{*s.maps, nullptr, request,
                      [this](uint64_t, uint64_t) {
                        std::lock_guard lock(mutex_);
                        if (interrupt_) throw Interrupted{};
                      },
                      piece_ms_};
    if (path.ends_with(".npy")) return write_map_npy(e, path, request.n_heads > 1);
    std::ofstream out(path, std::ios::binary);
    write_map_json(e, [&](const std::string& text) { out << text; });
    out.close();
    require(out.good(), "{}: cannot be written", path);
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

void Engine::note_rate(uint64_t tokens, double seconds, bool reading) {
  if (seconds <= 0) return;
  if (rates_.size() >= 2000) rates_.erase(rates_.begin(), rates_.begin() + 1000);
  const auto at = static_cast<double>(tokens_.size() + (reading ? tokens : 0));
  rates_.push_back({at, static_cast<double>(tokens) / seconds, reading});
}

}  // namespace spindle
