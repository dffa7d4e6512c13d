// `spindle eval longeval`: how often the model finds one line of a record, by the number of lines.
#include <cmath>

#include "app/eval.h"
#include "runtime/error.h"

namespace spindle {
namespace {

struct Flags : EvalFlags {
  std::vector<uint32_t> lengths;
  uint32_t trials = 20;
  uint64_t seed = 1;
  bool completion = false;
};

struct Result {
  Share share;
  uint64_t n_lines = 0;  // of all trials
  double lines() const { return share.n ? static_cast<double>(n_lines) / share.n : 0; }
};
using Results = std::vector<std::vector<Result>>;  // by choice and length

void report(const Flags& flags, const Model& model, const std::vector<uint32_t>& lengths,
            const std::vector<Choice>& choices, const Results& results) {
  if (flags.json) {
    nlohmann::ordered_json j = describe_json(model, "longeval");
    j["seed"] = flags.seed;
    j["completion"] = flags.completion;
    for (size_t c = 0; c < choices.size(); c++) {
      nlohmann::ordered_json column = {{"rope_scaling", choices[c].name}, {"plan", choices[c].plan}};
      for (size_t l = 0; l < lengths.size(); l++) {
        nlohmann::ordered_json row = share_json(results[c][l].share);
        row["length"] = lengths[l];
        row["lines"] = results[c][l].lines();
        column["lengths"].push_back(row);
      }
      j["results"].push_back(column);
    }
    fmt::print("{}\n", j.dump(2));
    return;
  }
  print_plans(choices);
  std::vector<std::vector<std::string>> rows(1);
  rows[0] = {"length", "lines"};
  for (const Choice& c : choices) rows[0].push_back(c.name);
  for (size_t l = 0; l < lengths.size(); l++) {
    rows.push_back({fmt::format("{}", lengths[l]), fmt::format("{:.0f}", results[0][l].lines())});
    for (const auto& column : results) {
      const Interval i = wilson(column[l].share);
      rows.back().push_back(column[l].share.n ? fmt::format("{} ({:.0f}-{:.0f})", percent(column[l].share),
                                                            100 * i.low, 100 * i.high)
                                              : std::string("-"));
    }
  }
  print_table(rows);
}

void run(const Flags& flags) {
  LoadedModel loaded(flags);
  const Tokenizer& tokenizer = loaded.model.tokenizer();
  const std::vector<uint32_t> lengths =
      choose_lengths(flags, loaded.model, flags.lengths,
                     least_length(tokenizer, LinesTask{.completion = flags.completion, .seed = flags.seed}));
  const uint32_t longest = std::max(lengths.back(), flags.model.context);
  const std::vector<Choice> choices = choose_positions(flags, loaded.model, longest);
  Results results(choices.size(), std::vector<Result>(lengths.size()));
  uint64_t all = 0, done = 0;
  for (uint32_t n : lengths) all += uint64_t{n} * flags.trials * choices.size();
  Progress progress("longeval", "tokens");
  const auto measure = [&] {
    for (size_t c = 0; c < choices.size(); c++) {
      const auto session = open_session(flags, loaded.model, choices[c], longest, 1, 2);
      Reader reader(*session, tokenizer);
      const PrefillOptions options{.progress = [&](uint32_t tokens, uint32_t) {
        StopOnInterrupt::check();
        progress.update(done + tokens, all);
      }};
      for (size_t l = 0; l < lengths.size(); l++)
        for (uint32_t trial = 0; trial < flags.trials; trial++) {
          const Task task =
              make_task(tokenizer, LinesTask{.length = lengths[l],
                                             .completion = flags.completion,
                                             .seed = mix_seed({flags.seed, lengths[l], trial})});
          results[c][l].share.add(reader.solves(task, options));
          results[c][l].n_lines += task.n_lines;
          done += lengths[l];
        }
    }
  };
  measure_and_report(done, measure, [&] {
    progress.finish();
    report(flags, loaded.model, lengths, choices, results);
  });
}

}  // namespace

void add_eval_longeval(CLI::App& eval) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = eval.add_subcommand(
      "longeval", "how often greedy decoding finds one line of a record: accuracy by number of lines");
  command
      ->add_option(
          "--lengths", flags->lengths,
          "tokens of prompt and answer, filled with lines; default: 1/4, 1/2 and all of what the model "
          "was trained for, with --rope-scaling 1, 2 and 4 times that")
      ->delimiter(',')
      ->check(in_range(1, 1 << 30));
  command->add_option("--trials", flags->trials, "records of each length")
      ->capture_default_str()
      ->check(in_range(1, 100000));
  command->add_flag(
      "--completion", flags->completion,
      "for models that continue a text: the prompt leads to the number, the first one in 10 tokens "
      "counts; default: LongChat's prompt, and the last number in 100 tokens");
  command->add_option("-s,--seed", flags->seed, "of the records")->capture_default_str();
  flags->add(*command);
  command->callback([flags] { run(*flags); });
}

}  // namespace spindle
