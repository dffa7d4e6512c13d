// Two and four words of a buffer at once, as a device loads them best: a processor's lanes load one after the other, so
// that 64 bits at once (WIDE) take half as many loads as 32.
#ifdef WIDE
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require
#define WORDS2 uint64_t
#define WORDS4 u64vec2
uvec2 words2(uint64_t v) { return unpackUint2x32(v); }
uvec4 words4(u64vec2 v) { return uvec4(unpackUint2x32(v.x), unpackUint2x32(v.y)); }
#else
#define WORDS2 uvec2
#define WORDS4 uvec4
uvec2 words2(uvec2 v) { return v; }
uvec4 words4(uvec4 v) { return v; }
#endif
