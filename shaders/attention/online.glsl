// One block of keys: scores, online softmax, values. Milakov and Gimelshein, arXiv 1805.02867.
// Every row decides its own rescaling, and a block of which it sees nothing leaves its state as it is, so that a
// row's bits depend on its own keys only.

#include "shaders/attention/cluster.glsl"

// The block's keys lie `stride` apart from `block` on. Those below `lowest` and past `safe` are not read: the
// nearest key between stands in for them.
uint block_from, block_least, block_most, block_lowest;
Place block_place;

void set_block(uint block, uint lowest, uint safe, uint stride) {
  block_from = clamp(block, lowest / KEYS * KEYS, safe / KEYS * KEYS);
  block_least = has(ATTENTION_RANGES) && lowest > block_from ? lowest - block_from : 0;
  block_most = safe - block_from;
  block_stride = stride;
  block_lowest = min(lowest, safe);
  block_safe = safe;
  if (!kGathered) block_place = place_of(block_from);
  else block_from = block;
}

Place place_of_key(uint n) {
  if (!kGathered) return block_place;
  return place_of(clamp(block_from + n * block_stride, block_lowest, block_safe));
}

uint token_of_key(uint n) {
  if (kGathered) return 0;
  return has(ATTENTION_RANGES) ? clamp(n, block_least, block_most) : min(n, block_most);
}

void block_step(uint block, uint lowest, uint safe, uint stride) {
  set_block(block, lowest, safe, stride);
  float x[ROWS * kScores];
  [[unroll]] for (uint r = 0; r < ROWS * kScores; r++) x[r] = 0;
  // One loop over the block's keys: within a second one around it NVK's compiler keeps x in memory.
  [[dont_unroll]] for (uint k = 0; k < KEYS; k += UNROLL) {
    Chunk key[UNROLL * kOwnK];
    [[unroll]] for (uint u = 0; u < UNROLL; u++) {
      const Place place = place_of_key(k + u);
      [[unroll]] for (uint c = 0; c < kOwnK; c++)
        if (AHEAD) key[u * kOwnK + c] = load_k(place, token_of_key(k + u), chunk_of(c, kChunksK));
    }
    [[unroll]] for (uint r = 0; r < ROWS; r++) {
      float part[UNROLL];
      [[unroll]] for (uint u = 0; u < UNROLL; u++) {
        vec4 products = vec4(0);
        [[unroll]] for (uint c = 0; c < kOwnK; c++) {
          if (!AHEAD) key[u * kOwnK + c] = load_k(place_of_key(k + u), token_of_key(k + u), chunk_of(c, kChunksK));
          vec4 low = K_SCALED ? vec4(0) : products;
          low = fma(query_of(r, c, 0), key[u * kOwnK + c].low, low);
          low = fma(query_of(r, c, 1), key[u * kOwnK + c].high, low);
          products = K_SCALED ? fma(low, vec4(key[u * kOwnK + c].scale), products) : low;
        }
        part[u] = (products.x + products.y) + (products.z + products.w);
      }
      const float total = transposed_sum(part);
      [[unroll]] for (uint i = 0; i < kScores; i++)
        x[r * kScores + i] = KEYS == UNROLL || k == i * SPAN + lane / UNROLL * UNROLL ? total : x[r * kScores + i];
    }
  }

  [[unroll]] for (uint r = 0; r < ROWS; r++) {
    float largest = m[r];
    [[unroll]] for (uint i = 0; i < kScores; i++) {
      const uint key = position_of_key(block, i * SPAN + lane);
      const float value = score(x[r * kScores + i], p.scale, slope[r], bias_at[r], origin[r] - int(key));
      x[r * kScores + i] = visible(key, r) ? value : kNone;
      largest = max(largest, x[r * kScores + i]);
    }
    largest = row_max(largest);
    const float keep = largest == m[r] ? 1 : exp(m[r] - largest);
    m[r] = largest;
    float total = 0;
    [[unroll]] for (uint i = 0; i < kScores; i++) {
      const bool counts = visible(position_of_key(block, i * SPAN + lane), r);
      x[r * kScores + i] = counts ? exp(x[r * kScores + i] - largest) : 0;
      total += x[r * kScores + i];
    }
    l[r] = l[r] * keep + row_sum(total);
    [[unroll]] for (uint c = 0; c < kOwnV * 2; c++) sum[r * kOwnV * 2 + c] *= keep;
  }

  [[dont_unroll]] for (uint k = 0; k < KEYS; k += UNROLL) {
    Chunk value[UNROLL * kOwnV];
    [[unroll]] for (uint u = 0; u < UNROLL; u++) {
      const Place place = place_of_key(k + u);
      [[unroll]] for (uint c = 0; c < kOwnV; c++)
        if (AHEAD) value[u * kOwnV + c] = load_v(place, token_of_key(k + u), chunk_of(c, kChunksV));
    }
    [[unroll]] for (uint r = 0; r < ROWS; r++) {
      float weights = x[r * kScores];  // of the lanes' keys k / SPAN * SPAN + lane
      [[unroll]] for (uint i = 1; i < kScores; i++) weights = k / SPAN == i ? x[r * kScores + i] : weights;
      [[unroll]] for (uint u = 0; u < UNROLL; u++) {
        const float weight = BROADCAST(weights, (k + u) % SPAN);
        // In decode what stands in for an unseen key is a key that is seen: its weight of 0 is enough.
        const bvec4 hidden = bvec4((SPLIT_KEYS == 0 || kGathered) && !visible(position_of_key(block, k + u), r));
        [[unroll]] for (uint c = 0; c < kOwnV; c++) {
          const uint at = (r * kOwnV + c) * 2;
          if (!AHEAD) value[u * kOwnV + c] = load_v(place_of_key(k + u), token_of_key(k + u), chunk_of(c, kChunksV));
          const vec4 by = vec4(V_SCALED ? weight * value[u * kOwnV + c].scale : weight);
          sum[at] = mix(fma(by, value[u * kOwnV + c].low, sum[at]), sum[at], hidden);
          sum[at + 1] = mix(fma(by, value[u * kOwnV + c].high, sum[at + 1]), sum[at + 1], hidden);
        }
      }
    }
  }
}
