// `spindle run`: continues a prompt. Standard output carries the text alone.
#include <unistd.h>

#include <cstdio>

#include "app/command.h"
#include "app/interrupt.h"
#include "app/prompt_flags.h"
#include "runtime/error.h"

namespace spindle {
namespace {

struct Flags {
  DeviceFlags device;
  ModelFlags model;
  SamplingFlags sampling;
  PromptFlags prompt;
  int n = -1;
};

void write(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
  require(!std::ferror(stdout), "standard output was closed");
}

std::string rate(uint64_t tokens, double seconds) {
  return fmt::format("{} tokens in {:.2f} s ({:.1f} tokens/s)", tokens, seconds,
                     seconds > 0 ? static_cast<double>(tokens) / seconds : 0.0);
}

void run(const Flags& flags) {
  const std::string prompt = flags.prompt.read();
  const double start = now_seconds();
  Device device(flags.device.options());
  Progress loading("loading");
  const Model model(device, flags.model.open(device),
                    [&](uint64_t done, uint64_t all) { loading.update(done, all); });
  loading.finish();
  describe(model);
  const Tokenizer& tokenizer = model.tokenizer();
  const std::vector<int> ids = tokenizer.encode(prompt, {.parse_special = true});
  require(!ids.empty(), ErrorKind::usage,
          "the prompt is empty and the model has no token to begin with: give -p TEXT");

  Session session(model, flags.model.session());
  const Sampling sampling = flags.sampling.resolve();
  describe(session);
  const int slot = session.open(sampling);
  if (sampling.temperature > 0) say("seed    {}", sampling.seed);
  Progress prefilling("prefill", "tokens");
  const CatchInterrupts catching;
  session.prefill(slot, ids, {.progress = [&](uint32_t done, uint32_t all) {
                    prefilling.update(done, all);
                    require(!CatchInterrupts::requested(), ErrorKind::interrupted,
                            "interrupted in the prompt");
                  }});
  prefilling.finish();

  // On a terminal the text reads whole: the prompt is shown before it, on standard error.
  if (isatty(STDERR_FILENO) && isatty(STDOUT_FILENO)) fmt::print(stderr, "\n{}", prompt);
  Detokenizer text(tokenizer);
  text.skip(ids);
  double first_token = 0;
  uint32_t generated = 0;
  const uint32_t most = flags.n < 0 ? UINT32_MAX : static_cast<uint32_t>(flags.n);
  session.generate({&slot, 1}, most, [&](int, int id) {
    if (generated++ == 0) first_token = now_seconds() - start;
    if (!tokenizer.is_end(id)) write(text.push(id));
    return !CatchInterrupts::requested();
  });
  write(text.flush() + "\n");

  const SessionStatistics& s = session.statistics();
  say("prefill {}; decode {}; first token after {:.2f} s; cache {:.1f} MiB for {} of {} positions",
      rate(s.prefill_tokens, s.prefill_seconds), rate(s.decode_tokens, s.decode_seconds), first_token,
      static_cast<double>(session.cache().allocated_bytes()) / (1 << 20), session.n_tokens(slot),
      session.context());
  require(!CatchInterrupts::requested(), ErrorKind::interrupted, "interrupted");
}

}  // namespace

void add_run(CLI::App& app) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = app.add_subcommand("run", "continue a prompt");
  flags->prompt.add(*command, "the text to continue");
  command
      ->add_option("-n,--predict", flags->n,
                   "tokens to generate; -1: until the text ends or the context is full")
      ->capture_default_str()
      ->check(in_range(-1, INT32_MAX));
  flags->model.add(*command);
  flags->sampling.add(*command);
  flags->device.add(*command);
  command->callback([flags] { run(*flags); });
}

}  // namespace spindle
