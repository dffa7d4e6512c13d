// `spindle bench`: how fast a model, an operation or the device is.
#include "app/bench.h"

#include <algorithm>
#include <span>

#include "runtime/error.h"

namespace spindle {
namespace {

void bench(const BenchFlags& flags) {
  Device device(flags.device.options());
  if (flags.limits) return bench_limits(device, flags);
  if (flags.tune) return bench_tune(device, flags);
  if (!flags.op.empty()) return bench_operation(device, flags);
  bench_model(device, flags);
}

std::vector<std::string> type_names(std::span<const DType> types) {
  std::vector<std::string> names;
  for (DType type : types) names.emplace_back(info(type).name);
  return names;
}

}  // namespace

void add_bench(CLI::App& app) {
  auto flags = std::make_shared<BenchFlags>();
  CLI::App* command = app.add_subcommand("bench", "measure a model, an operation or the device");
  command->add_option("-m,--model", flags->model, "GGUF file; default: the model that ships with Spindle")
      ->envname("SPINDLE_MODEL");
  const auto counts = [&](const std::string& names, std::vector<uint32_t>& to, const std::string& what,
                          double least) {
    command->add_option(names, to, what + "; a list by commas")
        ->delimiter(',')
        ->capture_default_str()
        ->transform(as_count())
        ->check(in_range(least, 1 << 30));
  };
  counts("-p,--n-prompt", flags->prompt, "prompt tokens (test ppN); 0: none", 0);
  counts("-n,--n-gen", flags->generate, "generated tokens (test tgN); 0: none", 0);
  counts("-d,--n-depth", flags->depth, "tokens in the cache before each test", 0);
  counts("-b,--batch-size", flags->batch, "most prompt tokens at once", 1);
  counts("--ubatch-size", flags->ubatch, "-ub: prompt tokens of one step", 1);
  command
      ->add_option("-r,--repetitions", flags->repetitions, "runs of each test, after one that is not counted")
      ->capture_default_str()
      ->check(in_range(1, 1000));
  command->add_option("--sequences", flags->sequences, "sequences that share each step of a tg test")
      ->capture_default_str()
      ->check(in_range(1, 32));
  for (const auto& [name, to] :
       {std::pair{"--cache-type-k", &flags->k_type}, {"--cache-type-v", &flags->v_type}})
    command
        ->add_option(name, *to,
                     std::string(to == &flags->k_type ? "-ctk: keys" : "-ctv: values") +
                         " in the cache; a list by commas")
        ->delimiter(',')
        ->capture_default_str()
        ->check(CLI::IsMember(type_names(kCacheTypes)));
  command->add_option("-o,--output", flags->output, "form of the tables")
      ->capture_default_str()
      ->check(CLI::IsMember({"md", "csv", "json"}));
  command->add_flag("--ops", flags->operations,
                    "the time of each operation too, and its share of the device's limits");
  command->add_flag("--device-limits", flags->limits, "copy bandwidth and multiply-add rate of the device");
  command->add_flag("--tune", flags->tune,
                    "try tile shapes of the matrix products and keep the best for this device and driver");
  command->add_option("--op", flags->op, fmt::format("one operation: {}", kBenchOperations));
  command->add_option(
      "--shape", flags->shape,
      "of the operation: rows=128,n=4096,k=4096 or rows=1,keys=4096,heads=32,kv_heads=8,dim=128");
  command
      ->add_option("--type", flags->types,
                   "of its weights (q4_0; --tune: f16, q8_0, q4_0) or of the cache (f16); a list by commas")
      ->delimiter(',')
      ->check(CLI::IsMember(type_names(kWeightTypes)));
  command->add_option("--attention-pattern", flags->pattern,
                      fmt::format("of attention: {}", kAttentionPatterns));
  command->add_option("--phase", flags->phase, "kernels of prompts or of tokens; default: by the rows")
      ->check(CLI::IsMember({"prefill", "decode"}));
  flags->device.add(*command);
  command->callback([flags] {
    if (flags->types.empty() && flags->tune) flags->types = {"f16", "q8_0", "q4_0"};
    if (flags->types.empty()) flags->types = {flags->op == "attention" ? "f16" : "q4_0"};
    if (flags->op == "attention")
      for (const std::string& t : flags->types)
        require(std::ranges::count(kCacheTypes, *find_dtype(t)) > 0, ErrorKind::usage,
                "--type {}: a cache is f32, f16, q8_0 or q4_0", t);
    bench(*flags);
  });
}

}  // namespace spindle
