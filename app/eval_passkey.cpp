// `spindle eval passkey`: how often the model finds a number again, by length and depth.
#include <cmath>

#include "app/eval.h"
#include "runtime/error.h"

namespace spindle {
namespace {

struct Flags : EvalFlags {
  std::vector<uint32_t> lengths;
  uint32_t depths = 10, trials = 5, digits = 0;
  uint64_t seed = 1;
};

struct Results {
  std::vector<std::vector<Share>> cells;  // by length and depth
  Share of_length(size_t l) const {
    Share all;
    for (Share s : cells[l]) all += s;
    return all;
  }
};

// 0, 1/(n-1), ... 1; the middle where there is one.
double depth_of(const Flags& flags, uint32_t d) {
  return flags.depths == 1 ? 0.5 : static_cast<double>(d) / (flags.depths - 1);
}

void print_depths(const Flags& flags, const std::vector<uint32_t>& lengths, const Results& r) {
  std::vector<std::vector<std::string>> rows(1);
  rows[0] = {"depth"};
  for (uint32_t n : lengths) rows[0].push_back(fmt::format("{}", n));
  rows[0].push_back("all");
  for (uint32_t d = 0; d < flags.depths; d++) {
    rows.push_back({fmt::format("{:.0f}%", 100 * depth_of(flags, d))});
    Share all;
    for (const auto& cells : r.cells) {
      rows.back().push_back(percent(cells[d]));
      all += cells[d];
    }
    rows.back().push_back(percent(all));
  }
  rows.push_back({"all"});
  Share all;
  for (size_t l = 0; l < lengths.size(); l++) {
    rows.back().push_back(percent(r.of_length(l)));
    all += r.of_length(l);
  }
  rows.back().push_back(percent(all));
  print_table(rows);
}

void report(const Flags& flags, const Model& model, const std::vector<uint32_t>& lengths,
            const std::vector<Choice>& choices, const std::vector<Results>& results) {
  if (flags.json) {
    nlohmann::ordered_json j = describe_json(model, "passkey");
    if (flags.digits) j["digits"] = flags.digits;
    j["seed"] = flags.seed;
    for (size_t c = 0; c < choices.size(); c++) {
      nlohmann::ordered_json column = {{"rope_scaling", choices[c].name}, {"plan", choices[c].plan}};
      for (size_t l = 0; l < lengths.size(); l++) {
        nlohmann::ordered_json row = share_json(results[c].of_length(l));
        row["length"] = lengths[l];
        for (uint32_t d = 0; d < flags.depths; d++) {
          nlohmann::ordered_json cell = share_json(results[c].cells[l][d]);
          cell["depth"] = depth_of(flags, d);
          row["depths"].push_back(cell);
        }
        column["lengths"].push_back(row);
      }
      j["results"].push_back(column);
    }
    fmt::print("{}\n", j.dump(2));
    return;
  }
  print_plans(choices);
  if (choices.size() > 1) {
    std::vector<std::vector<std::string>> rows(1);
    rows[0] = {"length"};
    for (const Choice& c : choices) rows[0].push_back(c.name);
    for (size_t l = 0; l < lengths.size(); l++) {
      rows.push_back({fmt::format("{}", lengths[l])});
      for (const Results& r : results) rows.back().push_back(percent(r.of_length(l)));
    }
    print_table(rows);
  }
  for (size_t c = 0; c < choices.size(); c++) {
    if (choices.size() > 1) fmt::print("\n{}\n", choices[c].name);
    print_depths(flags, lengths, results[c]);
  }
}

void run(const Flags& flags) {
  LoadedModel loaded(flags);
  const Tokenizer& tokenizer = loaded.model.tokenizer();
  const std::vector<uint32_t> lengths =
      choose_lengths(flags, loaded.model, flags.lengths,
                     least_length(tokenizer, PasskeyTask{.digits = flags.digits, .seed = flags.seed}));
  const uint32_t longest = std::max(lengths.back(), flags.model.context);
  const std::vector<Choice> choices = choose_positions(flags, loaded.model, longest);
  std::vector<Results> results(choices.size(),
                               {std::vector(lengths.size(), std::vector<Share>(flags.depths))});
  uint64_t all = 0, done = 0;
  for (uint32_t n : lengths) all += uint64_t{n} * flags.depths * flags.trials * choices.size();
  Progress progress("passkey", "tokens");
  const auto measure = [&] {
    for (size_t c = 0; c < choices.size(); c++) {
      const auto session = open_session(flags, loaded.model, choices[c], longest, 1, 2);
      Reader reader(*session, tokenizer);
      const PrefillOptions options{.progress = [&](uint32_t tokens, uint32_t) {
        StopOnInterrupt::check();
        progress.update(done + tokens, all);
      }};
      for (size_t l = 0; l < lengths.size(); l++)
        for (uint32_t d = 0; d < flags.depths; d++)
          for (uint32_t trial = 0; trial < flags.trials; trial++) {
            const Task task =
                make_task(tokenizer, PasskeyTask{.length = lengths[l],
                                                 .depth = depth_of(flags, d),
                                                 .digits = flags.digits,
                                                 .seed = mix_seed({flags.seed, lengths[l], d, trial})});
            results[c].cells[l][d].add(reader.solves(task, options));
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

void add_eval_passkey(CLI::App& eval) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = eval.add_subcommand(
      "passkey", "how often greedy decoding finds a number hidden in filler: accuracy by length and depth");
  command
      ->add_option(
          "--lengths", flags->lengths,
          "tokens of prompt and answer: 512,1024,...; default: 1/4, 1/2 and all of what the model was "
          "trained for, with --rope-scaling 1, 2 and 4 times that")
      ->delimiter(',')
      ->check(in_range(1, 1 << 30));
  command->add_option("--depths", flags->depths, "how many places of the number, from the start to the end")
      ->capture_default_str()
      ->check(in_range(1, 1000));
  command->add_option("--trials", flags->trials, "prompts of each length and depth")
      ->capture_default_str()
      ->check(in_range(1, 100000));
  command
      ->add_option("--digits", flags->digits,
                   "digits of the number; default: a number from 1 to 50000, as in the paper")
      ->check(in_range(1, 100));
  command->add_option("-s,--seed", flags->seed, "of the numbers")->capture_default_str();
  flags->add(*command);
  command->callback([flags] { run(*flags); });
}

}  // namespace spindle
