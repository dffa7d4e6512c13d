// The rows of a cluster: where they are and what they see.
float m[ROWS], l[ROWS];                               // largest score so far, sum of exp(score - m)
uint from[ROWS], seen[ROWS];                          // the row sees the keys from <= j < seen of this pass
uint after[ROWS];                                     // the row's position + 1; 0: there is no such row
int origin[ROWS];                                     // distances are counted from here
float slope[ROWS];
uint bias_at[ROWS];

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

void load_heads() {
  [[unroll]] for (uint r = 0; r < ROWS; r++) {
    slope[r] = has(ATTENTION_SLOPES) && first + r < end ? slope_of(head_of(r)) : 0;
    bias_at[r] = has(ATTENTION_BIAS) ? bias_row(first + r < end ? head_of(r) : 0, p.n_heads) : 0;
  }
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
