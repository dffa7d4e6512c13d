// `spindle eval perplexity`: how well the model foresees a text, window by window.
#include <algorithm>
#include <cmath>

#include "app/eval.h"
#include "app/prompt_flags.h"
#include "runtime/error.h"

namespace spindle {
namespace {

constexpr uint32_t kDefaultLength = 512, kDefaultStride = 256, kLeastLength = 4;
constexpr uint64_t kLogitBytes = 64 << 20;  // of the logits of one step

struct Flags : EvalFlags {
  std::string file;
  std::vector<uint32_t> lengths;
  uint32_t stride = 0, tokens = 0;
};

struct Result {
  Likelihood likelihood;
  size_t n_windows = 0, n_read = 0;  // tokens read, most of them several times
  double seconds = 0;
  double rate() const { return seconds > 0 ? static_cast<double>(n_read) / seconds : 0; }
};
using Results = std::vector<std::vector<Result>>;  // by choice and length

struct Text {
  std::vector<int> ids;
  std::vector<uint32_t> bytes;  // by token
};

Text tokenize(const Flags& flags, const Tokenizer& tokenizer) {
  const std::string text = read_prompt_file(flags.file);
  Text t;
  t.ids = tokenizer.encode(text);
  size_t all = 0;
  for (int id : t.ids) {
    t.bytes.push_back(static_cast<uint32_t>(tokenizer.piece(id).size()));
    all += t.bytes.back();
  }
  const auto first = std::ranges::find_if(t.bytes, [](uint32_t n) { return n > 0; });
  if (all == text.size() + 1) --*first;  // the space that some vocabularies put in front
  if (flags.tokens > 0 && flags.tokens < t.ids.size()) {
    t.ids.resize(flags.tokens);
    t.bytes.resize(flags.tokens);
  }
  return t;
}

// Several lengths: the same tokens are scored in each.
std::vector<Window> windows_of(const Flags& flags, const std::vector<uint32_t>& lengths, uint32_t length,
                               uint32_t stride, size_t n_tokens) {
  if (lengths.size() > 1) return aligned_windows(n_tokens, length, stride, lengths.back());
  return flags.stride > 0 ? sliding_windows(n_tokens, length, stride) : chunk_windows(n_tokens, length);
}

// Reads one window. Its first token is BOS where the model wants one, as llama.cpp has it.
void score(Session& session, const Text& text, const Window& w, Likelihood& likelihood,
           const std::function<void(size_t)>& progress) {
  const Tokenizer& tokenizer = session.model().tokenizer();
  std::vector<int> ids(text.ids.begin() + static_cast<std::ptrdiff_t>(w.begin),
                       text.ids.begin() + static_cast<std::ptrdiff_t>(w.end) - 1);
  if (tokenizer.vocabulary().add_bos && tokenizer.bos()) ids[0] = *tokenizer.bos();
  const size_t unscored = w.scored - w.begin - 1;  // tokens whose logits nobody asks for
  const int slot = session.open();
  if (unscored > 0)
    session.prefill(slot, std::span(ids).first(unscored),
                    {.sample = false, .progress = [&](uint32_t done, uint32_t) { progress(done); }});
  const auto on_logits = [&](uint32_t position, std::span<const float> logits) {
    const size_t next = w.begin + position + 1;
    const double nll = log_sum_exp(logits) - logits[static_cast<size_t>(text.ids[next])];
    require(std::isfinite(nll),
            "non-finite logits at position {}: the weights hold NaN or infinity, or overflow", position);
    likelihood.add(nll, text.bytes[next]);
  };
  session.prefill(slot, std::span(ids).subspan(unscored),
                  {.sample = false,
                   .progress = [&](uint32_t done, uint32_t) { progress(unscored + done); },
                   .on_logits = on_logits});
  session.close(slot);
}

std::string procedure(const Flags& flags, const std::vector<uint32_t>& lengths, uint32_t stride) {
  if (lengths.size() > 1)
    return fmt::format("the last {} tokens of windows that end at the same places for every length", stride);
  if (flags.stride > 0) return fmt::format("windows that move by {} tokens and score what is new", stride);
  return "chunks, the second half of each scored, as llama.cpp";
}

void report(const Flags& flags, const Model& model, const std::vector<uint32_t>& lengths, uint32_t stride,
            const std::vector<Choice>& choices, const Results& results) {
  if (flags.json) {
    nlohmann::ordered_json j = describe_json(model, "perplexity");
    j["file"] = flags.file;
    j["procedure"] = procedure(flags, lengths, stride);
    for (size_t c = 0; c < choices.size(); c++) {
      nlohmann::ordered_json column = {{"rope_scaling", choices[c].name}, {"plan", choices[c].plan}};
      for (size_t l = 0; l < lengths.size(); l++) {
        const Result& r = results[c][l];
        if (r.likelihood.n == 0) continue;
        column["lengths"].push_back({{"length", lengths[l]},
                                     {"stride", stride},
                                     {"perplexity", r.likelihood.perplexity()},
                                     {"error", r.likelihood.perplexity_error()},
                                     {"nats_per_token", r.likelihood.mean()},
                                     {"bits_per_byte", r.likelihood.bits_per_byte()},
                                     {"scored_tokens", r.likelihood.n},
                                     {"scored_bytes", r.likelihood.bytes},
                                     {"windows", r.n_windows},
                                     {"read_tokens", r.n_read},
                                     {"tokens_per_second", r.rate()}});
      }
      j["results"].push_back(column);
    }
    fmt::print("{}\n", j.dump(2));
    return;
  }
  print_plans(choices);
  fmt::print("{}\n", procedure(flags, lengths, stride));
  const auto perplexity = [](const Likelihood& l) {
    return l.n ? fmt::format("{:.4f} +- {:.4f}", l.perplexity(), l.perplexity_error()) : std::string("-");
  };
  std::vector<std::vector<std::string>> rows(1);
  if (choices.size() == 1) {
    rows[0] = {"length", "perplexity", "nats/token", "bits/byte", "scored", "windows", "tokens/s"};
    for (size_t l = 0; l < lengths.size(); l++) {
      const Result& r = results[0][l];
      rows.push_back({fmt::format("{}", lengths[l]), perplexity(r.likelihood),
                      fmt::format("{:.4f}", r.likelihood.mean()),
                      fmt::format("{:.4f}", r.likelihood.bits_per_byte()), fmt::format("{}", r.likelihood.n),
                      fmt::format("{}", r.n_windows), fmt::format("{:.1f}", r.rate())});
    }
  } else {
    rows[0] = {"length", "scored"};
    for (const Choice& c : choices) rows[0].push_back(c.name);
    for (size_t l = 0; l < lengths.size(); l++) {
      rows.push_back({fmt::format("{}", lengths[l]), fmt::format("{}", results[0][l].likelihood.n)});
      for (const auto& column : results) rows.back().push_back(perplexity(column[l].likelihood));
    }
  }
  print_table(rows);
}

void run(const Flags& flags) {
  LoadedModel loaded(flags);
  const Config& config = loaded.model.config();
  std::vector<uint32_t> lengths = flags.lengths;
  if (lengths.empty())
    lengths = {flags.model.context > 0 ? flags.model.context
                                       : std::min(kDefaultLength, config.context_length)};
  lengths = choose_lengths(flags, loaded.model, lengths, kLeastLength);
  const uint32_t stride = flags.stride > 0      ? flags.stride
                          : lengths.size() == 1 ? lengths[0]
                                                : std::min(kDefaultStride, lengths.front() / 2);
  require(stride <= lengths.front(), ErrorKind::usage, "--stride {}: allowed is 1 to the shortest length, {}",
          stride, lengths.front());
  const Text text = tokenize(flags, loaded.model.tokenizer());
  require(text.ids.size() >= lengths.back(), ErrorKind::usage,
          "-f {}: {} tokens, a window of {} asks for as many: try -c or --lengths", flags.file,
          text.ids.size(), lengths.back());
  const std::vector<Choice> choices = choose_positions(flags, loaded.model, lengths.back());

  Results results(choices.size(), std::vector<Result>(lengths.size()));
  std::vector<std::vector<Window>> windows;
  uint64_t all = 0, done = 0;
  for (uint32_t n : lengths) {
    windows.push_back(windows_of(flags, lengths, n, stride, text.ids.size()));
    for (const Window& w : windows.back()) all += choices.size() * (w.end - w.begin - 1);
  }
  Progress progress("perplexity", "tokens");
  const auto measure = [&] {
    for (size_t c = 0; c < choices.size(); c++) {
      const auto rows = static_cast<uint32_t>(
          std::clamp<uint64_t>(kLogitBytes / (uint64_t{4} * config.vocab_size), 16, 512));
      const auto session = open_session(flags, loaded.model, choices[c], lengths.back(), rows, 1);
      for (size_t l = 0; l < lengths.size(); l++)
        for (const Window& w : windows[l]) {
          Result& r = results[c][l];
          const double start = now_seconds();
          score(*session, text, w, r.likelihood, [&](size_t tokens) {
            StopOnInterrupt::check();
            progress.update(done + tokens, all);
          });
          r.seconds += now_seconds() - start;
          r.n_windows++;
          r.n_read += w.end - w.begin - 1;
          done += w.end - w.begin - 1;
        }
    }
  };
  measure_and_report(done, measure, [&] {
    progress.finish();
    report(flags, loaded.model, lengths, stride, choices, results);
  });
}

}  // namespace

void add_eval_perplexity(CLI::App& eval) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = eval.add_subcommand("perplexity", "how well the model foresees a text");
  command->add_option("-f,--file", flags->file, "the text")->required();
  command
      ->add_option(
          "--stride", flags->stride,
          "move windows by so many tokens and score what is new in each; default: chunks, the second "
          "half of each scored, as llama.cpp")
      ->check(in_range(1, 1 << 30));
  command->add_option("-n,--tokens", flags->tokens, "only the first tokens of the text; 0: all")
      ->capture_default_str();
  flags->add(*command);
  CLI::Option* context = command->get_option("--ctx-size");
  context->description("tokens of a window; 0: 512, or what the model was trained for if that is less");
  command
      ->add_option(
          "--lengths", flags->lengths,
          "several windows, 512,1024,...: each scores the same tokens, the last --stride (default 256) "
          "of windows that end at the same places")
      ->delimiter(',')
      ->check(in_range(1, 1 << 30))
      ->excludes(context);
  command->callback([flags] { run(*flags); });
}

}  // namespace spindle
