// The two phases: which rows and keys a workgroup has.

// What a tile of rows between two positions sees in a pass, within the keys of this dispatch.
AttentionRange tile_range(uint pass, uint low, uint high) {
  AttentionRange range = range_of(pass, low, first_head);
  range.to = range_of(pass, high, first_head).to;
  return range;
}

// by_chunk: the rows in one chunk only. The one place that calls it is a loop, whose rounds constants say where they can:
// each call is a copy of all that follows.
void tile_pass(uint pass, uint rule, uint low, uint high, bool by_chunk) {
  const AttentionRange tile = tile_range(pass, low, high);
  const uint lowest = max(tile.from, p.begin), to = min(tile.to, p.end);
  if (lowest >= to) return;
  if (!has(ATTENTION_DECAY)) load_queries(rule >> 8 & 3, 0);
  [[unroll]] for (uint r = 0; r < ROWS; r++) {
    from[r] = 0;
    seen[r] = after[r];
    origin[r] = int(after[r] - 1);
    if (has(ATTENTION_RANGES) && after[r] > 0) {
      const AttentionRange range = range_of(pass, after[r] - 1, head_of(r));
      const bool outside = by_chunk && (after[r] - 1 < low || after[r] - 1 > high);
      from[r] = range.from;
      seen[r] = outside || !pass_keeps(p.passes[pass], after[r] - 1, first_head) ? 0 : min(range.to, p.end);
      origin[r] -= int(range.gap);
    }
  }
  uint decay_block = 0xffffffffu;
  current = BlockRange(pass, tile.from, to);
  for (uint block = first_block(pass, lowest, tile.from); block < to; block = next_block(pass, block, tile.from)) {
    if (has(ATTENTION_DECAY) && block / 256 != decay_block) {
      decay_block = block / 256;
      load_queries(rule >> 8 & 3, decay_block);
    }
    block_step(block, lowest, last_of_block(pass, block, to), pass_stride(rule));
  }
}

void prefill_pass(uint pass, uint low, uint high) {
  const uint rule = has(ATTENTION_RANGES) ? p.passes[pass].rule : 0;
  key_form = N_KEY_FORMS > 1 ? rule >> 10 & 1 : 0;
  const bool by_chunk = has(ATTENTION_BY_HEAD) && pass_by_chunk(rule);
  const uint chunk = by_chunk ? p.passes[pass].from : 1, end_chunk = by_chunk ? high / chunk + 1 : 1;
  for (uint c = by_chunk ? low / chunk : 0; c < end_chunk; c++)
    tile_pass(pass, rule, by_chunk ? max(low, c * chunk) : low, by_chunk ? min(high, c * chunk + chunk - 1) : high, by_chunk);
}

void prefill(uint cluster) {
  first_head = has(ATTENTION_BY_HEAD) ? gl_WorkGroupID.y : gl_WorkGroupID.y * group;
  kv_head = first_head / group;
  end = p.end_row * pack;
  const uint tile = p.first_row * pack + gl_WorkGroupID.x * kClusters * ROWS;
  first = tile + cluster * ROWS;
  uint last = (min(tile + kClusters * ROWS, end) - 1) / pack;
  while (last > tile / pack && rows[last].in_use == 0) last--;
  if (rows[last].in_use == 0) return;
  const uint low = rows[tile / pack].position, high = rows[last].position;
  slot = rows[last].slot;
  const bool carried = (p.flags & ATTENTION_CARRIED) != 0, finished = (p.flags & ATTENTION_FINISHED) != 0;
  const uint begin_pass = N_PASSES > 1 ? p.flags >> 8 & 0xff : 0, end_pass = N_PASSES > 1 ? p.flags >> 16 : 1;
  if (carried && !finished) {
    const AttentionRange range = tile_range(begin_pass, low, high);
    if (!(has(ATTENTION_RANGES) && pass_by_chunk(p.passes[begin_pass].rule)) && max(range.from, p.begin) >= min(range.to, p.end))
      return;
  }
  [[unroll]] for (uint r = 0; r < ROWS; r++) {
    const uint row = min(first + r, end - 1) / pack;
    after[r] = first + r < end && rows[row].in_use != 0 ? rows[row].position + 1 : 0;
  }
  load_heads();
  load_states(carried);
  for (uint pass = begin_pass; pass < end_pass; pass++) prefill_pass(pass, low, high);
  store_rows(finished);
}

void decode(uint cluster) {
  const uint row = p.first_row + gl_WorkGroupID.z, position = rows[row].position;
  if (rows[row].in_use == 0) return;
  const uint in_group = has(ATTENTION_BY_HEAD) ? 0 : gl_WorkGroupID.y / p.n_kv_heads * ROWS;
  kv_head = has(ATTENTION_BY_HEAD) ? gl_WorkGroupID.y / group : gl_WorkGroupID.y % p.n_kv_heads;
  first_head = has(ATTENTION_BY_HEAD) ? gl_WorkGroupID.y : kv_head * group;
  first = row * pack + in_group;
  end = (row + 1) * pack;
  slot = rows[row].slot;

  uint pass = N_PASSES > 1 ? p.flags >> 8 & 0xff : 0, index = gl_WorkGroupID.x, first_place = p.first_place;
  if (N_PASSES > 1) {
    const uint end_pass = p.flags >> 16;
    for (; pass + 1 < end_pass; pass++) {
      const uint splits = pass_splits(p.passes[pass], p.depth, SPLIT_KEYS), workgroups = (splits + kClusters - 1) / kClusters;
      if (index < workgroups) break;
      index -= workgroups;
      first_place += splits;
    }
  }
  const uint rule = has(ATTENTION_RANGES) ? p.passes[pass].rule : 0;
  const AttentionRange range = range_of(pass, position, first_head);
  const bool listed = (rule & RULE_LISTED) != 0;
  const uint split_keys = listed ? 0x7fffffffu : SPLIT_KEYS;
  if (has(ATTENTION_RANGES) && !pass_keeps(p.passes[pass], position, first_head)) return;
  const uint lowest = max(range.from, p.begin), to = min(range.to, p.end);
  const uint first_split = (has(ATTENTION_RANGES) ? range.from / split_keys : 0) + p.first_split + index * kClusters;
  if (lowest >= to || max(first_split * split_keys, lowest) >= to) return;

  const uint split = first_split + cluster;
  place = first_place + index * kClusters + cluster;
  const uint begin = max(split * split_keys, lowest);
  const uint end_key = listed && split > 0 || p.n_splits > 0 && place >= p.n_splits ? 0 : min((split + 1) * split_keys, to);
  const bool any = begin < end_key;
  const bool carried = any && begin > max(split * split_keys, range.from);
  key_form = N_KEY_FORMS > 1 ? rule >> 10 & 1 : 0;
  [[unroll]] for (uint r = 0; r < ROWS; r++) {
    after[r] = first + r < end && any ? position + 1 : 0;
    from[r] = begin;
    origin[r] = int(position - range.gap);
    seen[r] = after[r] > 0 ? end_key : 0;
  }
  uint n_blocks = 0;
  if (kGathered && (listed || pass_stride(rule) > 1)) {
    n_blocks = listed ? N_LISTED : SPLIT_KEYS / (KEYS * pass_stride(rule)) + 2;
  } else {
    for (uint c = 0; c < kClusters; c++) {
      const uint low = max((first_split + c) * split_keys, lowest) / KEYS, high = min((first_split + c + 1) * split_keys, to);
      n_blocks = max(n_blocks, low * KEYS < high ? (high - 1) / KEYS - low + 1 : 0);
    }
  }

  load_heads();
  load_queries(rule >> 8 & 3, begin / 256);
  load_states(carried);
  uint block = first_block(pass, begin, range.from);
  for (uint n = 0; n < n_blocks; n++) {
    block_step(block, lowest, last_of_block(pass, block, to), pass_stride(rule));
    block = next_block(pass, block, range.from);
  }
  store_rows(p.n_splits == 0);
}
