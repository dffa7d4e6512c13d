// Logits as keys: unsigned integers in the same order, so that comparing is exact on every device.
const uint NO_TOKEN = 0xFFFFFFFFu;
const uint KEY_NAN = 0xFFFFFFFFu, KEY_INFINITE = 0xFF800000u, KEY_MINUS_INFINITE = 0x00800000u;

uint key_of(float x) {
  const uint bits = floatBitsToUint(x), magnitude = bits & 0x7FFFFFFFu;
  if (magnitude > 0x7F800000u) return KEY_NAN;
  return bits == magnitude ? 0x80000000u + magnitude : 0x80000000u - magnitude;  // -0 is 0
}

float logit_of(uint key) {
  return uintBitsToFloat(key >= 0x80000000u ? key - 0x80000000u : 0x80000000u | (0x80000000u - key));
}

uint row_start;  // of this row of logits

// Keys of four tokens, LANES apart so that lanes read side by side; 0, less than any, past the row's end.
uvec4 keys_at(uint token) {
  uvec4 keys;
  [[unroll]] for (uint i = 0; i < 4; i++) {
    const uint at = token + i * LANES;
    keys[i] = at < p.vocab ? key_of(logits[row_start + at]) : 0;
  }
  return keys;
}

// The repeat penalty changes the row in place and is taken back at the end: looking each token up in each pass
// would cost more than all the rest.
shared uint recent_token[SAMPLE_MAX_RECENT];
shared float recent_logit[SAMPLE_MAX_RECENT];
uint n_recent = 0;  // positions looked back on; 0 without a penalty

void penalise(SampleSettings s, uint slot, uint position) {
  if (s.repeat_penalty > 0 && s.repeat_penalty != 1)
    n_recent = min(min(s.repeat_last_n, SAMPLE_MAX_RECENT), min(p.ring, position + 1));
  if (n_recent == 0) return;
  for (uint i = gl_LocalInvocationIndex; i < n_recent; i += LANES) {
    recent_token[i] = tokens[slot * p.ring + (position - i) % p.ring];
    recent_logit[i] = recent_token[i] < p.vocab ? logits[row_start + recent_token[i]] : 0;
  }
  barrier();  // all are read before any is written; lanes with the same token write the same
  for (uint i = gl_LocalInvocationIndex; i < n_recent; i += LANES) {
    const float x = recent_logit[i];
    if (recent_token[i] < p.vocab)
      logits[row_start + recent_token[i]] = x > 0 ? x / s.repeat_penalty : x * s.repeat_penalty;
  }
  memoryBarrierBuffer();
  barrier();
}

void take_back_penalties() {
  if (n_recent == 0) return;
  memoryBarrierBuffer();
  barrier();
  for (uint i = gl_LocalInvocationIndex; i < n_recent; i += LANES)
    if (recent_token[i] < p.vocab) logits[row_start + recent_token[i]] = recent_logit[i];
  memoryBarrierBuffer();
  barrier();
}

#ifdef SUBGROUP
#define SUBGROUP_MAX_KEY(k) k = subgroupMax(k); if (gl_NumSubgroups == 1) return k;
#else
#define SUBGROUP_MAX_KEY(k)
#endif
shared uint reduce_keys[LANES];
uint workgroup_max_key(uint key) {
  SUBGROUP_MAX_KEY(key)
  if (REDUCE_WRITES) reduce_keys[REDUCE_SLOT] = key;
  barrier();
  for (uint half_lanes = REDUCE_COUNT / 2; half_lanes > 0; half_lanes /= 2) {
    const uint lane = REDUCE_SLOT;
    if (REDUCE_WRITES && lane < half_lanes) reduce_keys[lane] = max(reduce_keys[lane], reduce_keys[lane + half_lanes]);
    barrier();
  }
  const uint result = reduce_keys[0];
  barrier();
  return result;
}

// The largest key of all lanes, and of its holders the lowest token.
uvec2 workgroup_first(uint key, uint token) {
  const uint best = workgroup_max_key(key);
  return uvec2(best, ~workgroup_max_key(key == best ? ~token : 0));
}
