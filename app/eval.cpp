// `spindle eval`: numbers about a model. logits: log-probabilities of the token after a prompt; the others
// have files of their own.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "app/eval.h"
#include "runtime/error.h"

namespace spindle {
namespace {

struct Flags : EvalFlags {
  std::vector<int> ids;
  std::string prompt;
  uint32_t top = 20;
  bool decode = false;
};

// Natural logarithms of softmax(logits), in double precision.
std::vector<double> log_softmax(std::span<const float> logits) {
  const double most = *std::ranges::max_element(logits);
  double sum = 0;
  for (float l : logits) sum += std::exp(l - most);
  std::vector<double> out;
  for (float l : logits) out.push_back(l - most - std::log(sum));
  return out;
}

void run_logits(const Flags& flags) {
  Device device(flags.device.options());
  const Model model(device, flags.model.open(device));
  const std::vector<int> ids = flags.ids.empty() ? model.tokenizer().encode(flags.prompt) : flags.ids;
  require(!ids.empty(), ErrorKind::usage, "no prompt: give --ids 1,2,3 or -p TEXT");
  SessionOptions options = flags.model.session();
  if (options.context == 0) options.context = static_cast<uint32_t>(ids.size());
  Session session(model, options);
  const int slot = session.open();
  std::vector<float> logits;
  if (flags.decode) {
    for (int id : ids) logits = session.decode(slot, id);
  } else {
    session.prefill(slot, ids);
    logits = session.last_logits();
  }
  const std::vector<double> logprobs = log_softmax(logits);
  std::vector<size_t> order(logprobs.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, [&](size_t a, size_t b) { return logprobs[a] > logprobs[b]; });
  if (flags.top > 0 && flags.top < order.size()) order.resize(flags.top);
  if (flags.json) {
    nlohmann::json top = nlohmann::json::array();
    for (size_t id : order) top.push_back({id, logprobs[id]});
    fmt::print("{}\n", nlohmann::json{{"n_prompt", ids.size()}, {"top", top}}.dump());
    return;
  }
  for (size_t id : order) fmt::print("{:8} {:12.6f}\n", id, logprobs[id]);
}

}  // namespace

void add_eval(CLI::App& app) {
  CLI::App* eval = app.add_subcommand("eval", "measure a model");
  eval->require_subcommand(1);
  auto flags = std::make_shared<Flags>();
  CLI::App* command = eval->add_subcommand("logits", "log-probabilities of the token after a prompt");
  auto* ids = command->add_option("--ids", flags->ids, "the prompt as token ids: 1,2,3")->delimiter(',');
  command->add_option("-p,--prompt", flags->prompt, "the prompt as text")->excludes(ids);
  command->add_option("--top", flags->top, "how many tokens, the most probable first; 0: all")
      ->capture_default_str();
  command->add_flag("--json", flags->json, "as JSON: {\"top\": [[id, logprob], ...]}");
  command->add_flag("--decode", flags->decode, "token by token through the decode kernels");
  flags->model.add(*command);
  flags->device.add(*command);
  command->callback([flags] { run_logits(*flags); });
  add_eval_perplexity(*eval);
  add_eval_passkey(*eval);
  add_eval_longeval(*eval);
}

}  // namespace spindle
