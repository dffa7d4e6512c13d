// Whole models with long contexts, for tests: small ones, their log-probabilities, and the double-precision
// model's.
#ifndef SPINDLE_MODELS_LONG_CONTEXT_TEST_H
#define SPINDLE_MODELS_LONG_CONTEXT_TEST_H
#include "models/session.h"
#include "tests/compare.h"
#include "tests/device.h"
#include "tests/reference_model.h"

namespace spindle::test {

constexpr uint32_t kTokens = 150;

inline SessionOptions exact(uint32_t context) {
  SessionOptions o;
  o.context = context;
  o.k_type = o.v_type = DType::f32;
  o.logit_rows = 32;
  return o;
}

inline Gguf random_file(const RandomModel& m) { return Gguf::parse(m.bytes(), "random"); }

inline double largest_difference(const std::vector<double>& a, const std::vector<double>& b) {
  double most = 0;
  for (size_t i = 0; i < a.size(); i++) most = std::max(most, std::abs(a[i] - b[i]));
  return most;
}

// Log-probabilities after every token, [ids, vocabulary].
inline std::vector<double> by_prefill(const Model& model, const SessionOptions& o,
                                      const std::vector<int>& ids) {
  Session session(model, o);
  std::vector<double> all;
  session.prefill(session.open(), ids,
                  {.sample = false, .progress = {}, .on_logits = [&](uint32_t, auto logits) {
                     const std::vector<double> row = log_softmax(logits);
                     all.insert(all.end(), row.begin(), row.end());
                   }});
  return all;
}

inline std::vector<double> by_decode(const Model& model, const SessionOptions& o,
                                     const std::vector<int>& ids) {
  Session session(model, o);
  const int slot = session.open();
  std::vector<double> all;
  for (int id : ids) {
    const std::vector<float> logits = session.decode(slot, id);
    const std::vector<double> row = log_softmax(std::span<const float>(logits));
    all.insert(all.end(), row.begin(), row.end());
  }
  return all;
}

inline std::vector<double> expected(const RandomModel& m, const SessionOptions& o,
                                    const std::vector<int>& ids) {
  const std::vector<double> logits = ReferenceModel(random_file(m), o.context, o.rope, o.pattern).logits(ids);
  std::vector<double> all;
  for (size_t i = 0; i < ids.size(); i++) {
    const std::vector<double> row = log_softmax(std::span(logits).subspan(i * m.vocab, m.vocab));
    all.insert(all.end(), row.begin(), row.end());
  }
  return all;
}

// By prefill, in chunks and, in full sweeps, token by token.
inline void check(const std::string& name, const RandomModel& m, SessionOptions o, double allowed = 1e-3) {
  CAPTURE(name);
  const std::vector<int> ids = random_ids(kTokens, m.vocab, 7);
  const Model model(device(), random_file(m));
  const std::vector<double> want = expected(m, o, ids);
  const double prefill = largest_difference(by_prefill(model, o, ids), want);
  o.prefill_chunk = 37;
  const double chunks = largest_difference(by_prefill(model, o, ids), want);
  const double decode = quick() ? 0 : largest_difference(by_decode(model, o, ids), want);
  CHECK_MESSAGE(std::max({prefill, chunks, decode}) <= allowed,
                fmt::format("{}: {}, in chunks {}, token by token {}", name, prefill, chunks, decode));
}

inline RandomModel small(const char* architecture = "llama") {
  RandomModel m;
  m.architecture = architecture;
  m.head_dim = 32;
  m.context = 48;
  return m;
}

// Every other layer sees a window only, in the manner of its family.
inline RandomModel windowed(const char* architecture, uint32_t window = 20) {
  RandomModel m = small(architecture);
  m.keys = {{"attention.sliding_window", window}, {"attention.sliding_window_pattern", 2u}};
  return m;
}

}  // namespace spindle::test
#endif
