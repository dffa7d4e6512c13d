// One block of keys: scores, online softmax, values. Milakov and Gimelshein, arXiv 1805.02867.
// Every row decides its own rescaling, and a block of which it sees nothing leaves its state as it is, so that a
// row's bits depend on its own keys only.
const float kNone = -1e30;  // the maximum of no keys

vec4 query[ROWS * kOwn * 2], sum[ROWS * kOwn * 2];  // sum: of exp(score - m) * v
float m[ROWS], l[ROWS];                             // largest score so far, sum of exp(score - m)
uint seen[ROWS];                                    // the row sees the keys below this position

float score(float product) { return product * p.scale; }

// Every step by name: Mesa before 23 does not unroll loops that double their counter.
#define FOR_EACH_BIT(STEP) STEP(1) STEP(2) STEP(4) STEP(8)

float row_max(float value) {
#define STEP(BIT) if (SPAN > BIT) value = max(value, EXCHANGE(value, BIT));
  FOR_EACH_BIT(STEP)
#undef STEP
  return value;
}

float row_sum(float value) {
#define STEP(BIT) if (SPAN > BIT) value += EXCHANGE(value, BIT);
  FOR_EACH_BIT(STEP)
#undef STEP
  return value;
}

// Sums part[0 .. UNROLL - 1] over the lanes of a cluster; lane i gets the sum of part[i % UNROLL].
float transposed_sum(float part[UNROLL]) {
#define STEP(BIT)                                                                                           \
  if (UNROLL > BIT) {                                                                                       \
    const bool odd = (lane & BIT) != 0;                                                                     \
    [[unroll]] for (uint i = 0; i < UNROLL / (2 * BIT); i++)                                                \
      part[i] = (odd ? part[2 * i + 1] : part[2 * i]) + EXCHANGE(odd ? part[2 * i] : part[2 * i + 1], BIT); \
  } else if (SPAN > BIT) {                                                                                  \
    part[0] += EXCHANGE(part[0], BIT);                                                                      \
  }
  FOR_EACH_BIT(STEP)
#undef STEP
  return part[0];
}

// Keys past `safe` are not read: the key at `safe` stands in for them.
void block_step(uint block, uint safe, uint slot) {
  const uint from = min(block, safe / KEYS * KEYS), most = safe - from;
  const uint page = pages[slot * p.pages_per_slot + from / p.page_tokens];
  const uint first_chunk = ((page * p.n_kv_heads + kv_head) * p.page_tokens + from % p.page_tokens) * kChunks;
  float x[ROWS * kScores];
  [[unroll]] for (uint r = 0; r < ROWS * kScores; r++) x[r] = 0;
  [[unroll]] for (uint i = 0; i < kScores; i++)
    [[dont_unroll]] for (uint k = 0; k < SPAN; k += UNROLL) {
      Chunk key[UNROLL * kOwn];
      [[unroll]] for (uint u = 0; u < UNROLL; u++)
        [[unroll]] for (uint c = 0; c < kOwn; c++)
          key[u * kOwn + c] = load_k(first_chunk + min(i * SPAN + k + u, most) * kChunks + chunk_of(c));
      [[unroll]] for (uint r = 0; r < ROWS; r++) {
        float part[UNROLL];
        [[unroll]] for (uint u = 0; u < UNROLL; u++) {
          vec4 products = vec4(0);
          [[unroll]] for (uint c = 0; c < kOwn; c++) {
            products = fma(query[(r * kOwn + c) * 2], key[u * kOwn + c].low, products);
            products = fma(query[(r * kOwn + c) * 2 + 1], key[u * kOwn + c].high, products);
          }
          part[u] = (products.x + products.y) + (products.z + products.w);
        }
        const float total = transposed_sum(part);
        if (SPAN == UNROLL) x[r * kScores + i] = total;
        else x[r * kScores + i] = lane / UNROLL == k / UNROLL ? total : x[r * kScores + i];
      }
    }

  [[unroll]] for (uint r = 0; r < ROWS; r++) {
    float largest = m[r];
    [[unroll]] for (uint i = 0; i < kScores; i++) {
      const bool visible = block + i * SPAN + lane < seen[r];
      x[r * kScores + i] = visible ? score(x[r * kScores + i]) : kNone;
      largest = max(largest, x[r * kScores + i]);
    }
    largest = row_max(largest);
    const float keep = largest == m[r] ? 1 : exp(m[r] - largest);
    m[r] = largest;
    float total = 0;
    [[unroll]] for (uint i = 0; i < kScores; i++) {
      const bool visible = block + i * SPAN + lane < seen[r];
      x[r * kScores + i] = visible ? exp(x[r * kScores + i] - largest) : 0;
      total += x[r * kScores + i];
    }
    l[r] = l[r] * keep + row_sum(total);
    [[unroll]] for (uint c = 0; c < kOwn * 2; c++) sum[r * kOwn * 2 + c] *= keep;
  }

  [[unroll]] for (uint i = 0; i < kScores; i++)
    [[dont_unroll]] for (uint k = 0; k < SPAN; k += UNROLL) {
      Chunk value[UNROLL * kOwn];
      [[unroll]] for (uint u = 0; u < UNROLL; u++)
        [[unroll]] for (uint c = 0; c < kOwn; c++)
          value[u * kOwn + c] = load_v(first_chunk + min(i * SPAN + k + u, most) * kChunks + chunk_of(c));
      [[unroll]] for (uint r = 0; r < ROWS; r++)
        [[unroll]] for (uint u = 0; u < UNROLL; u++) {
          const float weight = BROADCAST(x[r * kScores + i], k + u);
          // In decode what stands in for an unseen key is a key that is seen: its weight of 0 is enough.
          const bvec4 hidden = bvec4(SPLIT_KEYS == 0 && block + i * SPAN + k + u >= seen[r]);
          [[unroll]] for (uint c = 0; c < kOwn; c++) {
            const uint at = (r * kOwn + c) * 2;
            sum[at] = mix(fma(vec4(weight), value[u * kOwn + c].low, sum[at]), sum[at], hidden);
            sum[at + 1] = mix(fma(vec4(weight), value[u * kOwn + c].high, sum[at + 1]), sum[at + 1], hidden);
          }
        }
    }
}
