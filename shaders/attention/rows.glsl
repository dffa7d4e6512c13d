// The rows of a cluster: their queries, their unfinished sums, and how they begin and end.
vec4 query[KEEP_QUERY ? ROWS * kOwnK * 2 : 1], sum[ROWS * kOwnV * 2];  // sum: of exp(score - m) * v
float m[ROWS], l[ROWS];                               // largest score so far, sum of exp(score - m)
uint from[ROWS], seen[ROWS];                          // the row sees the keys from <= j < seen of this pass
uint after[ROWS];                                     // the row's position + 1; 0: there is no such row
int origin[ROWS];                                     // distances are counted from here

uint group, pack, first_head;  // heads of a group, heads in one tile, and the first of them
uint first, end;               // first: this cluster's first query row; those from end on do not exist
uint place;                    // decode: of this cluster's state among those of a row

// Index of query row r in y [rows, n_heads] and in scratch.
uint head_row(uint r) { return (first + r) / pack * p.n_heads + first_head + (first + r) % pack; }
uint head_of(uint r) { return first_head + (first + r) % pack; }
uint state_row(uint r) {
  const uint row = head_row(r) - p.first_row * p.n_heads;
  return SPLIT_KEYS == 0 ? row : row * p.n_splits + place;
}

uint query_version, query_block;  // of a version; with decay, for the keys of one block of 256

vec4 load_query(uint r, uint c, uint half_chunk) {
  const uint from_row = N_QUERIES > 1 ? query_version * p.query_rows * p.n_heads : 0;
  const uint at = chunk_of(c, kChunksK) * 2 + half_chunk;
  const bool mine = first + r < end && owns(c, kChunksK);
  vec4 v = mine ? q[(from_row + head_row(r)) * kChunksK * 2 + at] : vec4(0);
  if (has(ATTENTION_DECAY) && mine && after[r] > query_block * 256)
    v *= table4[DECAY_AT / 4 + ((after[r] - 1) / 256 - query_block) * kChunksK * 2 + at];
  return v;
}

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
