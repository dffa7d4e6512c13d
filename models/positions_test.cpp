// The specification's check values of every position method, to 6 digits, and the words of its errors.
#include "models/positions_test.h"

#include <cmath>
#include <numbers>

#include "models/positions.h"
#include "runtime/error.h"

using namespace spindle;
using namespace spindle::test;

namespace {

RopePlan plan(RopeMethod method, uint32_t d, double base, uint32_t context, RopeRequest r = {}) {
  r.method = method;
  return plan_rope({d, d, base, context}, r);
}

// pair -> (frequency, ramp)
struct RampRow {
  size_t t;
  double frequency, ramp;
};

void check_ramp(const RopePlan& p, std::initializer_list<RampRow> rows) {
  for (const RampRow& row : rows) {
    CAPTURE(row.t);
    close(p.inv_freq[row.t], row.frequency);
    CHECK(p.ramp[row.t] == doctest::Approx(row.ramp).epsilon(1e-6));
  }
}

// The distance at which query i meets key j.
double distance(const RopePlan& p, uint32_t i, uint32_t j) {
  const auto at = [](const RotaryForm& f, uint32_t position) { return f.map(position) * f.scale + f.phase; };
  if (p.chunk) {
    const uint32_t chunks = i / p.chunk - j / p.chunk;
    return at(p.queries[std::min(chunks, 2u)], i) - at(p.keys[0], j);
  }
  const size_t far = p.window && i - j >= p.window ? 1 : 0;
  return at(p.queries[far], i) - at(p.keys[far], j);
}

std::vector<double> distances(const RopePlan& p, uint32_t i) {
  std::vector<double> out;
  for (uint32_t j = 0; j <= i; j++) out.push_back(distance(p, i, j));
  return out;
}

// S(rel) = (R_rel q) . k with half-split pairs, q = 1..d, k = d..1.
double score(const RopePlan& p, double rel) {
  const size_t half = p.inv_freq.size();
  double sum = 0;
  for (size_t t = 0; t < half; t++) {
    const double c = std::cos(rel * p.inv_freq[t]), s = std::sin(rel * p.inv_freq[t]);
    const double a = static_cast<double>(t) + 1, b = a + static_cast<double>(half);
    const double ka = 2 * static_cast<double>(half) - a + 1, kb = ka - static_cast<double>(half);
    sum += (a * c - b * s) * ka + (a * s + b * c) * kb;
  }
  return sum;
}

void check_refused(RopeMethod method, const RopeRequest& r, const char* words) {
  CAPTURE(words);
  try {
    plan(method, 64, 1e4, 2048, r);
    FAIL("was accepted");
  } catch (const Error& e) {
    CHECK(e.kind() == ErrorKind::usage);
    CHECK(std::string(e.what()).find(words) != std::string::npos);
  }
}

}  // namespace

TEST_CASE("positions: rotary frequencies, interpolation, base changes (A4 to A8)") {
  close(plan(RopeMethod::none, 8, 1e4, 64).inv_freq, {1, 0.1, 0.01, 0.001});
  close(2 * M_PI / rope_frequencies(128, 1e4)[32], 628.31853);
  close(2 * M_PI / rope_frequencies(128, 1e4)[63], 54410.143);
  close(2 * M_PI / rope_frequencies(128, 1e6)[63], 5063255.8);
  const RopePlan eight = plan(RopeMethod::none, 8, 1e4, 64);
  close(score(eight, 0), 120);
  close(score(eight, 1), 72.684031);
  close(score(eight, 4), 82.788324);
  close(score(eight, 9), 7.6535675);
  close(score(eight, -4), 59.503896);  // A14: what a wrong sign would give

  const RopePlan pi = plan(RopeMethod::linear, 8, 1e4, 64, {.factor = 4});
  const double cosines[] = {0.31532236, 0.99219767, 0.99992188, 0.99999922},
               sines[] = {0.94898462, 0.12467473, 0.012499674, 0.0012499997};
  for (size_t t = 0; t < 4; t++) {
    close(std::cos(5 * pi.inv_freq[t]), cosines[t]);
    close(std::sin(5 * pi.inv_freq[t]), sines[t]);
  }
  const std::pair<double, double> bases[] = {{2, 20221.262}, {4, 40889.942}, {8, 82684.623}, {16, 167198.74}};
  for (const auto& [s, base] : bases)
    close(plan(RopeMethod::ntk, 128, 1e4, 4096, {.factor = s}).inv_freq, rope_frequencies(128, base));

  const RopePlan dynamic = plan(RopeMethod::dynamic, 128, 1e4, 4096, {.factor = 2});
  const std::pair<double, double> lengths[] = {
      {100, 1e4}, {4096, 1e4}, {6144, 20221.262}, {8192, 30527.737}, {16384, 72195.86}};
  for (const auto& [l, base] : lengths) close(inv_freq_at(dynamic, l), rope_frequencies(128, base));
  const RopePlan pure = plan(RopeMethod::dynamic, 128, 1e4, 4096);
  close(inv_freq_at(pure, 8192), rope_frequencies(128, 20221.262));
  close(inv_freq_at(pure, 16384), rope_frequencies(128, 40889.942));
}

TEST_CASE("positions: lengths of `dynamic` are quarter octaves of the original one") {
  const RopePlan p = plan(RopeMethod::dynamic, 128, 1e4, 4096);
  const std::pair<double, double> lengths[] = {{1, 4096},     {4096, 4096},   {4097, 5120},
                                               {5120, 5120},  {5121, 6144},   {8192, 8192},
                                               {8193, 10240}, {16384, 16384}, {100000, 114688}};
  for (const auto& [n, step] : lengths) CHECK(step_length(p, n) == step);
  CHECK(std::isinf(step_length(plan(RopeMethod::ntk, 128, 1e4, 4096), 100)));
}

TEST_CASE("positions: digits in a base, and Su's forms of the base change (A5, A7)") {
  const auto beta = [](double base, double n) {
    return 1 / rope_frequencies(static_cast<uint32_t>(n), base)[1];
  };
  close(beta(1e4, 8), 10);
  close(beta(1e4, 128), 1.154782);
  // Base change by 8: pair 1 is spread by 8^(2/126).
  const RopePlan eight = plan(RopeMethod::ntk, 128, 1e4, 4096, {.factor = 8});
  close(beta(1e4, 128) * eight.inv_freq[1], 1 / 1.0335578);
  close(beta(8, 128), 1.0330249);
  // "Fixed": m / (lambda (lambda beta)^t) is interpolation by lambda on the base 12 b.
  const RopePlan fixed = plan(RopeMethod::linear, 128, 12e4, 4096, {.factor = beta(12, 128)});
  close(fixed.inv_freq[0], 0.96191743);
  close(fixed.inv_freq[31], 0.0033335684);
  close(fixed.inv_freq[63], 9.6231832e-06);
  close(rope_frequencies(128, 1e4)[63] / fixed.inv_freq[63], 12);
  // "Mixed": frequencies divided by exp(a (t + 1)^0.75), as a file's factors would.
  const double a = std::log(12) / std::pow(64, 0.75);
  close(a, 0.1098184);
  std::vector<double> divisors;
  for (int t = 0; t < 64; t++) divisors.push_back(std::exp(a * std::pow(t + 1, 0.75)));
  const RopePlan mixed = plan(RopeMethod::none, 128, 1e4, 4096, {.divisors = divisors});
  const std::pair<size_t, double> rows[] = {
      {0, 0.89599684}, {1, 0.71992851}, {31, 0.0026352086}, {63, 9.6231832e-06}};
  for (const auto& [t, frequency] : rows) close(mixed.inv_freq[t], frequency);
}

TEST_CASE("positions: where YaRN's ramp begins and ends, and what logits grow by (A10, A10b, A17)") {
  const struct {
    uint32_t d;
    double base, original, factor, low, high, logits;
    size_t one, other;  // pairs on the ramp
  } rows[] = {{128, 1e6, 32768, 4, 23.595948, 39.650881, 1.296477, 24, 39},
              {128, 1e4, 4096, 16, 20.944482, 45.026881, 1.6313902, 21, 45},
              {128, 1e4, 4096, 32, 20.944482, 45.026881, 1.8132604, 21, 45},
              {64, 150000, 4096, 32, 8.0927791, 17.398025, 1.8132604, 9, 17},
              {64, 1e4, 4096, 40, 10.472241, 22.513441, std::pow(1.3688879, 2), 11, 22}};
  for (const auto& r : rows) {
    CAPTURE(r.base);
    const RopePlan p = plan(RopeMethod::yarn, r.d, r.base, static_cast<uint32_t>(r.original),
                            {.factor = r.factor, .truncate = false});
    const double length = static_cast<double>(r.other - r.one) / (p.ramp[r.other] - p.ramp[r.one]);
    const double low = static_cast<double>(r.one) - p.ramp[r.one] * length;
    close(low, r.low);
    close(low + length, r.high);
    close(p.magnitude * p.magnitude, r.logits);
    const RopePlan whole =
        plan(RopeMethod::yarn, r.d, r.base, static_cast<uint32_t>(r.original), {.factor = r.factor});
    for (size_t t = 0; t < whole.ramp.size(); t++)
      CHECK((whole.ramp[t] > 0) == (static_cast<double>(t) > std::floor(r.low)));
    for (size_t t = 0; t < whole.ramp.size(); t++)
      CHECK((whole.ramp[t] < 1) == (static_cast<double>(t) < std::ceil(r.high)));
  }
  const RopePlan eight = plan(RopeMethod::yarn, 128, 1e4, 4096, {.factor = 8});
  close(eight.magnitude * eight.magnitude, 1.4591291);
}

TEST_CASE("positions: NTK-by-parts, the paper's ramp in rotations (A9, A10)") {
  const RopePlan p = plan(RopeMethod::ntk_parts, 128, 1e4, 4096, {.factor = 16});
  check_ramp(p, {{20, 0.056234133, 0},
                 {24, 0.020734766, 1 - 0.63273694},
                 {28, 0.0068079667, 1 - 0.34169611},
                 {32, 0.0022940483, 1 - 0.17803182},
                 {36, 0.00080483325, 1 - 0.085996629},
                 {40, 0.00029915572, 1 - 0.034241436},
                 {44, 0.00011970713, 1 - 0.0051373529},
                 {46, 8.334509e-05, 1}});
  CHECK(p.magnitude == 1);
}

TEST_CASE("positions: YaRN (A10)") {
  const RopePlan qwen = plan(RopeMethod::yarn, 128, 1e6, 32768, {.factor = 4});
  close(qwen.magnitude, 1.1386294);
  check_ramp(qwen, {{0, 1, 0},
                    {16, 0.031622777, 0},
                    {23, 0.0069783058, 0},
                    {24, 0.0053753215, 0.058823529},
                    {28, 0.0018482766, 0.29411765},
                    {32, 0.00060294118, 0.52941176},
                    {36, 0.00017984116, 0.76470588},
                    {39, 6.4903943e-05, 0.94117647},
                    {40, 4.4456985e-05, 1},
                    {48, 7.9056942e-06, 1},
                    {63, 3.1023444e-07, 1}});
  const RopePlan llama = plan(RopeMethod::yarn, 128, 1e4, 4096, {.factor = 16});
  close(llama.magnitude, 1.2772589);
  check_ramp(llama, {{20, 0.056234133, 0},
                     {21, 0.04694086, 0.038461538},
                     {24, 0.027061799, 1 - 0.84615385},
                     {28, 0.012653142, 1 - 0.69230769},
                     {32, 0.0056730769, 0.46153846},
                     {36, 0.0023791364, 1 - 0.38461538},
                     {40, 0.00088178896, 0.76923077},
                     {44, 0.00023938377, 1 - 0.076923077},
                     {45, 0.0001517716, 0.96153846},
                     {46, 8.334509e-05, 1},
                     {63, 7.2173874e-06, 1}});
  const RopePlan twice = plan(RopeMethod::yarn, 128, 1e4, 4096, {.factor = 32});
  close(twice.magnitude, 1.3465736);
  check_ramp(twice, {{0, 1, 0},
                     {21, 0.04688233, 0.038461538},
                     {32, 0.0055288462, 0.46153846},
                     {45, 0.00010549977, 0.96153846},
                     {63, 3.6086937e-06, 1}});
  const RopePlan oss = plan(RopeMethod::yarn, 64, 150000, 4096, {.factor = 32, .truncate = false});
  close(oss.magnitude, 1.3465736);
  check_ramp(oss, {{0, 1, 0},
                   {8, 0.050813275, 0},
                   {9, 0.031705696, 0.097495643},
                   {12, 0.0067949595, 0.41989445},
                   {17, 0.0001293187, 0.95722579},
                   {18, 3.8308812e-05, 1},
                   {31, 3.0235114e-07, 1}});
  // Without its ramp YaRN is plain interpolation.
  close(plan(RopeMethod::yarn, 8, 1e4, 64, {.factor = 4, .extension = 0}).inv_freq,
        {0.25, 0.025, 0.0025, 0.00025});
  close(plan(RopeMethod::yarn, 128, 1e4, 4096, {.factor = 16, .attention_factor = 1.5}).magnitude, 1.5);
  close(plan(RopeMethod::yarn, 128, 1e4, 4096, {.factor = 16, .attention_scale = 1.25}).magnitude,
        1.25 * 1.2772589);
}

TEST_CASE("positions: plain and interpolated frequencies and rotations of the tables (A10, A10b, A11, A13)") {
  struct Row {
    size_t t;
    double plain, interpolated;
  };
  const auto check = [](uint32_t d, double base, double factor, std::initializer_list<Row> rows) {
    const RopePlan none = plan(RopeMethod::none, d, base, 4096),
                   linear = plan(RopeMethod::linear, d, base, 4096, {.factor = factor});
    for (const Row& row : rows) {
      CAPTURE(row.t);
      close(none.inv_freq[row.t], row.plain);
      close(linear.inv_freq[row.t], row.interpolated);
    }
  };
  check(128, 1e6, 4,
        {{16, 0.031622777, 0.0079056942},
         {23, 0.0069783058, 0.0017445765},
         {24, 0.0056234133, 0.0014058533},
         {28, 0.0023713737, 0.00059284343},
         {36, 0.0004216965, 0.00010542413},
         {39, 0.00022067341, 5.5168352e-05},
         {40, 0.00017782794, 4.4456985e-05},
         {63, 1.2409378e-06, 3.1023444e-07}});
  check(128, 1e4, 16,
        {{20, 0.056234133, 0.0035146333},
         {21, 0.048696753, 0.003043547},
         {32, 0.01, 0.000625},
         {40, 0.0031622777, 0.00019764235},
         {45, 0.0015399265, 9.6245408e-05},
         {46, 0.0013335214, 8.334509e-05},
         {63, 0.0001154782, 7.2173874e-06}});
  check(128, 1e4, 32, {{21, 0.048696753, 0.0015217735}, {45, 0.0015399265, 4.8122704e-05}});
  check(64, 150000, 32,
        {{8, 0.050813275, 0.0015879148},
         {9, 0.035012598, 0.0010941437},
         {12, 0.011454227, 0.00035794459},
         {17, 0.0017791047, 5.5597023e-05},
         {18, 0.001225882, 3.8308812e-05},
         {31, 9.6752366e-06, 3.0235114e-07}});
  check(64, 1e4, 40,
        {{10, 0.056234133, 0.0014058533},
         {11, 0.04216965, 0.0010542413},
         {22, 0.0017782794, 4.4456985e-05},
         {23, 0.0013335214, 3.3338036e-05},
         {31, 0.00013335214, 3.3338036e-06}});
  const RopePlan llama3 = plan(RopeMethod::none, 128, 500000, 8192);
  const double frequencies[] = {0.003211446,  0.0026160993, 0.0021311195,  0.0017360467,
                                0.0014142136, 0.0011520427, 0.00093847387, 0.00076449699};
  for (size_t i = 0; i < 8; i++) close(llama3.inv_freq[28 + i], frequencies[i]);
  close(llama3.inv_freq[63], 2.4551408e-06);
  const RopePlan llama = plan(RopeMethod::none, 128, 1e4, 4096);
  const double rotations[] = {36.658955, 20.614845, 11.592579, 6.5189865, 3.6658955, 2.0614845, 1.1592579};
  for (size_t i = 0; i < 7; i++)
    close(4096 * llama.inv_freq[20 + 4 * i] / (2 * std::numbers::pi), rotations[i]);
  close(4096 * llama.inv_freq[46] / (2 * std::numbers::pi), 0.86932082);
  close(1 / std::sqrt(192.0), 0.072168784);                      // what DeepSeek's logit scale multiplies
  close(std::pow(0.4 / 1.4, -131072.0 / 512), 1.91169830e+139);  // why xPos is centred on its tile
}

TEST_CASE("positions: DeepSeek's YaRN (A10b)") {
  const RopePlan p = plan(RopeMethod::yarn, 64, 1e4, 4096, {.factor = 40, .mscale = 1, .mscale_all_dim = 1});
  check_ramp(p, {{0, 1, 0},
                 {10, 0.056234133, 0},
                 {11, 0.039006927, 0.076923077},
                 {16, 0.0055, 0.46153846},
                 {22, 0.00017782794, 0.92307692},
                 {23, 3.3338036e-05, 1},
                 {31, 3.3338036e-06, 1}});
  close(p.magnitude, 1);
  close(yarn_mscale(40, 1), 1.3688879);
  close(yarn_mscale(40, 1) * yarn_mscale(40, 1) / std::sqrt(192), 0.13523378);
  close(yarn_mscale(40, 0.707), 1.2608038);
  close(yarn_mscale(40, 0.707) * yarn_mscale(40, 0.707) / std::sqrt(192), 0.11472139);
}

TEST_CASE("positions: Llama 3 (A11) and LongRoPE (A12)") {
  const RopePlan p = plan(RopeMethod::llama3, 128, 5e5, 8192, {.factor = 8});
  const struct {
    size_t t;
    double wavelength, frequency, divisor;
  } rows[] = {{0, 6.2831853, 1, 1},
              {28, 1956.4973, 0.003211446, 1},
              {29, 2401.7381, 0.0021665708, 1.2074839},
              {30, 2948.3026, 0.0013718936, 1.5534146},
              {31, 3619.249, 0.00085675141, 2.0263132},
              {32, 4442.8829, 0.00052484616, 2.6945297},
              {33, 5453.9516, 0.00031269375, 3.6842525},
              {34, 6695.1095, 0.00017850781, 5.2573266},
              {35, 8218.7182, 9.5562124e-05, 8},
              {63, 2559195.5, 3.068926e-07, 8}};
  const std::vector<double> plain = rope_frequencies(128, 5e5);
  for (const auto& row : rows) {
    close(2 * M_PI / plain[row.t], row.wavelength);
    close(p.inv_freq[row.t], row.frequency);
    close(plain[row.t] / p.inv_freq[row.t], row.divisor);
  }
  const RopePlan small = plan(RopeMethod::llama3, 64, 5e5, 8192, {.factor = 32});
  const std::vector<double> base = rope_frequencies(64, 5e5);
  const double divisors[] = {1, 1.6513292, 3.2922621, 9.666729, 32};
  for (size_t i = 0; i < 5; i++) close(base[14 + i] / small.inv_freq[14 + i], divisors[i]);

  std::vector<double> factors(32, 2);
  factors[3] = 5;
  const RopePlan phi =
      plan(RopeMethod::longrope, 64, 1e4, 131072, {.original_context = 4096, .divisors = factors});
  close(phi.magnitude, 1.1902381);
  close(phi.inv_freq[3], rope_frequencies(64, 1e4)[3] / 5);
  close(
      plan(RopeMethod::longrope, 64, 1e4, 131072, {.original_context = 8192, .divisors = factors}).magnitude,
      1.1435437);
}

TEST_CASE("positions: ReRoPE, Leaky ReRoPE and Self-Extend (A14 to A16)") {
  const RopePlan re = plan(RopeMethod::rerope, 8, 1e4, 64, {.window = 4});
  close(distances(re, 9), {4, 4, 4, 4, 4, 4, 3, 2, 1, 0});
  close(score(re, distance(re, 9, 0)), 82.788324);
  const RopePlan leaky = plan(RopeMethod::leaky_rerope, 8, 1e4, 64, {.window = 4, .leak = 2});
  close(distances(leaky, 9), {6.5, 6, 5.5, 5, 4.5, 4, 3, 2, 1, 0});
  close(score(leaky, distance(leaky, 9, 0)), 80.647586);
  const RopePlan extend = plan(RopeMethod::self_extend, 8, 1e4, 64, {.group_size = 2, .group_window = 4});
  close(distances(extend, 9), {6, 6, 5, 5, 4, 4, 3, 2, 1, 0});
  close(score(extend, distance(extend, 9, 0)), 100.59455);
  const RopePlan odd = plan(RopeMethod::self_extend, 8, 1e4, 64, {.group_size = 2, .group_window = 5});
  close(distances(odd, 12), {9, 9, 8, 8, 7, 7, 6, 6, 4, 3, 2, 1, 0});
}

TEST_CASE("positions: every pair of positions meets at the specification's distance (A14 to A16, A21)") {
  for (const double original : {48, 97})
    for (const uint32_t w : {1u, 7u, 16u, 40u})
      for (const uint32_t g : {1u, 3u, 8u}) {
        CAPTURE(w);
        CAPTURE(g);
        const auto of = [&](RopeMethod m, RopeRequest r) {
          return plan(m, 8, 1e4, static_cast<uint32_t>(original), r);
        };
        const double wd = w, gd = g;
        const RopePlan re = of(RopeMethod::rerope, {.window = wd}),
                       leaky = of(RopeMethod::leaky_rerope, {.window = wd, .leak = gd}),
                       extend = of(RopeMethod::self_extend, {.group_size = gd, .group_window = wd}),
                       chunks = of(RopeMethod::dca, {.chunk = wd});
        const uint32_t c = std::max(static_cast<uint32_t>(original * 3 / 4), w);
        for (uint32_t i = 0; i < 150; i += 1 + i / 50)
          for (uint32_t j = 0; j <= i; j++) {
            const uint32_t d = i - j;
            CHECK(distance(re, i, j) == std::min(d, w));
            CHECK(distance(leaky, i, j) == doctest::Approx(d < w ? d : w + (d - wd) / gd));
            CHECK(distance(extend, i, j) == (d < w ? d : i / g + w - w / g - j / g));
            const uint32_t apart = i / w - j / w;
            const uint32_t query = apart == 0   ? i % w
                                   : apart == 1 ? std::min(i % w + w, c)
                                                : std::min(2 * w - 1, c);
            CHECK(distance(chunks, i, j) == double{1} * query - j % w);
          }
      }
}

TEST_CASE("positions: dual chunk attention (A21)") {
  const RopePlan p = plan(RopeMethod::dca, 8, 1e4, 16);
  CHECK(p.chunk == 10);
  const std::pair<uint32_t, double> keys[] = {{0, 12}, {4, 8},  {5, 7},  {9, 3},  {10, 12},
                                              {15, 7}, {19, 3}, {20, 5}, {24, 1}, {25, 0}};
  for (const auto& [j, rel] : keys) CHECK(distance(p, 25, j) == rel);
  double farthest = 0;
  for (uint32_t i = 0; i < 200; i++)
    for (double d : distances(p, i)) {
      CHECK(d >= 0);
      farthest = std::max(farthest, d);
    }
  CHECK(farthest == 12);
}

TEST_CASE("positions: what makes no sense is refused by its flag") {
  check_refused(RopeMethod::linear, {.factor = 0.5}, "--rope-scale 0.5: allowed is 1 or more");
  check_refused(RopeMethod::linear, {.factor = std::nan("")}, "--rope-scale nan");
  check_refused(RopeMethod::linear, {.beta_fast = 30},
                "not a parameter of --rope-scaling linear, but of: yarn");
  check_refused(RopeMethod::yarn, {.factor = 4, .beta_fast = 1, .beta_slow = 2}, "must exceed");
  check_refused(RopeMethod::rerope, {.window = 0}, "--rerope-window 0");
  check_refused(RopeMethod::rerope, {.window = 1.5}, "whole number");
  check_refused(RopeMethod::rerope, {.factor = 2}, "--rope-scale: not a parameter of --rope-scaling rerope");
  check_refused(RopeMethod::leaky_rerope, {.leak = 0.5}, "--rerope-leak 0.5");
  check_refused(RopeMethod::self_extend, {.group_size = 0}, "--group-size 0");
  check_refused(RopeMethod::dca, {.chunk = 0}, "--dca-chunk 0");
  check_refused(RopeMethod::llama3, {.factor = 8, .llama3_low = 4, .llama3_high = 4}, "must exceed");
  check_refused(RopeMethod::longrope, {.factor = 8}, "no factors for it");
  check_refused(RopeMethod::yarn, {.factor = 4, .original_context = 0}, "--yarn-orig-ctx 0");
}
