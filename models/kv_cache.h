// The keys and values of all sequences: pages of some tokens each, in segments that are bands of positions.
#ifndef SPINDLE_MODELS_KV_CACHE_H
#define SPINDLE_MODELS_KV_CACHE_H
#include <vector>

#include "runtime/stream.h"
#include "shaders/attention/cache.h"

namespace spindle {

struct KvCacheOptions {
  uint32_t n_slots = 1;
  uint32_t context = 512;  // positions of the longest sequence
  uint32_t page_tokens = 64;
  DType k_type = DType::f16, v_type = DType::f16;
  uint32_t k_forms = 1;  // 2: keys lie there in a second form too
  // A ring: besides the pages of the first `ring_first` positions, as many pages are kept as hold
  // ring_positions, and used by turns, so that positions go on without bound. 0: no ring, `context`
  // positions.
  uint32_t ring_first = 0, ring_positions = 0;
};

// Pages are counted by how many sequences use them; a page that is shared is never written.
// A segment is allocated when a sequence first reaches its band, and kept.
class KvCache {
 public:
  static constexpr uint32_t kRingLimit = 1u << 28;  // positions
  // How a cache is cut, before anything is allocated.
  struct Plan {
    CacheShape shape;                        // of the layer with the most KV heads
    uint32_t pages = 0, pages_per_band = 0;  // of one slot
    uint32_t n_bands() const { return ceil_div(pages, pages_per_band); }
  };
  static Plan plan(const Caps& caps, const std::vector<uint32_t>& n_kv_heads, uint32_t head_dim,
                   const KvCacheOptions& options);
  // With every slot full; UINT64_MAX when that is not a number.
  static uint64_t bytes_needed(const Caps& caps, const std::vector<uint32_t>& n_kv_heads, uint32_t head_dim,
                               const KvCacheOptions& options);

  // n_kv_heads by layer. Throws ErrorKind::usage when not even one page a slot fits into a binding.
  KvCache(Device& device, std::vector<uint32_t> n_kv_heads, uint32_t head_dim, const KvCacheOptions& options);

  // Positions that a sequence may have.
  uint32_t limit() const { return shape_.ring_pages ? kRingLimit : options_.context; }

  // Makes positions [0, n_positions) of the slot writable where they are not yet backed by a page.
  void reserve(uint32_t slot, uint32_t n_positions);
  // Gives back the pages that hold no position below n_positions.
  void truncate(uint32_t slot, uint32_t n_positions);
  // Lets an empty slot use the first n_positions, whole pages, of another.
  void share(uint32_t from_slot, uint32_t to_slot, uint32_t n_positions);

  // Where a ring begins, and from where on it still holds all of the first n_written positions; 0 without
  // one.
  uint32_t ring_begin() const { return shape_.ring_first * shape_.page_tokens; }
  uint32_t kept_from(uint32_t n_written) const;

  // Positions, from the first on, in pages that other sequences use too.
  uint32_t n_shared(uint32_t slot) const;

  uint32_t page_tokens() const { return shape_.page_tokens; }
  uint32_t context() const { return options_.context; }
  CacheShape shape(uint32_t layer) const;
  // How many segments, from the first on, hold the positions below n_positions.
  uint32_t n_segments(uint32_t n_positions) const;
  // The first n of them, in the order of positions; they must have been reserved.
  std::vector<CacheSegment> segments(uint32_t layer, uint32_t n) const;
  Tensor page_table() const { return page_table_; }

  uint32_t used_pages() const;
  std::vector<uint32_t> page_users(uint32_t slot) const;  // sequences that use each page of the slot
  uint64_t bytes_per_page() const;                        // all layers
  uint64_t allocated_bytes() const;
  uint64_t full_bytes() const;  // when every slot is full

 private:
  struct Band {
    std::vector<Buffer> k, v, k2;  // by layer; empty until allocated
    std::vector<uint32_t> users;   // by page
    std::vector<uint32_t> free;    // pages, the next one last
  };
  void allocate(Band& band);
  uint32_t n_pages(uint32_t positions) const;  // of a sequence so long
  Band& band_of_page(uint32_t index) { return bands_[index / pages_per_band_]; }

  Device& device_;
  std::vector<uint32_t> n_kv_heads_;
  KvCacheOptions options_;
  CacheShape shape_;                         // of the layer with the most KV heads
  uint32_t pages_ = 0, pages_per_band_ = 0;  // of one slot
  std::vector<Band> bands_;
  std::vector<std::vector<uint32_t>> slots_;  // pages by slot, in the order of positions
  Buffer page_table_buffer_;
  Tensor page_table_;  // u32 [slots, pages of the longest sequence]
};

}  // namespace spindle
#endif
