// Reads 8 elements of the cache at once, the chunk that every lane works in. Needs K_TYPE and V_TYPE (DType).
// Page layout: cache.h.
#include "shaders/common/f16.glsl"

layout(binding = 4) readonly buffer Pages { uint pages[]; };  // [slots, pages_per_slot]
layout(binding = 5) readonly buffer KCache { uvec4 k_cache[]; };
layout(binding = 6) readonly buffer VCache { uvec4 v_cache[]; };

struct Chunk {
  vec4 low, high;
};

Chunk unpack_chunk(uvec4 words) {
  return Chunk(vec4(unpack_f16(words.x), unpack_f16(words.y)), vec4(unpack_f16(words.z), unpack_f16(words.w)));
}

Chunk load_k(uint chunk) {
  if (K_TYPE == 1) return unpack_chunk(k_cache[chunk]);
  return Chunk(uintBitsToFloat(k_cache[2 * chunk]), uintBitsToFloat(k_cache[2 * chunk + 1]));
}

Chunk load_v(uint chunk) {
  if (V_TYPE == 1) return unpack_chunk(v_cache[chunk]);
  return Chunk(uintBitsToFloat(v_cache[2 * chunk]), uintBitsToFloat(v_cache[2 * chunk + 1]));
}
