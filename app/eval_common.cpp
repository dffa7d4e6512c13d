// What the evaluations share.
#include <signal.h>

#include <algorithm>

#include "app/eval.h"
#include "runtime/error.h"

namespace spindle {
namespace {

volatile sig_atomic_t interrupted = 0;
struct sigaction before_us;

}  // namespace

void EvalFlags::add(CLI::App& command) {
  command.add_flag("--json", json, "as JSON");
  model.add(command);
  device.add(command);
  command.get_option("--rope-scaling")
      ->description(
          "extensions of rotary positions to compare, METHOD[:key=value,...],... such as "
          "none,linear:scale=4,yarn; each has a column. Methods: file, " +
          rope_method_names());
}

LoadedModel::LoadedModel(const EvalFlags& flags)
    : device(flags.device.options()),
      model(device, flags.model.file(), [&](uint64_t done, uint64_t all) { loading.update(done, all); }) {
  loading.finish();
  describe(model);
}

std::vector<Choice> choose_positions(const EvalFlags& flags, const Model& model, uint32_t longest) {
  std::vector<Choice> choices;
  const std::vector<NamedRope> list = flags.model.positions.list();
  for (const auto& [name, request] : list) {
    const RopePlan plan = model.plan_rope(longest, request);
    model.plan_attention(plan, parse_attention_pattern(flags.model.pattern));
    choices.push_back({name, request, plan.description, plan.method == RopeMethod::dynamic});
    if (flags.json) say("{}: {}", name, plan.description);
    if (list.size() == 1) warn_beyond_reach(plan, model.config(), longest);
  }
  return choices;
}

std::unique_ptr<Session> open_session(const EvalFlags& flags, const Model& model, const Choice& choice,
                                      uint32_t longest, uint32_t logit_rows, uint32_t n_slots) {
  ModelFlags model_flags = flags.model;
  model_flags.positions = {};  // a list, of which this is one choice
  SessionOptions options = model_flags.session();
  options.context = longest;
  options.logit_rows = logit_rows;
  options.n_slots = choice.follows_length ? 1 : n_slots;
  options.rope = choice.rope;
  try {
    return std::make_unique<Session>(model, options);
  } catch (const Error& e) {
    if (e.kind() != ErrorKind::out_of_memory || options.n_slots == 1) throw;
  }
  return open_session(flags, model, choice, longest, logit_rows, 1);
}

std::vector<uint32_t> choose_lengths(const EvalFlags& flags, const Model& model,
                                     std::vector<uint32_t> lengths, uint32_t least) {
  if (lengths.empty()) {
    const uint32_t trained = model.config().context_length;
    if (flags.model.positions.method.empty()) lengths = {trained / 4, trained / 2, trained};
    else lengths = {trained, 2 * trained, 4 * trained};
    std::erase_if(lengths, [&](uint32_t n) { return n < least && n != trained; });
  }
  std::ranges::sort(lengths);
  lengths.erase(std::unique(lengths.begin(), lengths.end()), lengths.end());
  require(lengths.front() >= least, ErrorKind::usage, "a length of {} tokens: {} or more are needed",
          lengths.front(), least);
  return lengths;
}

bool Reader::solves(const Task& task, const PrefillOptions& options) {
  if (slot_ >= 0 && session_.n_slots() == 1) session_.close(std::exchange(slot_, -1));
  const int before = std::exchange(slot_, session_.open({.temperature = 0}));
  session_.prefill(slot_, task.ids, options);
  if (before >= 0) session_.close(before);
  Detokenizer detokenizer(tokenizer_);
  detokenizer.skip(task.ids);
  std::string text;
  session_.generate({&slot_, 1}, task.room, [&](int, int id) {
    text += detokenizer.push(id);
    return !task.is_settled(text);
  });
  return task.is_right(text + detokenizer.flush());
}

StopOnInterrupt::StopOnInterrupt() {
  interrupted = 0;
  struct sigaction action {};
  action.sa_handler = [](int) { interrupted = 1; };
  action.sa_flags = static_cast<int>(SA_RESETHAND | SA_RESTART);
  sigaction(SIGINT, &action, &before_us);
}

StopOnInterrupt::~StopOnInterrupt() { sigaction(SIGINT, &before_us, nullptr); }

void StopOnInterrupt::check() {
  require(!interrupted, ErrorKind::interrupted, "interrupted: what was measured until then is above");
}

void measure_and_report(const uint64_t& done, const std::function<void()>& measure,
                        const std::function<void()>& report) {
  const StopOnInterrupt stop;
  try {
    measure();
  } catch (const Error&) {
    if (done > 0) report();
    throw;
  }
  report();
}

void print_table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  const auto width = [](const std::string& s) {  // characters of UTF-8
    return static_cast<size_t>(std::ranges::count_if(s, [](char c) { return (c & 0xC0) != 0x80; }));
  };
  for (const auto& row : rows)
    for (size_t i = 0; i < row.size(); i++) {
      if (i >= widths.size()) widths.push_back(0);
      widths[i] = std::max(widths[i], width(row[i]));
    }
  for (const auto& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); i++)
      line += std::string(widths[i] - width(row[i]) + (i ? 2 : 0), ' ') + row[i];
    fmt::print("{}\n", line);
  }
}

void print_plans(const std::vector<Choice>& choices) {
  size_t widest = 0;
  for (const Choice& c : choices) widest = std::max(widest, c.name.size());
  for (const Choice& c : choices) fmt::print("{:<{}}  {}\n", c.name, widest, c.plan);
  fmt::print("\n");
}

nlohmann::ordered_json describe_json(const Model& model, const char* task) {
  return {{"task", task},
          {"model", model.config().name},
          {"architecture", model.config().architecture},
          {"trained_context", model.config().context_length}};
}

std::string percent(Share share) {
  return share.n ? fmt::format("{:.0f}%", 100 * share.value()) : std::string("-");
}

nlohmann::ordered_json share_json(Share share) {
  const Interval i = wilson(share);
  return {{"right", share.right},
          {"trials", share.n},
          {"accuracy", share.value()},
          {"low", i.low},
          {"high", i.high}};
}

}  // namespace spindle
