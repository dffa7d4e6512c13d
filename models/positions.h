// Every number that positions enter attention by, made here in double precision: rotary frequencies under
// each scaling, ALiBi slopes, T5 buckets, sinusoids. Source: the paper of each method; check values in the
// tests.
#ifndef SPINDLE_MODELS_POSITIONS_H
#define SPINDLE_MODELS_POSITIONS_H
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace spindle {

enum class RopeMethod {
  none,          // Su et al., RoFormer, arXiv 2104.09864
  linear,        // position interpolation: Chen et al., arXiv 2306.15595
  ntk,           // NTK-aware base change
  dynamic,       // the same, by the current length
  ntk_parts,     // ramp by rotations over the trained window
  yarn,          // Peng et al., arXiv 2309.00071, with the ramp of the released code
  llama3,        // Llama 3.1's ramp by wavelength
  longrope,      // Ding et al., arXiv 2402.13753: factors in the file
  rerope,        // distances above a window are the window
  leaky_rerope,  // ... grow 1 / leak as fast
  self_extend,   // Jin et al., arXiv 2401.01325
  dca,           // dual chunk attention: An et al., arXiv 2402.17463
};
std::string_view name_of(RopeMethod method);  // as --rope-scaling spells it
std::optional<RopeMethod> find_rope_method(std::string_view name);
std::string rope_method_names();       // "none, linear, ..."
bool takes_factor(RopeMethod method);  // has --rope-scale, or its like in a file

// What a file or a person asks for; what is not said has the default of the method.
struct RopeRequest {
  std::optional<RopeMethod> method;
  std::optional<double> factor;            // length / original length
  std::optional<double> base;              // --rope-freq-base
  std::optional<double> original_context;  // positions before any extension; default: the trained context
  std::optional<double> attention_factor;  // multiplies cos and sin; default 1, yarn's 1 + 0.1 ln factor
  std::optional<double> attention_scale;   // multiplies that default (llama.cpp's meaning)
  std::optional<double> mscale, mscale_all_dim;    // yarn, DeepSeek: attention factor m(mscale) / m(all_dim)
  std::optional<double> logit_mscale;              // yarn of latent attention: scores times m(this)^2
  std::optional<double> extension;                 // yarn: 1 its ramp, 0 plain interpolation
  std::optional<double> beta_fast, beta_slow;      // yarn: rotations, 32 and 1
  std::optional<bool> truncate;                    // yarn: whole pairs at the ends of the ramp
  std::optional<double> llama3_low, llama3_high;   // wavelengths in the original context, 1 and 4
  std::optional<double> ntk_alpha, ntk_beta;       // ntk-parts: rotations, 1 and 32
  std::optional<double> window;                    // rerope, leaky-rerope: positions
  std::optional<double> leak;                      // leaky-rerope: 16
  std::optional<double> group_size, group_window;  // self-extend: 8 and 1024 or less
  std::optional<double> chunk;                     // dca: 3/4 of the original context less 1/8
  bool log_n = false;                              // logits grow with ln(position) past the original context
  std::vector<double> divisors;                    // of the frequencies, one a pair: the file's
  bool operator==(const RopeRequest&) const = default;
};

struct RopeModel {  // what the model has
  uint32_t head_dim = 0, n_rot = 0;
  double base = 10000;
  uint32_t context_length = 0;  // trained
};

// An integer position before its angle: min(p % modulo / divide + offset, cap); modulo 0: no modulo.
struct PositionMap {
  uint32_t modulo = 0, divide = 1, offset = 0, cap = UINT32_MAX;
  uint32_t operator()(uint32_t p) const;
  bool operator==(const PositionMap&) const = default;
};

// One way to rotate queries or keys: angle of pair t at position p = (map(p) * scale + phase) * inv_freq[t].
struct RotaryForm {
  PositionMap map;
  double scale = 1, phase = 0;
  bool operator==(const RotaryForm&) const = default;
};

// Rotary positions of one model: which frequencies, and which forms of queries and keys near and far keys
// meet in.
struct RopePlan {
  RopeMethod method = RopeMethod::none;
  uint32_t n_rot = 0;
  double base = 10000, factor = 1;
  double original_context = 0;
  std::vector<double> inv_freq;  // n_rot / 2; of `dynamic`: at the original length
  std::vector<double> ramp;      // share of interpolation of each pair, where the method has a ramp
  double magnitude = 1;          // multiplies cos and sin of q and k
  double logit_scale = 1;        // multiplies the scores
  double log_n = 0;              // 0, or L: logits of a row with n keys are multiplied by max(1, ln n / ln L)
  double reach = 0;              // positions without a distance the model is strange to; infinity: any number
  // Distances from `window` on are far. Near keys meet queries[0]; dca's chunks: same, previous, older.
  uint32_t window = 0, chunk = 0;
  std::vector<RotaryForm> queries{1}, keys{1};
  std::string description;  // one line for people
};

// Throws ErrorKind::usage for parameters that make no sense, or that the method does not have.
RopePlan plan_rope(const RopeModel& model, const RopeRequest& request);
// Without the parameters that its method does not have: for one request tried with several methods.
RopeRequest without_foreign(RopeRequest request);
// The frequencies of a plan when the sequence is `length` long: `dynamic` follows it, others do not.
std::vector<double> inv_freq_at(const RopePlan& plan, double length);
// The length that a session makes the frequencies of `dynamic` for: quarter octaves of the original length;
// other methods: infinity.
double step_length(const RopePlan& plan, double n_positions);

// base^(-2t / n_rot).
std::vector<double> rope_frequencies(uint32_t n_rot, double base);

// ALiBi: Press et al., arXiv 2108.12409; any number of heads.
std::vector<double> alibi_slopes(uint32_t n_heads, double max_bias = 8);
// T5's causal bucket of distances 0 .. max_distance: Raffel et al., arXiv 1910.10683. Farther ones share the
// last.
std::vector<uint32_t> t5_buckets(uint32_t n_buckets, uint32_t max_distance);
uint32_t t5_bucket_bidirectional(int64_t key_minus_query, uint32_t n_buckets, uint32_t max_distance);
// Sinusoidal position vector [dim], sine and cosine interleaved: Vaswani et al., arXiv 1706.03762.
std::vector<double> sinusoid(uint32_t dim, double position);
std::vector<double> sinusoid_halves(uint32_t dim, double position);  // fairseq's [sin | cos]
// xPos: decay of each pair a position, zeta^(1/512): Sun et al., arXiv 2212.10554.
std::vector<double> xpos_zeta(uint32_t n_rot);
double log_n_factor(double position, double original_context);
// 0.1 mscale ln(factor) + 1. DeepSeek: softmax_scale = m(mscale_all_dim)^2 / sqrt(head_dim).
double yarn_mscale(double factor, double mscale);
// Sandwich: Chi et al., arXiv 2212.10356; bias of one head at a distance.
double sandwich_bias(double distance, uint32_t head, uint32_t n_heads, uint32_t dim = 128);

}  // namespace spindle
#endif
