// From the product of a query and a key to its score: the one place that knows scale, soft cap, slopes, bias and
// sinks. Needs ranges.h, FEATURES, SOFT_CAP, N_BIAS, BIAS_CENTER and the binding TABLE_BINDING (attention_table).
const float kNone = -1e30;  // the maximum of no keys

bool has(uint feature) { return (FEATURES & feature) != 0; }

layout(binding = TABLE_BINDING) readonly buffer Table { float table[]; };
layout(binding = TABLE_BINDING) readonly buffer Table4 { vec4 table4[]; };
layout(binding = TABLE_BINDING) readonly buffer TableWords { uint table_words[]; };

float slope_of(uint head) { return has(ATTENTION_SLOPES) ? table[2 * head] : 0; }
float sink_of(uint head) { return table[2 * head + 1]; }
uint bias_row(uint head, uint n_heads) { return 2 * n_heads + head * N_BIAS; }

// Never overflows, and is as exact as x near 0.
float safe_tanh(float x) {
  const float square = x * x;
  if (abs(x) < 0.25)
    return x * (1 + square * (-1.0 / 3 + square * (2.0 / 15 + square * (-17.0 / 315 + square * (62.0 / 2835)))));
  return sign(x) * (1 - 2 / (exp(2 * min(abs(x), 15)) + 1));
}

float score(float product, float scale, float slope, uint bias_at, int offset) {
  float x = product * scale;
  if (SOFT_CAP > 0) x = SOFT_CAP * safe_tanh(x / SOFT_CAP);
  if (has(ATTENTION_SLOPES)) x = fma(-slope, float(abs(offset)), x);
  if (has(ATTENTION_BIAS)) x += table[bias_at + uint(clamp(offset + int(BIAS_CENTER), 0, int(N_BIAS) - 1))];
  return x;
}

// How a row ends whose sums are of exp(score - m) * v and of exp(score - m): y = sum * x / y, log-sum-exp z.
vec3 finish_row(float m, float l, uint head) {
  if (has(ATTENTION_SINKS)) {
    const float sink = sink_of(head), largest = max(m, sink);
    const float keep = exp(m - largest), total = l * keep + exp(sink - largest);
    return vec3(keep, total, largest + log(total));
  }
  return l > 0 ? vec3(1, l, m + log(l)) : isnan(l) ? vec3(1, l, l) : vec3(0, 1, kNone);
}
