// Reads 8 elements of the cache at once, the chunk that every lane works in. Page layout: cache.h.
// Needs K_TYPE, V_TYPE (DType), HEAD_DIM, VALUE_DIM, RING_FIRST, RING_PAGES, N_KEY_FORMS, kv_head and slot.
#include "shaders/common/f16.glsl"
#include "shaders/common/words.glsl"
#define CACHE_F32 0
#define CACHE_F16 1
#define CACHE_Q4_0 2
#define CACHE_Q8_0 3

layout(binding = 4) readonly buffer Pages { uint pages[]; };  // [slots, pages_per_slot]
layout(binding = 5) readonly buffer KCache4 { WORDS4 k_cache4[]; };
layout(binding = 5) readonly buffer KCache2 { WORDS2 k_cache2[]; };
layout(binding = 5) readonly buffer KCache { uint k_cache[]; };
layout(binding = 6) readonly buffer VCache4 { WORDS4 v_cache4[]; };
layout(binding = 6) readonly buffer VCache2 { WORDS2 v_cache2[]; };
layout(binding = 6) readonly buffer VCache { uint v_cache[]; };
layout(binding = 8) readonly buffer SecondKCache4 { WORDS4 second_k_cache4[]; };
layout(binding = 8) readonly buffer SecondKCache2 { WORDS2 second_k_cache2[]; };
layout(binding = 8) readonly buffer SecondKCache { uint second_k_cache[]; };

const bool K_SCALED = K_TYPE == CACHE_Q4_0 || K_TYPE == CACHE_Q8_0, V_SCALED = V_TYPE == CACHE_Q4_0 || V_TYPE == CACHE_Q8_0;
// Of a token of a head: chunks with their padding, words of its scales.
const uint K_CHUNKS = K_SCALED ? (HEAD_DIM + 31) / 32 * 4 : HEAD_DIM / 8, K_SCALES = K_SCALED ? (K_CHUNKS / 4 + 1) / 2 : 0;
const uint V_CHUNKS = V_SCALED ? (VALUE_DIM + 31) / 32 * 4 : VALUE_DIM / 8, V_SCALES = V_SCALED ? (V_CHUNKS / 4 + 1) / 2 : 0;
const uint K_WORDS = K_TYPE == CACHE_Q4_0 ? 1 : 2, V_WORDS = V_TYPE == CACHE_Q4_0 ? 1 : 2;  // of a chunk, if scaled

uint key_form = 0;  // of the pass

struct Chunk {
  vec4 low, high;
  float scale;  // of both, if scaled
};

// Where a token of kv_head begins: in chunks, and in words for the scales.
struct Place {
  uint k, k_scales, v, v_scales;
};

Place place_of(uint position) {
  uint index = position / p.page_tokens;
  if (RING_PAGES > 0 && index >= RING_FIRST) index = RING_FIRST + (index - RING_FIRST) % RING_PAGES;
  const uint page = pages[slot * p.pages_per_slot + index];
  const uint tokens = p.n_kv_heads * p.page_tokens, token = kv_head * p.page_tokens + position % p.page_tokens;
  Place at;
  if (K_SCALED) {
    at.k = page * (tokens * (K_CHUNKS * K_WORDS + K_SCALES) / K_WORDS) + token * K_CHUNKS;
    at.k_scales = page * (tokens * (K_CHUNKS * K_WORDS + K_SCALES)) + tokens * (K_CHUNKS * K_WORDS) + token * K_SCALES;
  } else {
    at.k = ((page * p.n_kv_heads + kv_head) * p.page_tokens + position % p.page_tokens) * K_CHUNKS;
    at.k_scales = 0;
  }
  if (V_SCALED) {
    at.v = page * (tokens * (V_CHUNKS * V_WORDS + V_SCALES) / V_WORDS) + token * V_CHUNKS;
    at.v_scales = page * (tokens * (V_CHUNKS * V_WORDS + V_SCALES)) + tokens * (V_CHUNKS * V_WORDS) + token * V_SCALES;
  } else {
    at.v = ((page * p.n_kv_heads + kv_head) * p.page_tokens + position % p.page_tokens) * V_CHUNKS;
    at.v_scales = 0;
  }
  return at;
}

Chunk f16_chunk(uvec4 words) {
  return Chunk(vec4(unpack_f16(words.x), unpack_f16(words.y)), vec4(unpack_f16(words.z), unpack_f16(words.w)), 1);
}

float half_of(uint word, uint index) {
  const vec2 both = unpack_f16(word);
  return index % 2 == 0 ? both.x : both.y;
}

vec4 bytes_of(uint word) { return vec4(ivec4(uvec4(word) << uvec4(24, 16, 8, 0)) >> 24); }
Chunk q8_chunk(uvec2 words, float scale) { return Chunk(bytes_of(words.x), bytes_of(words.y), scale); }
Chunk q4_chunk(uint word, float scale) {
  return Chunk(vec4(ivec4(uvec4(word) << uvec4(28, 24, 20, 16)) >> 28), vec4(ivec4(uvec4(word) << uvec4(12, 8, 4, 0)) >> 28),
               scale);
}

#define LOAD(TYPE, CACHE4, CACHE2, CACHE, at, scale_at, chunk)                                          \
  if (TYPE == CACHE_F16) return f16_chunk(words4(CACHE4[at]));                                                  \
  if (TYPE == CACHE_F32) return Chunk(uintBitsToFloat(words4(CACHE4[2 * (at)])), uintBitsToFloat(words4(CACHE4[2 * (at) + 1])), 1); \
  const float scale = half_of(CACHE[(scale_at) + (chunk) / 8], (chunk) / 4);                            \
  if (TYPE == CACHE_Q8_0) return q8_chunk(words2(CACHE2[at]), scale);                                           \
  return q4_chunk(CACHE[at], scale);

Chunk load_first_k(uint at, uint scale_at, uint chunk) { LOAD(K_TYPE, k_cache4, k_cache2, k_cache, at, scale_at, chunk) }
Chunk load_second_k(uint at, uint scale_at, uint chunk) {
  LOAD(K_TYPE, second_k_cache4, second_k_cache2, second_k_cache, at, scale_at, chunk)
}
Chunk load_first_v(uint at, uint scale_at, uint chunk) { LOAD(V_TYPE, v_cache4, v_cache2, v_cache, at, scale_at, chunk) }

// A chunk of the token that lies `token` after a place, on the same page.
Chunk load_k(Place place, uint token, uint chunk) {
  const uint at = place.k + token * K_CHUNKS + chunk, scale_at = place.k_scales + token * K_SCALES;
  if (N_KEY_FORMS > 1 && key_form == 1) return load_second_k(at, scale_at, chunk);
  return load_first_k(at, scale_at, chunk);
}

Chunk load_v(Place place, uint token, uint chunk) {
  return load_first_v(place.v + token * V_CHUNKS + chunk, place.v_scales + token * V_SCALES, chunk);
}

// A chunk as it lies in the cache, asked for before it is needed: not of f32.
struct RawChunk {
  uvec4 words;
  uint scales;
};

#define LOAD_RAW(TYPE, CACHE4, CACHE2, CACHE, at, scale_at, chunk)           \
  if (TYPE == CACHE_F16) return RawChunk(words4(CACHE4[at]), 0);                     \
  const uint scales = CACHE[(scale_at) + (chunk) / 8];                       \
  if (TYPE == CACHE_Q8_0) return RawChunk(uvec4(words2(CACHE2[at]), 0, 0), scales);  \
  return RawChunk(uvec4(CACHE[at], 0, 0, 0), scales);

RawChunk raw_k(Place place, uint chunk) {
  if (N_KEY_FORMS > 1 && key_form == 1) {
    LOAD_RAW(K_TYPE, second_k_cache4, second_k_cache2, second_k_cache, place.k + chunk, place.k_scales, chunk)
  }
  LOAD_RAW(K_TYPE, k_cache4, k_cache2, k_cache, place.k + chunk, place.k_scales, chunk)
}

RawChunk raw_v(Place place, uint chunk) { LOAD_RAW(V_TYPE, v_cache4, v_cache2, v_cache, place.v + chunk, place.v_scales, chunk) }

float scale_of(RawChunk raw, uint chunk) { return half_of(raw.scales, chunk / 4); }

Chunk decode_chunk(uint type, RawChunk raw, uint chunk) {
  if (type == CACHE_F16) return f16_chunk(raw.words);
  if (type == CACHE_Q8_0) return q8_chunk(raw.words.xy, scale_of(raw, chunk));
  return q4_chunk(raw.words.x, scale_of(raw, chunk));
}
