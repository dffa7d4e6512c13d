// One pair of a query and a key, element by element: read back from where the device keeps both.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "runtime/error.h"
#include "viewer/map_source.h"

namespace spindle {
namespace {

float f16(uint32_t bits) {
  const auto exponent = static_cast<int>(bits >> 10 & 31), fraction = static_cast<int>(bits & 1023);
  const float size = exponent == 0    ? std::ldexp(static_cast<float>(fraction), -24)
                     : exponent == 31 ? (fraction ? NAN : INFINITY)
                                      : std::ldexp(static_cast<float>(fraction + 1024), exponent - 25);
  return bits & 0x8000 ? -size : size;
}

// Row `token` of a page as shaders/attention/cache.h describes it; tokens: of the page, times its KV heads.
std::vector<float> key_of(const std::vector<uint32_t>& page, DType type, uint32_t head_dim, uint32_t token,
                          uint32_t tokens) {
  std::vector<float> k(head_dim);
  const uint32_t blocks = ceil_div(head_dim, 32u), scales = ceil_div(blocks, 2u);
  const auto half = [&](size_t at) { return f16(page[at / 2] >> 16 * (at % 2) & 0xffff); };
  for (uint32_t e = 0; e < head_dim; e++) {
    if (type == DType::f32) {
      std::memcpy(&k[e], &page[size_t{token} * head_dim + e], 4);
    } else if (type == DType::f16) {
      k[e] = half(size_t{token} * head_dim + e);
    } else {
      const uint32_t bits = type == DType::q8_0 ? 8 : 4, words = blocks * bits;
      const size_t at = size_t{token} * words + e * bits / 32;
      const auto value = static_cast<int32_t>(page[at] << (32 - bits - e * bits % 32)) >> (32 - bits);
      k[e] = static_cast<float>(value) * half(2 * (size_t{tokens} * words + size_t{token} * scales) + e / 32);
    }
  }
  return k;
}

bool shows(const AttentionShape& s, size_t pass, uint32_t head, uint32_t query, uint32_t key) {
  const AttentionPass p = s.passes[pass].pack();
  const AttentionRange range = pass_range(p, s.passes.back().pack(), query, head, s.n_heads, s.seed);
  const uint32_t stride = pass_stride(p.rule);
  return key >= range.from && key < range.to && pass_keeps(p, query, head) &&
         (stride == 1 || key % p.from % stride == head % stride) &&
         (!s.passes[pass].listed || std::ranges::binary_search(s.listed, key));
}

}  // namespace

std::vector<float> AttentionMaps::products(uint32_t layer_index, uint32_t head, uint32_t query,
                                           uint32_t key) {
  const MapLayer& l = layer(layer_index);
  const MapSource s = source_->layer_source(layer_index);
  require(head < l.n_heads && query >= s.first_query && query < s.end_query && key < s.n_keys,
          ErrorKind::usage, "head {}, query {}, key {}: there are {} heads, queries {} to {}, {} keys", head,
          query, key, l.n_heads, s.first_query, static_cast<int64_t>(s.end_query) - 1, s.n_keys);
  uint32_t version = 0, form = 0;
  if (s.shape.passes.empty()) {
    if (key > query) return {};
  } else {
    size_t pass = 0;
    while (pass < s.shape.passes.size() && !shows(s.shape, pass, head, query, key)) pass++;
    if (pass == s.shape.passes.size()) return {};
    version = s.shape.passes[pass].query, form = s.shape.passes[pass].keys;
  }
  Stream& stream = source_->stream;
  std::vector<float> q(l.head_dim);
  for (const MapSource::Part& part : s.parts) {
    const uint32_t at = query - part.first_position;
    if (query < part.first_position || at >= part.n_positions()) continue;
    Tensor one = part.q;
    one.rows = 1, one.cols = l.head_dim;
    one.offset_bytes +=
        uint64_t{4} * l.head_dim * ((uint64_t{version} * part.n_positions() + at) * l.n_heads + head);
    stream.download(std::as_writable_bytes(std::span(q)), one);
  }
  std::vector<uint32_t> table(s.pages.elements()), page(s.cache.k_page_bytes() / 4);
  stream.download(std::as_writable_bytes(std::span(table)), s.pages);
  const uint32_t index = key / s.cache.page_tokens;
  for (const CacheSegment& segment : s.segments) {
    if (key < segment.first_position || key - segment.first_position >= segment.n_positions) continue;
    Tensor from = form == 0 ? segment.k : segment.k2;
    from.rows = 1;
    from.offset_bytes += table[size_t{s.slot} * s.pages.cols + index] * s.cache.k_page_bytes();
    stream.download(std::as_writable_bytes(std::span(page)), from);
  }
  const uint32_t kv_head = head / (l.n_heads / l.n_kv_heads);
  const std::vector<float> k =
      key_of(page, l.k_type, l.head_dim, kv_head * s.cache.page_tokens + key % s.cache.page_tokens,
             l.n_kv_heads * s.cache.page_tokens);
  for (uint32_t e = 0; e < l.head_dim; e++) q[e] *= k[e] * s.shape.scale;
  return q;
}

}  // namespace spindle
