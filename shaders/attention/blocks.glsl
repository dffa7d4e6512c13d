// Which keys the blocks of a pass have, and which of them a row sees. Needs kernel.glsl and rows.glsl.
uint block_stride;  // the keys of the current block lie so far apart,
uint block_safe;    // up to this one

// In prefill, of the current block: its pass, where the pass's chunk begins, and where the tile's keys end.
struct BlockRange {
  uint pass, base, to;
};
BlockRange current;

AttentionRange range_of(uint pass, uint position, uint head) {
  if (!has(ATTENTION_RANGES)) return AttentionRange(0, position + 1, 0);
  return pass_range(p.passes[pass], p.passes[N_PASSES - 1], position, head, p.n_heads, SEED);
}

// The first key of a strided or listed pass from `key` on; base is where the pass's chunk begins.
uint gather_from(uint pass, uint key, uint base) {
  const uint rule = p.passes[pass].rule;
  if ((rule & RULE_LISTED) != 0) {
    for (uint t = 0; t < N_LISTED; t++)
      if (table_words[LIST_AT + t] >= key) return table_words[LIST_AT + t];
    return 0xffffff00u;
  }
  const uint stride = pass_stride(rule), lattice = base + (stride > 1 ? first_head % stride : 0);
  return key <= lattice ? lattice : lattice + (key - lattice + stride - 1) / stride * stride;
}

// The next block. Strided ones begin anew at multiples of 256, so that borders of segments and splits are theirs.
uint next_block(uint pass, uint block, uint base) {
  if (!kGathered) return block + KEYS;
  const uint rule = p.passes[pass].rule, stride = pass_stride(rule);
  if ((rule & RULE_LISTED) != 0) return gather_from(pass, block + 1, base);
  if (stride == 1) return block + KEYS;
  const uint next = block + KEYS * stride;
  return next / 256 == block / 256 ? next : gather_from(pass, (block / 256 + 1) * 256, base);
}

uint first_block(uint pass, uint key, uint base) {
  if (!kGathered) return key / KEYS * KEYS;
  const bool plain = pass_stride(p.passes[pass].rule) == 1 && (p.passes[pass].rule & RULE_LISTED) == 0;
  return plain ? key / KEYS * KEYS : gather_from(pass, key, base);
}

// The last key of a block.
uint last_of_block(uint pass, uint block, uint to) {
  if (!kGathered) return to - 1;
  const bool listed = (p.passes[pass].rule & RULE_LISTED) != 0;
  return listed ? min(to - 1, block) : pass_stride(p.passes[pass].rule) > 1 ? min(to - 1, block | 255) : to - 1;
}

uint position_of_key(uint block, uint n) { return kGathered ? block + n * block_stride : block + n; }

bool visible(uint key, uint r) {
  if (!has(ATTENTION_RANGES)) return key < seen[r];
  return key < seen[r] && key >= from[r] && (!kGathered || key <= block_safe);
}
