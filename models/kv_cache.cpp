// Page bookkeeping on the host; the device sees the page table only.
#include "models/kv_cache.h"

#include <algorithm>
#include <cassert>
#include <numeric>

#include "models/byte_reader.h"
#include "runtime/error.h"

namespace spindle {

KvCache::Plan KvCache::plan(const Caps& caps, const std::vector<uint32_t>& n_kv_heads, uint32_t head_dim,
                            const KvCacheOptions& options) {
  assert(options.context > 0);
  Plan p;
  p.shape.n_kv_heads = *std::max_element(n_kv_heads.begin(), n_kv_heads.end());
  p.shape.head_dim = head_dim;
  p.shape.page_tokens = options.page_tokens;
  p.shape.k_type = options.k_type;
  p.shape.v_type = options.v_type;
  const uint64_t limit = std::min(caps.max_binding_bytes, caps.max_allocation_bytes);
  const auto pages_that_fit = [&] {
    return limit / std::max(p.shape.k_page_bytes(), p.shape.v_page_bytes()) / options.n_slots;
  };
  while (pages_that_fit() == 0 && p.shape.page_tokens > 16) p.shape.page_tokens /= 2;
  require(pages_that_fit() > 0, ErrorKind::usage,
          "cache: a page of {} tokens for each of {} sequences does not fit into a binding of {} bytes: try "
          "fewer sequences",
          p.shape.page_tokens, options.n_slots, limit);
  p.pages = ceil_div(options.context, p.shape.page_tokens);
  if (options.ring_positions) {
    p.shape.ring_first = ceil_div(options.ring_first, p.shape.page_tokens);
    p.shape.ring_pages = ceil_div(options.ring_positions, p.shape.page_tokens);
    p.pages = p.shape.ring_first + p.shape.ring_pages;
    require(p.pages <= pages_that_fit(), ErrorKind::usage,
            "cache: a ring of {} positions for each of {} sequences does not fit into a binding of {} bytes: "
            "try fewer",
            p.pages * p.shape.page_tokens, options.n_slots, limit);
  }
  p.pages_per_band = static_cast<uint32_t>(std::min<uint64_t>(p.pages, pages_that_fit()));
  return p;
}

uint64_t KvCache::bytes_needed(const Caps& caps, const std::vector<uint32_t>& n_kv_heads, uint32_t head_dim,
                               const KvCacheOptions& options) {
  const Plan p = plan(caps, n_kv_heads, head_dim, options);
  uint64_t band = 0;  // at most 2 * 4096 layers of one binding each
  for (uint32_t heads : n_kv_heads) {
    CacheShape s = p.shape;
    s.n_kv_heads = heads;
    const uint64_t pages = uint64_t{p.pages_per_band} * options.n_slots;
    band += align_tensor(s.k_page_bytes() * pages) * options.k_forms + align_tensor(s.v_page_bytes() * pages);
  }
  const auto bands = checked_mul(band, p.n_bands());
  const uint64_t table = align_tensor(uint64_t{4} * options.n_slots * p.pages);
  return bands ? checked_add(*bands, table).value_or(UINT64_MAX) : UINT64_MAX;
}

KvCache::KvCache(Device& device, std::vector<uint32_t> n_kv_heads, uint32_t head_dim,
                 const KvCacheOptions& options)
    : device_(device), n_kv_heads_(std::move(n_kv_heads)), options_(options), slots_(options.n_slots) {
  const Plan p = plan(device.caps(), n_kv_heads_, head_dim, options);
  shape_ = p.shape;
  pages_ = p.pages;
  pages_per_band_ = p.pages_per_band;
  bands_.resize(p.n_bands());
  const uint64_t needed = bytes_needed(device.caps(), n_kv_heads_, head_dim, options),
                 free = device.free_bytes();
  if (free != 0 && needed > free) {
    std::string advice =
        fmt::format("-c {}", static_cast<uint64_t>(0.9 * static_cast<double>(options.context) *
                                                   static_cast<double>(free) / static_cast<double>(needed)));
    for (DType type : kCacheTypes) {  // a head that fills no block of a type gains nothing by it
      KvCacheOptions smaller = options;
      smaller.k_type = smaller.v_type = type;
      const uint64_t less = bytes_needed(device.caps(), n_kv_heads_, head_dim, smaller);
      if (less >= needed || less > free) continue;
      advice += fmt::format(" or -ctk {0} -ctv {0}", info(type).name);
      break;
    }
    fail(ErrorKind::out_of_memory,
         "a cache of {} positions for {} sequences needs {:.1f} GiB, {:.1f} free: try {}", options.context,
         options.n_slots, static_cast<double>(needed) / (1 << 30), static_cast<double>(free) / (1 << 30),
         advice);
  }
  page_table_buffer_ = Buffer(device, uint64_t{4} * options.n_slots * p.pages, Memory::shared, "page table");
  page_table_ = Tensor(page_table_buffer_, DType::u32, options.n_slots, p.pages);
  std::ranges::fill(page_table_.host<uint32_t>(), 0u);
}

void KvCache::allocate(Band& band) {
  const uint32_t pages = pages_per_band_ * options_.n_slots;
  std::vector<Buffer> k, v, k2;
  for (uint32_t layer = 0; layer < n_kv_heads_.size(); layer++) {
    k.emplace_back(device_, shape(layer).k_page_bytes() * pages, Memory::device, "key cache");
    v.emplace_back(device_, shape(layer).v_page_bytes() * pages, Memory::device, "value cache");
    if (options_.k_forms > 1)
      k2.emplace_back(device_, shape(layer).k_page_bytes() * pages, Memory::device, "second key cache");
  }
  band.k = std::move(k);
  band.v = std::move(v);
  band.k2 = std::move(k2);
  band.users.assign(pages, 0);
  band.free.resize(pages);
  std::iota(band.free.rbegin(), band.free.rend(), 0u);
}

void KvCache::reserve(uint32_t slot, uint32_t n_positions) {
  assert(n_positions <= limit());
  std::vector<uint32_t>& pages = slots_[slot];
  const auto table = page_table_.host<uint32_t>();
  while (pages.size() < n_pages(n_positions)) {
    const auto index = static_cast<uint32_t>(pages.size());
    Band& band = band_of_page(index);
    if (band.k.empty()) allocate(band);
    assert(!band.free.empty());  // a band has room for every slot
    const uint32_t page = band.free.back();
    band.free.pop_back();
    band.users[page] = 1;
    pages.push_back(page);
    table[slot * page_table_.cols + index] = page;
  }
}

void KvCache::truncate(uint32_t slot, uint32_t n_positions) {
  std::vector<uint32_t>& pages = slots_[slot];
  while (pages.size() > n_pages(n_positions)) {
    Band& band = band_of_page(static_cast<uint32_t>(pages.size() - 1));
    if (--band.users[pages.back()] == 0) band.free.push_back(pages.back());
    pages.pop_back();
  }
}

void KvCache::share(uint32_t from_slot, uint32_t to_slot, uint32_t n_positions) {
  assert(n_positions % shape_.page_tokens == 0 && slots_[to_slot].empty());
  const auto table = page_table_.host<uint32_t>();
  for (uint32_t index = 0; index < n_pages(n_positions); index++) {
    const uint32_t page = slots_[from_slot][index];
    band_of_page(index).users[page]++;
    slots_[to_slot].push_back(page);
    table[to_slot * page_table_.cols + index] = page;
  }
}

uint32_t KvCache::kept_from(uint32_t n_written) const {
  const uint32_t written = ceil_div(n_written, shape_.page_tokens);
  if (shape_.ring_pages == 0 || written <= pages_) return 0;
  return (written - shape_.ring_pages) * shape_.page_tokens;
}

uint32_t KvCache::n_shared(uint32_t slot) const {
  const std::vector<uint32_t>& pages = slots_[slot];
  uint32_t n = 0;
  while (n < pages.size() && bands_[n / pages_per_band_].users[pages[n]] > 1) n++;
  return n * shape_.page_tokens;
}

CacheShape KvCache::shape(uint32_t layer) const {
  CacheShape s = shape_;
  s.n_kv_heads = n_kv_heads_[layer];
  return s;
}

uint32_t KvCache::n_segments(uint32_t n_positions) const {
  return ceil_div(n_pages(n_positions), pages_per_band_);
}

std::vector<CacheSegment> KvCache::segments(uint32_t layer, uint32_t n) const {
  std::vector<CacheSegment> list;
  const CacheShape s = shape(layer);
  const uint32_t positions = pages_per_band_ * s.page_tokens, pages = pages_per_band_ * options_.n_slots;
  for (uint32_t b = 0; b < n; b++) {
    assert(!bands_[b].k.empty());
    const auto k_words = static_cast<uint32_t>(s.k_page_bytes() / 4),
               v_words = static_cast<uint32_t>(s.v_page_bytes() / 4);
    CacheSegment segment{Tensor(bands_[b].k[layer], DType::u32, pages, k_words),
                         Tensor(bands_[b].v[layer], DType::u32, pages, v_words), b * positions,
                         shape_.ring_pages ? kRingLimit : positions};
    if (options_.k_forms > 1) segment.k2 = Tensor(bands_[b].k2[layer], DType::u32, pages, k_words);
    list.push_back(segment);
  }
  return list;
}

uint32_t KvCache::used_pages() const {
  uint32_t n = 0;
  for (const Band& band : bands_)
    n += static_cast<uint32_t>(std::ranges::count_if(band.users, [](uint32_t users) { return users > 0; }));
  return n;
}

std::vector<uint32_t> KvCache::page_users(uint32_t slot) const {
  std::vector<uint32_t> users;
  for (uint32_t page : slots_[slot]) users.push_back(bands_[users.size() / pages_per_band_].users[page]);
  return users;
}

uint64_t KvCache::bytes_per_page() const {
  uint64_t bytes = 0;
  for (uint32_t layer = 0; layer < n_kv_heads_.size(); layer++)
    bytes += shape(layer).k_page_bytes() * options_.k_forms + shape(layer).v_page_bytes();
  return bytes;
}

uint32_t KvCache::n_pages(uint32_t positions) const {
  return std::min(ceil_div(positions, shape_.page_tokens), pages_);
}

uint64_t KvCache::allocated_bytes() const {
  uint64_t bytes = 0;
  for (const Band& band : bands_)
    for (const auto* list : {&band.k, &band.v, &band.k2})
      for (const Buffer& buffer : *list) bytes += buffer.bytes();
  return bytes;
}

uint64_t KvCache::full_bytes() const {
  return bytes_per_page() * pages_per_band_ * bands_.size() * options_.n_slots;
}

}  // namespace spindle
