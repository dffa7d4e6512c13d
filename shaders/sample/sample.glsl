// One workgroup a row of logits: maxima of chunks, selection, draw.
#extension GL_EXT_control_flow_attributes : require
#include "shaders/sample/sample.h"

layout(constant_id = 0) const uint LANES = 32;
layout(local_size_x = 32, local_size_x_id = 0) in;

layout(binding = 0) buffer Rows { Row rows[]; };
layout(binding = 1) coherent buffer Logits { float logits[]; };
layout(binding = 2) readonly buffer Targets { uint targets[]; };
layout(binding = 3) readonly buffer Settings { SampleSettings settings[]; };
layout(binding = 4) buffer Tokens { uint tokens[]; };
layout(binding = 5) readonly buffer Ends { uint ends[]; };
layout(binding = 6) writeonly buffer Status { uint status[]; };
layout(binding = 7) writeonly buffer Logprobs { float logprobs[]; };
layout(push_constant) uniform Push { SampleParameters p; };

#include "shaders/common/reduce.glsl"
#include "shaders/sample/philox.glsl"
#include "shaders/sample/sample_keys.glsl"
#include "shaders/sample/sample_select.glsl"

// The largest key and its token; fills chunk_max.
uvec2 scan_row() {
  const uint lane = gl_LocalInvocationIndex, steps = chunk_steps();
  uint best = 0, best_token = 0;
  for (uint c = lane; c < CHUNKS; c += LANES) {
    uint chunk = 0;
    uint token = c / LANES * steps * LANES + lane;
    for (uint step = 0; step < steps && token < p.vocab; step += 4, token += 4 * LANES) {
      const uvec4 keys = keys_at(token);
      [[unroll]] for (uint i = 0; i < 4; i++) {
        chunk = max(chunk, keys[i]);
        if (keys[i] > best) {
          best = keys[i];
          best_token = token + i * LANES;
        }
      }
    }
    chunk_max[c] = chunk;
  }
  return workgroup_first(best, best_token);
}

float sum_of_kept() {
  float sum = 0;
  for (uint token = gl_LocalInvocationIndex; token < p.vocab; token += 4 * LANES) {
    const uvec4 keys = keys_at(token);
    [[unroll]] for (uint i = 0; i < 4; i++)
      if (kept(keys[i], token + i * LANES)) sum += weight_of(keys[i]);
  }
  return workgroup_sum(sum);
}

// The row's own logarithm of a token's probability, before all stages.
float log_probability(uint token, uint best) {
  const uint lane = gl_LocalInvocationIndex;
  if (n_recent != 0) {
    best = 0;
    for (uint i = lane; i < p.vocab; i += 4 * LANES) {
      const uvec4 keys = keys_at(i);
      best = max(best, max(max(keys.x, keys.y), max(keys.z, keys.w)));
    }
    best = workgroup_max_key(best);
  }
  top = logit_of(best);
  limit = uvec2(1, NO_TOKEN);
  const float sum = sum_of_kept();
  return logits[row_start + token] - top - log(sum);
}

// Score of a candidate in the race; the uniform variate is (word + 0.5) / 2^32, less than 1.
float score(uint key, uint token, SampleSettings s, uint position, float inverse_temperature) {
  const uint word = philox(uvec4(token, position, s.sequence, 0), uvec2(s.seed_low, s.seed_high)).x;
  const float v = min((float(word) + 0.5) * (1 / 4294967296.0), 0.99999994);
  const float exponential = v < 0.0625 ? v * (1 + v * (0.5 + v * (1 / 3.0 + v * (0.25 + v * 0.2)))) : -log(1 - v);
  return below_top(key) * inverse_temperature - log(exponential);
}

// The winner among the first n of the list, or, with n = 0, among all kept tokens of the row.
uint draw(uint n, SampleSettings s, uint position) {
  const float inverse = 1 / max(s.temperature, 1e-6);
  uint best = 0, best_token = 0;
  const uint count = n > 0 ? n : p.vocab;
  for (uint i = gl_LocalInvocationIndex; i < count; i += LANES) {
    const uint at = n > 0 ? list_order[i] : 0;
    const uint token = n > 0 ? list_token[at] : i;
    const uint key = n > 0 ? list_key[at] : key_of(logits[row_start + i]);
    if (n == 0 && !kept(key, token)) continue;
    const uint k = key_of(score(key, token, s, position, inverse));
    if (k > best || (k == best && token < best_token)) {
      best = k;
      best_token = token;
    }
  }
  return workgroup_first(best, best_token).y;
}

// How many of the sorted list are kept; 0 when the limits lie beyond it, or when nothing limits.
uint keep_of_list(SampleSettings s, uint least, uint best) {
  const bool all = s.top_k == 0 || s.top_k >= p.vocab;
  if ((all && s.top_p >= 1) || (!all && s.top_k > LIST_TOP_K)) return 0;
  if (!make_list(list_threshold(all ? min(LIST_ALL, p.vocab) : s.top_k, best))) return 0;
  const uint n = all ? n_list : min(n_list, s.top_k);
  float target = 3e38;
  if (s.top_p < 1) {
    float sum = 0;
    if (all) sum = sum_of_kept();  // limit is still open
    else
      for (uint i = 0; i < n; i++) sum += weight_of(list_key[list_order[i]]);
    target = s.top_p * sum;
  }
  float sum = 0;
  for (uint i = 0; i < n; i++) {
    const uint key = list_key[list_order[i]];
    if (i > 0 && key < least) return i;
    sum += weight_of(key);
    if (sum >= target) return i + 1;
  }
  return all && n < p.vocab ? 0 : n;
}

// Sets `limit` over the whole row.
void find_limit(SampleSettings s, uint least, uint best) {
  const uint k = s.top_k == 0 ? p.vocab : min(s.top_k, p.vocab);
  float above, from;
  if (k < p.vocab) {
    limit.x = select_value(BY_COUNT, float(k), 0, best + 1, above, from);
    if (from > float(k)) limit_ties(float(k) - above);
  }
  if (s.top_p < 1) {
    const float target = s.top_p * sum_of_kept();
    const uint key = select_value(BY_MASS, target, max(limit.x, least), best + 1, above, from);
    const float ties = max(1, ceil((target - above) / max(weight_of(key), 1e-30)));
    if (key > limit.x) limit = uvec2(key, NO_TOKEN);
    if (key == limit.x && ties < float(p.vocab)) {
      const uint before = limit.y;
      limit_ties(ties);
      limit.y = min(limit.y, before);
    }
  }
  if (least > limit.x) limit = uvec2(least, NO_TOKEN);
}

void main() {
  const uint lane = gl_LocalInvocationIndex, r = targets[p.first + gl_WorkGroupID.x];
  if (r >= p.n_rows) return;
  const Row row = rows[r];
  if (row.in_use == 0) return;
  const SampleSettings s = settings[row.slot];
  row_start = gl_WorkGroupID.x * p.vocab;
  penalise(s, row.slot, row.position);

  const uvec2 first = scan_row();
  const bool finite = first.x < KEY_INFINITE && first.x > KEY_MINUS_INFINITE;
  uint token = first.y;
  if (finite && s.temperature > 0) {
    top = logit_of(first.x);
    const uint least = s.min_p > 0 ? key_of(top + min(log(min(s.min_p, 1)), 0)) : 0;  // of min-p
    limit = uvec2(1, NO_TOKEN);
    barrier();  // chunk_max is written
    const uint n = keep_of_list(s, least, first.x);
    if (n == 0) find_limit(s, least, first.x);
    token = draw(n, s, row.position);
  }
  take_back_penalties();
  if (!finite) {
    if (lane == 0) {
      status[row.slot] = SAMPLE_NOT_FINITE;
      rows[r].in_use = 0;
    }
    return;
  }

  const uint next = row.slot * p.ring + (row.position + 1) % p.ring;
  if (p.logprobs != 0) {
    const float value = log_probability(token, first.x);
    if (lane == 0) logprobs[next] = value;
  }
  if (lane == 0) {
    bool ended = row.position + 1 >= s.end_position;
    if (s.ignore_end == 0)
      for (uint i = 0; i < p.n_ends; i++) ended = ended || ends[i] == token;
    tokens[next] = token;
    rows[r] = Row(token, row.slot, row.position + 1, ended ? 0 : 1);
  }
}
