// The engine's maps: which is worked on, piece by piece, and what the window is told.
#include <algorithm>
#include <cmath>

#include "viewer/window/engine.h"

namespace spindle {
namespace {

constexpr uint32_t kSamples = 16;  // pairs of a cell in the coarse picture

bool looks_alike(const MapWant& a, const MapWant& b) {  // another region of the same map
  const MapRequest &x = a.request, &y = b.request;
  return a.source == b.source && x.layer == y.layer && x.first_head == y.first_head &&
         x.n_heads == y.n_heads && x.pool == y.pool && x.hidden_keys == y.hidden_keys;
}

}  // namespace

// What is there of a region that was asked for before the text changed; no area: nothing.
MapRequest Engine::clipped(const Source& source, MapRequest r) const {
  const uint32_t n = source.maps->n_tokens(), end = std::min(n, source.maps->end_query());
  MapRegion& g = r.region;
  if (!source.maps->has_layer(r.layer) || g.first_key >= n || g.first_query >= end) {
    r.width = r.height = 0;
    return r;
  }
  g.n_queries = std::min(g.n_queries, end - g.first_query);
  g.n_keys = std::min(g.n_keys, n - g.first_key);
  const MapLayer& layer = source.maps->layer(r.layer);
  r.first_head = std::min(r.first_head, layer.n_heads - 1);
  r.n_heads = std::min(r.n_heads, layer.n_heads - r.first_head);
  r.width = std::min(r.width, g.n_keys);
  r.height = std::min(r.height, g.n_queries);
  return r;
}

// One piece of the map that has waited longest for its first picture, else of one that is not exact yet.
bool Engine::advance_maps() {
  std::map<std::string, MapWant> wants;
  {
    std::lock_guard lock(mutex_);
    wants = wants_;
  }
  std::erase_if(jobs_, [&](const auto& j) { return !wants.contains(j.first); });
  Job* best = nullptr;
  std::string best_key;
  int best_rank = 3;
  for (const auto& [key, want] : wants) {
    if (want.source >= sources_.size() || !sources_[want.source]->maps) continue;
    const Source& s = *sources_[want.source];
    Job& j = jobs_[key];
    const uint32_t n = s.maps->n_tokens();
    const bool fresh = j.image && j.version == s.version && looks_alike(j.want, want);
    const bool current = fresh && j.want == want && j.n_tokens == n;
    const bool busy =
        j.job && j.version == s.version && looks_alike(j.want, want) && (!j.image || current || !j.exact);
    int rank = 3;
    if (!fresh) rank = 0;
    else if (!current) rank = 1;
    else if (!j.exact || j.job) rank = 2;
    if (rank == 3 || rank >= best_rank) continue;
    best = &j, best_key = key, best_rank = rank;
    if (!busy) {  // begin
      j.job.reset();
      const MapRequest r = clipped(s, want.request);
      if (j.version != s.version || !looks_alike(j.want, want)) j.image.reset();
      const bool has_coarse = current;
      j.want = want;
      j.version = s.version;
      j.n_tokens = n;
      if (r.width == 0 || r.height == 0) {
        j.exact = true;
        j.image = std::make_shared<const MapImage>();
        std::lock_guard lock(mutex_);
        images_[key] = nullptr;
        best = nullptr, best_rank = 3;
        continue;
      }
      const double pairs = static_cast<double>(r.region.n_queries) / r.height * r.region.n_keys / r.width;
      MapRequest made = r;
      j.exact = has_coarse || pairs <= 2 * kSamples;
      made.samples = j.exact ? 0 : kSamples;
      j.job = std::make_unique<MapJob>(sources_[want.source]->maps->job(made, piece_ms_));
    }
  }
  if (!best || !best->job) return false;
  Job& j = *best;
  const bool done = j.job->step(piece_ms_);
  map_ms_ = j.job->gpu_ms();
  if (!done) return true;
  auto image = std::make_shared<MapImage>();
  image->want = j.want;
  image->want.request = j.job->request();
  image->values.assign(j.job->values().begin(), j.job->values().end());
  image->lines = image->want.request.height;
  image->coarse = !j.exact;
  image->serial = ++serial_;
  j.image = image;
  j.job.reset();
  if (!image->coarse) j.exact = true;
  std::lock_guard lock(mutex_);
  if (wants_.contains(best_key)) images_[best_key] = image;
  return true;
}

bool Engine::advance_row() {
  std::optional<RowWant> want;
  {
    std::lock_guard lock(mutex_);
    want = row_want_;
  }
  if (!want || want->source >= sources_.size() || !sources_[want->source]->maps) return false;
  Source& s = *sources_[want->source];
  if (row_done_ == want && row_version_ == s.version) return false;
  // Another pair of the same query needs no new row.
  const std::shared_ptr<const RowFound> before = row_version_ == s.version ? row_ : nullptr;
  row_done_ = want;
  row_version_ = s.version;
  if (!s.maps->has_layer(want->layer) || want->query >= s.maps->end_query() ||
      want->query < s.maps->first_query() || want->head >= s.maps->layer(want->layer).n_heads)
    return true;
  auto found = std::make_shared<RowFound>();
  found->want = *want;
  RowWant row = *want;
  if (before) row.key = before->want.key;
  if (before && before->want == row) found->row = before->row;
  else found->row = s.maps->row(want->layer, want->head, want->query);
  if (want->key && *want->key <= want->query)
    found->products = s.maps->products(want->layer, want->head, want->query, *want->key);
  std::lock_guard lock(mutex_);
  row_ = found;
  return true;
}

bool Engine::advance_statistics() {
  std::optional<std::pair<size_t, StatisticsOptions>> want;
  std::shared_ptr<const StatisticsFound> have;
  {
    std::lock_guard lock(mutex_);
    want = statistics_want_;
    have = statistics_;
  }
  if (!want || want->first >= sources_.size() || !sources_[want->first]->maps || left_ > 0) return false;
  Source& s = *sources_[want->first];
  const size_t source = want->first;
  StatisticsOptions o = want->second;
  o.piece_ms = piece_ms_;
  const uint64_t version = s.version * 1000000007 + s.maps->n_tokens();
  if (have && have->source == source && have->version == version && have->options.sinks == o.sinks &&
      have->options.window == o.window && have->options.first_query == o.first_query &&
      have->options.n_queries == o.n_queries)
    return false;
  if (s.maps->n_tokens() == 0 || s.maps->end_query() <= s.maps->first_query()) return false;
  auto found = std::make_shared<StatisticsFound>();
  found->source = source;
  found->version = version;
  found->options = o;
  for (const MapLayer& layer : s.maps->layers())
    for (const HeadStatistics& head : s.maps->statistics(layer.index, o)) found->heads.push_back(head);
  std::lock_guard lock(mutex_);
  statistics_ = found;
  return true;
}

// Everything, or only where work stands.
void Engine::publish(bool everything) {
  auto made = std::make_shared<Snapshot>();
  {
    std::lock_guard lock(mutex_);
    if (snapshot_ && !everything) *made = *snapshot_;
  }
  Snapshot& p = *made;
  p.doing = doing_;
  p.error = error_;
  p.error_kind = error_kind_;
  p.done = done_;
  p.all = all_;
  p.map_ms = map_ms_;
  p.pieces = {};
  for (const auto& s : sources_)
    if (s->maps) p.pieces.add(s->maps->pieces());
  p.logits = doing_ == Doing::nothing ? logits_ : nullptr;
  if (everything) {
    p.tokens = tokens_;
    p.n_prompt = n_prompt_;
    p.rates = rates_;
    p.writing_ms = writing_ms_;
    p.allocated = device_.allocated_bytes();
    p.heaps = device_.heaps();
    for (const auto& s : sources_) {
      SourceInfo& info = p.sources.emplace_back();
      info.name = s->name;
      info.version = s->version;
      info.loss = s->loss;
      if (!s->loss.empty()) {
        double sum = 0;
        for (double loss : s->loss) sum += loss;
        info.perplexity = std::exp(sum / static_cast<double>(s->loss.size()));
      }
      if (s->session) {
        info.rope = s->session->rope();
        info.positions = info.rope.description;
        info.model = model_->config().name;
        info.n_tokens = s->session->n_tokens(s->slot);
        info.n_layers = model_->config().n_layers;
      }
      if (!s->maps) continue;
      info.layers = s->maps->layers();
      info.n_layers = s->maps->n_layers();
      info.n_tokens = s->maps->n_tokens();
      info.first_query = s->maps->first_query();
      info.end_query = s->maps->end_query();
      if (!s->session) {
        info.rope = s->maps->rope();
        info.positions = s->maps->positions();
        info.model = s->maps->model();
      }
    }
    if (!sources_.empty() && sources_[0]->maps) p.maps = sources_[0]->maps->memory();
    if (model_ && !sources_.empty() && sources_[0]->session) {
      Session& session = *sources_[0]->session;
      const KvCache& cache = session.cache();
      p.context = session.context();
      p.statistics = session.statistics();
      if (auto list = session.take_timings(); !list.empty()) timings_ = std::move(list);
      p.timings = timings_;
      p.cache.page_tokens = cache.page_tokens();
      p.cache.used_pages = cache.used_pages();
      p.cache.users = cache.page_users(static_cast<uint32_t>(sources_[0]->slot));
      p.cache.bytes_per_page = cache.bytes_per_page();
      p.cache.allocated = cache.allocated_bytes();
      p.cache.full = cache.full_bytes();
      p.cache.layers = model_->config().n_layers;
      p.cache.k_type = options_.k_type;
      p.cache.v_type = options_.v_type;
      for (uint32_t i = 0; i < p.cache.layers; i++)
        p.cache.bytes_by_layer.push_back(cache.shape(i).k_page_bytes() + cache.shape(i).v_page_bytes());
      p.memory.weights = model_->weights().bytes();
      p.memory.cache = p.cache.allocated;
      p.memory.activations = session.activation_bytes();
      p.memory.scratch = session.scratch_bytes();
    }
  }
  std::lock_guard lock(mutex_);
  snapshot_ = made;
}

}  // namespace spindle
