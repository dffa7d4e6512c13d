// Rows whose queries and unfinished sums their cluster holds: how they begin and end.
vec4 query[KEEP_QUERY ? ROWS * kOwnK * 2 : 1], sum[ROWS * kOwnV * 2];  // sum: of exp(score - m) * v

void load_queries(uint version, uint block) {
  query_version = version;
  query_block = block;
  [[unroll]] for (uint r = 0; r < ROWS; r++)
    [[unroll]] for (uint c = 0; c < kOwnK; c++)
      [[unroll]] for (uint half_chunk = 0; half_chunk < 2; half_chunk++)
        if (KEEP_QUERY) query[(r * kOwnK + c) * 2 + half_chunk] = load_query(r, c, half_chunk);
}

vec4 query_of(uint r, uint c, uint half_chunk) {
  if (!KEEP_QUERY) return load_query(r, c, half_chunk);
  return query[(r * kOwnK + c) * 2 + half_chunk];
}

void load_states(bool carried) {
  [[unroll]] for (uint r = 0; r < ROWS; r++) {
    const bool exists = first + r < end;
    const vec2 state = exists && carried ? states[p.first_state + state_row(r)] : vec2(kNone, 0);
    m[r] = state.x;
    l[r] = state.y;
    [[unroll]] for (uint c = 0; c < kOwnV; c++)
      [[unroll]] for (uint half_chunk = 0; half_chunk < 2; half_chunk++) {
        const uint at = chunk_of(c, kChunksV) * 2 + half_chunk, own = (r * kOwnV + c) * 2 + half_chunk;
        sum[own] = exists && carried ? sums[state_row(r) * kChunksV * 2 + at] : vec4(0);
      }
  }
}

void store_rows(bool finished) {
  [[unroll]] for (uint r = 0; r < ROWS; r++) {
    if (first + r < end && after[r] > 0) {
      const vec3 ending = finish_row(m[r], l[r], head_of(r));
      if (lane == 0) {
        if (!finished) states[p.first_state + state_row(r)] = vec2(m[r], l[r]);
        else if ((p.flags & ATTENTION_WRITE_LSE) != 0) lse[head_row(r)] = ending.z;
      }
      [[unroll]] for (uint c = 0; c < kOwnV; c++)
        [[unroll]] for (uint half_chunk = 0; half_chunk < 2; half_chunk++) {
          const uint at = chunk_of(c, kChunksV) * 2 + half_chunk, own = (r * kOwnV + c) * 2 + half_chunk;
          if (owns(c, kChunksV)) {
            if (!finished) sums[state_row(r) * kChunksV * 2 + at] = sum[own];
            else y[head_row(r) * kChunksV * 2 + at] = sum[own] * ending.x / ending.y;
          }
        }
    }
  }
}
