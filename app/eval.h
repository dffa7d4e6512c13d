// What the evaluations share: flags, the model, position choices side by side, tables, and stopping early.
#ifndef SPINDLE_APP_EVAL_H
#define SPINDLE_APP_EVAL_H
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>

#include "app/command.h"
#include "app/eval_score.h"
#include "app/eval_tasks.h"

namespace spindle {

struct EvalFlags {
  DeviceFlags device;
  ModelFlags model;
  bool json = false;
  EvalFlags() { model.k_type = model.v_type = "f32"; }  // it is about the model, not about the cache
  void add(CLI::App& command);
};

struct LoadedModel {
  explicit LoadedModel(const EvalFlags& flags);
  Device device;
  Progress loading{"loading"};
  Model model;
};

// One column of a comparison: a choice of positions.
struct Choice {
  std::string name;
  RopeRequest rope;
  std::string plan;             // in words
  bool follows_length = false;  // one sequence at a time
};

// All that --rope-scaling names, planned for a context of `longest` positions; what cannot run is refused
// here, before anything is measured. A method that extends by a factor and was given none gets longest /
// original context.
std::vector<Choice> choose_positions(const EvalFlags& flags, const Model& model, uint32_t longest);

// A session for prompts of up to `longest` tokens. `n_slots` 2: for prefixes that are shared from prompt to
// prompt; 1 where memory or the choice has no room for that.
std::unique_ptr<Session> open_session(const EvalFlags& flags, const Model& model, const Choice& choice,
                                      uint32_t longest, uint32_t logit_rows, uint32_t n_slots);

// Sorted, each once. Nothing given: the trained length L with L/4 and L/2, as far as they are not below
// `least`; with --rope-scaling L, 2 L and 4 L.
std::vector<uint32_t> choose_lengths(const EvalFlags& flags, const Model& model,
                                     std::vector<uint32_t> lengths, uint32_t least);

// Prompts of a retrieval task, read by greedy decoding. Slots take turns, so that a prompt shares whole pages
// with the one before.
class Reader {
 public:
  Reader(Session& session, const Tokenizer& tokenizer) : session_(session), tokenizer_(tokenizer) {}
  // Whether the answer, decoded until it is settled or its room is used up, is right.
  bool solves(const Task& task, const PrefillOptions& options);

 private:
  Session& session_;
  const Tokenizer& tokenizer_;
  int slot_ = -1;  // of the prompt before
};

// While one lives, the first Ctrl-C only sets a flag; a second one ends the program.
class StopOnInterrupt {
 public:
  StopOnInterrupt();
  ~StopOnInterrupt();
  StopOnInterrupt(const StopOnInterrupt&) = delete;
  static void check();  // throws ErrorKind::interrupted
};
// Measures until the end, Ctrl-C or another error, reports what there is in each case, and throws in the last
// two. `done`: of what is measured; nothing is reported of nothing.
void measure_and_report(const uint64_t& done, const std::function<void()>& measure,
                        const std::function<void()>& report);

// Right-aligned columns, the first row their headings.
void print_table(const std::vector<std::vector<std::string>>& rows);
void print_plans(const std::vector<Choice>& choices);
nlohmann::ordered_json describe_json(const Model& model, const char* task);
std::string percent(Share share);  // "87%", "-" of none
nlohmann::ordered_json share_json(Share share);

void add_eval_perplexity(CLI::App& eval);
void add_eval_passkey(CLI::App& eval);
void add_eval_longeval(CLI::App& eval);

}  // namespace spindle
#endif
