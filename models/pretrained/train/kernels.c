// Element-wise work of training in bf16, each in one pass. fast.py compiles and calls it; model.py defines what it computes.
#include <math.h>
#include <stdint.h>
#include <string.h>

typedef uint16_t bf16;

static inline float load(bf16 x) {
  union { uint32_t u; float f; } v = {(uint32_t)x << 16};
  return v.f;
}
static inline bf16 store(float x) {  // to nearest even; no NaN comes here
  union { float f; uint32_t u; } v = {x};
  return (bf16)((v.u + 0x7fff + ((v.u >> 16) & 1)) >> 16);
}

// y = x * scale * weight, scale = 1 / sqrt(mean(x^2) + eps). x [rows, dim], scale [rows]
void rms_norm(bf16* y, float* scale, const float* x, const float* weight, long rows, long dim, float eps) {
#pragma omp parallel for
  for (long r = 0; r < rows; ++r) {
    const float* in = x + r * dim;
    float sum = 0;
    for (long i = 0; i < dim; ++i) sum += in[i] * in[i];
    const float s = scale[r] = 1 / sqrtf(sum / (float)dim + eps);
    for (long i = 0; i < dim; ++i) y[r * dim + i] = store(in[i] * s * weight[i]);
  }
}

// d_weight [dim] is added to.
void rms_norm_backward(float* dx, float* d_weight, const bf16* dy, const float* x, const float* weight, const float* scale,
                       long rows, long dim) {
#pragma omp parallel for reduction(+ : d_weight[:dim])
  for (long r = 0; r < rows; ++r) {
    const float *in = x + r * dim, s = scale[r];
    const bf16* g = dy + r * dim;
    float sum = 0;
    for (long i = 0; i < dim; ++i) sum += load(g[i]) * weight[i] * in[i];
    const float mean = sum * s * s / (float)dim;
    for (long i = 0; i < dim; ++i) {
      dx[r * dim + i] = s * (load(g[i]) * weight[i] - in[i] * mean);
      d_weight[i] += load(g[i]) * in[i] * s;
    }
  }
}

// x [rows, 2 * n] (gate, up), y [rows, n]
void swiglu(bf16* y, const bf16* x, long rows, long n) {
#pragma omp parallel for
  for (long r = 0; r < rows; ++r) {
    const bf16 *gate = x + 2 * r * n, *up = gate + n;
    for (long i = 0; i < n; ++i) y[r * n + i] = store(load(gate[i]) / (1 + expf(-load(gate[i]))) * load(up[i]));
  }
}

void swiglu_backward(bf16* dx, const bf16* dy, const bf16* x, long rows, long n) {
#pragma omp parallel for
  for (long r = 0; r < rows; ++r) {
    const bf16 *gate = x + 2 * r * n, *up = gate + n, *g = dy + r * n;
    bf16 *d_gate = dx + 2 * r * n, *d_up = d_gate + n;
    for (long i = 0; i < n; ++i) {
      const float a = load(gate[i]), s = 1 / (1 + expf(-a));
      d_gate[i] = store(load(g[i]) * load(up[i]) * s * (1 + a * (1 - s)));
      d_up[i] = store(load(g[i]) * a * s);
    }
  }
}

// One head's vector: y = rotate(x) * scale, pairs (i, i + d / 2); turn: 1, or -1 to turn back; cos = 0: not rotated.
static void turn_head(bf16* y, const bf16* x, const float* cos, const float* sin, long d, float turn, float scale) {
  const long half = d / 2;
  for (long i = 0; i < half; ++i) {
    const float a = load(x[i]), b = load(x[i + half]), c = cos ? cos[i] : 1, s = cos ? sin[i] * turn : 0;
    y[i] = store((a * c - b * s) * scale);
    y[i + half] = store((a * s + b * c) * scale);
  }
}

// qkv [batch, n, n_kv * (group + 2), d] -> q [batch, n_kv, n, group, d] (times scale), k and v [batch, n_kv, n, d]; or back.
void split_heads(bf16* qkv, bf16* q, bf16* k, bf16* v, const float* cos, const float* sin, long batch, long n, long n_kv,
                 long group, long d, float scale, int back) {
#pragma omp parallel for
  for (long row = 0; row < batch * n; ++row) {
    const long b = row / n, i = row % n, n_heads = n_kv * group;
    const float *c = cos ? cos + i * (d / 2) : 0, *s = cos ? sin + i * (d / 2) : 0;
    bf16* x = qkv + row * (n_heads + 2 * n_kv) * d;
    for (long h = 0; h < n_heads + 2 * n_kv; ++h, x += d) {
      const long kv = h < n_heads ? h / group : (h - n_heads) % n_kv, at = (b * n_kv + kv) * n + i;
      const int is_q = h < n_heads, is_v = h >= n_heads + n_kv;
      bf16* y = is_q ? q + (at * group + h % group) * d : (is_v ? v : k) + at * d;
      turn_head(back ? x : y, back ? y : x, is_v ? 0 : c, s, d, back ? -1 : 1, is_q ? scale : 1);
    }
  }
}

// In place: scores [batch * n_kv, rows, group, keys] of queries first, first + 1, ... -> softmax over the keys that a query
// sees, 0 for others. by_distance [n_kv * group, n_distances] is added before, or is null.
void softmax(bf16* scores, const float* by_distance, long n_distances, long batches, long n_kv, long group, long first,
             long rows) {
  const long keys = first + rows;
#pragma omp parallel for
  for (long line = 0; line < batches * rows * group; ++line) {
    const long g = line % group, i = first + line / group % rows, kv = line / (group * rows) % n_kv;
    const float* bias = by_distance ? by_distance + (kv * group + g) * n_distances : 0;
    bf16* p = scores + line * keys;
    float x[keys], max = -INFINITY, sum = 0;
    for (long j = 0; j <= i; ++j) x[j] = load(p[j]);
    if (bias)
      for (long j = 0; j <= i; ++j) x[j] += bias[i - j];
    for (long j = 0; j <= i; ++j) max = x[j] > max ? x[j] : max;
    for (long j = 0; j <= i; ++j) sum += x[j] = expf(x[j] - max);
    for (long j = 0; j <= i; ++j) p[j] = store(x[j] / sum);
    memset(p + i + 1, 0, sizeof(bf16) * (size_t)(keys - i - 1));
  }
}

// In place: the gradient of the weights p -> that of the scores; d_by_distance is added to, or is null.
void softmax_backward(bf16* grad, const bf16* p, float* d_by_distance, long n_distances, long batches, long n_kv, long group,
                      long first, long rows) {
  const long keys = first + rows, n = d_by_distance ? n_kv * group * n_distances : 1;
  float none = 0, *d_bias = d_by_distance ? d_by_distance : &none;
#pragma omp parallel for reduction(+ : d_bias[:n])
  for (long line = 0; line < batches * rows * group; ++line) {
    const long g = line % group, i = first + line / group % rows, kv = line / (group * rows) % n_kv;
    bf16* d = grad + line * keys;
    const bf16* w = p + line * keys;
    float sum = 0;
    for (long j = 0; j <= i; ++j) sum += load(d[j]) * load(w[j]);
    if (d_by_distance) {
      float* to = d_bias + (kv * group + g) * n_distances;
      for (long j = 0; j <= i; ++j) to[i - j] += load(w[j]) * (load(d[j]) - sum);
    }
    for (long j = 0; j < keys; ++j) d[j] = store(load(w[j]) * (load(d[j]) - sum));
  }
}

// In place: logits [rows, n] -> weight * (softmax - one at the target); losses [rows] in nats.
void cross_entropy(bf16* logits, float* losses, const int64_t* target, const float* weight, long rows, long n) {
#pragma omp parallel for
  for (long r = 0; r < rows; ++r) {
    bf16* p = logits + r * n;
    float x[n], max = -INFINITY, sum = 0;
    for (long i = 0; i < n; ++i) x[i] = load(p[i]);
    for (long i = 0; i < n; ++i) max = x[i] > max ? x[i] : max;
    const float at_target = x[target[r]] - max;
    for (long i = 0; i < n; ++i) sum += x[i] = expf(x[i] - max);
    losses[r] = logf(sum) - at_target;
    x[target[r]] -= sum;
    for (long i = 0; i < n; ++i) p[i] = store(x[i] / sum * weight[r]);
  }
}
