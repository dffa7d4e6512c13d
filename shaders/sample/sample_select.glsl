// The candidates kept, in order (key descending, token ascending): always the first few, found in one of two ways.
// List: the best few hundred, sorted in shared memory. Limit: a key and a token that bound them, found by
// bisection over the whole row, for a large top_k, a flat distribution or masses of ties.
const uint CHUNKS = 512, LIST = 512;
const uint LIST_TOP_K = 256;  // the largest that the list is used for
const uint LIST_ALL = 64;     // candidates aimed at when top_k says nothing
const uint BY_COUNT = 0, BY_MASS = 1, BY_TIES = 2;
const uint LAST_TOKEN = 0xFFFFFFFEu;

shared uint chunk_max[CHUNKS], list_key[LIST], list_token[LIST], list_order[LIST];
shared uint n_list, n_chunks;

float top;            // the largest logit, after penalties
uvec2 limit;          // key, token: the last candidate kept

float below_top(uint key) { return max(logit_of(key) - top, -1e30); }
bool kept(uint key, uint token) { return key > limit.x || (key == limit.x && token <= limit.y); }

// Token i of chunk c: (c / LANES * chunk_steps + i) * LANES + c % LANES, so that lanes read side by side.
// A multiple of 4.
uint chunk_steps() { return (p.vocab + CHUNKS * 4 - 1) / (CHUNKS * 4) * 4; }

// Sorts the candidates with keys of at least `least`, which lie in chunks whose maximum is that large. False when
// there are too many.
bool make_list(uint least) {
  const uint lane = gl_LocalInvocationIndex, steps = chunk_steps();
  if (lane == 0) n_list = n_chunks = 0;
  barrier();
  for (uint c = lane; c < CHUNKS; c += LANES)
    if (chunk_max[c] >= least) list_order[atomicAdd(n_chunks, 1)] = c;
  barrier();
  for (uint i = lane; i < n_chunks * steps; i += LANES) {
    const uint c = list_order[i / steps], token = (c / LANES * steps + i % steps) * LANES + c % LANES;
    const uint key = token < p.vocab ? key_of(logits[row_start + token]) : 0;
    if (key < least) continue;
    const uint at = atomicAdd(n_list, 1);
    if (at >= LIST) continue;
    list_key[at] = key;
    list_token[at] = token;
  }
  barrier();
  const uint n = n_list;
  if (n > LIST) return false;
  for (uint i = lane; i < n; i += LANES) {
    const uint key = list_key[i];
    uint rank = 0;
    for (uint j = 0; j < n; j += 4)
      [[unroll]] for (uint u = 0; u < 4; u++) {
        const uint k = j + u;
        if (k < n && (list_key[k] > key || (list_key[k] == key && list_token[k] < list_token[i]))) rank++;
      }
    list_order[rank] = i;
  }
  barrier();
  return true;
}

// A key that at least `want` candidates reach, and not many more: as many chunks have a maximum that large.
uint list_threshold(uint want, uint best) {
  uint low = 0, high = best + 1, most = want + want / 4 + 8;
  uint count = CHUNKS;
  while (count > most && high - low > 1) {
    const uint middle = low + (high - low) / 2;
    float n = 0;
    for (uint c = gl_LocalInvocationIndex; c < CHUNKS; c += LANES) n += chunk_max[c] >= middle ? 1 : 0;
    const uint n_reach = uint(workgroup_sum(n));
    if (n_reach >= want) {
      low = middle;
      count = n_reach;
    } else {
      high = middle;
    }
  }
  return low;
}

float weight_of(uint key) { return exp(below_top(key)); }

// Sums over the candidates whose value is at least each of four; value and weight as `mode` says.
vec4 sums_from(uint mode, uvec4 least) {
  vec4 sums = vec4(0);
  for (uint token = gl_LocalInvocationIndex; token < p.vocab; token += 4 * LANES) {
    const uvec4 keys = keys_at(token);
    [[unroll]] for (uint i = 0; i < 4; i++) {
      const uint value = mode != BY_TIES ? keys[i] : keys[i] == limit.x ? LAST_TOKEN - (token + i * LANES) : 0;
      const float weight = mode == BY_MASS ? weight_of(keys[i]) : 1;
      sums += mix(vec4(0), vec4(weight), greaterThanEqual(uvec4(value), least));
    }
  }
  return vec4(workgroup_sum(sums.x), workgroup_sum(sums.y), workgroup_sum(sums.z), workgroup_sum(sums.w));
}

// The largest value in [low, high) from which on the sum reaches target; `above`, `from`: the sums without and with it.
uint select_value(uint mode, float target, uint low, uint high, out float above, out float from) {
  above = 0;
  from = 3e38;
  while (high - low > 1) {
    const uint step = max((high - low) / 5, 1u);
    const uvec4 middle = min(uvec4(low) + step * uvec4(1, 2, 3, 4), uvec4(high - 1));
    const vec4 sums = sums_from(mode, middle);
    for (uint i = 0; i < 4; i++) {
      if (sums[i] >= target) {
        low = middle[i];
        from = sums[i];
      } else {
        high = middle[i];
        above = sums[i];
        break;
      }
    }
  }
  return low;
}

// Lowers the limit to the first `n` of those that share its key.
void limit_ties(float n) {
  float above, from;
  limit.y = LAST_TOKEN - select_value(BY_TIES, n, LAST_TOKEN - p.vocab, LAST_TOKEN + 1, above, from);
}
