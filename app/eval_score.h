// The arithmetic of evaluations: which tokens are scored in which window, log-probabilities, shares.
#ifndef SPINDLE_APP_EVAL_SCORE_H
#define SPINDLE_APP_EVAL_SCORE_H
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace spindle {

// ln(sum(exp(x))). Terms are f32, sums of 256 of them and all that follows double: off by 1e-6 at most.
double log_sum_exp(std::span<const float> x);

// Tokens [begin, end) are read, of which [scored, end) are predicted; begin < scored < end.
struct Window {
  size_t begin = 0, end = 0, scored = 0;
  bool operator==(const Window&) const = default;
};

// llama.cpp's: whole chunks of `length` tokens, the second half of each is scored.
std::vector<Window> chunk_windows(size_t n_tokens, size_t length);
// Windows move by `stride`, and each scores what no earlier one has; the first all of its tokens. The first
// token of a window is never scored.
std::vector<Window> sliding_windows(size_t n_tokens, size_t length, size_t stride);
// For several lengths up to `longest`: windows of every length end at the same places and score their last
// `stride` tokens, so each length scores the same tokens.
std::vector<Window> aligned_windows(size_t n_tokens, size_t length, size_t stride, size_t longest);

// Negative log-likelihoods, in nats.
struct Likelihood {
  double sum = 0, squares = 0;
  size_t n = 0, bytes = 0;  // bytes: of the text that the scored tokens stand for
  void add(double nll, size_t token_bytes);
  double mean() const { return n ? sum / static_cast<double>(n) : 0; }
  double perplexity() const;
  double perplexity_error() const;  // standard error
  double bits_per_byte() const;
};

// How many of how many.
struct Share {
  uint32_t right = 0, n = 0;
  void add(bool is_right) { right += is_right, n++; }
  Share& operator+=(Share s);
  double value() const { return n ? static_cast<double>(right) / n : 0; }
};
struct Interval {
  double low = 0, high = 1;
};
// Wilson's score interval, 95%: E. B. Wilson, Probable inference, JASA 22 (1927).
Interval wilson(Share share);

}  // namespace spindle
#endif
