// What subcommands share: options of device and model, progress on standard error, the default model.
#ifndef SPINDLE_APP_COMMAND_H
#define SPINDLE_APP_COMMAND_H
#include <CLI/CLI.hpp>
#include <functional>
#include <limits>
#include <string>

#include "app/position_flags.h"
#include "models/session.h"

namespace spindle {

// --device and the switches for tests; environment variables are the defaults.
struct DeviceFlags {
  std::string device, disable, prefer, precision;
  uint64_t limit_binding = 0, limit_allocation = 0;
  double limit_cost = 0;
  void add(CLI::App& command);
  DeviceOptions options() const;
};

// The device that sums are made for; where there is none, one that takes everything, with nothing known free.
struct Target {
  explicit Target(const DeviceFlags& flags);
  std::unique_ptr<Device> device;
  Caps caps;
  std::string name;
  uint64_t free_bytes = 0;
};

struct ModelFlags {
  std::string path;
  uint32_t context = 0, batch = 2048, ubatch = 512;
  std::string k_type = "f16", v_type = "f16";
  std::string pattern, shift = "none";
  std::optional<uint32_t> n_sinks;  // 4
  PositionFlags positions;
  void add(CLI::App& command);
  std::string file() const;  // --model, or the model that ships
  SessionOptions session() const;
  // Throws unless the file and a session with these options fit into what the device has free.
  void require_fits(const Gguf& opened, const Device& device) const;
  Gguf open(const Device& device) const;  // the file, if it fits
};

// llama.cpp's short options of more than one letter, which the option parser would take apart.
inline constexpr std::pair<const char*, const char*> kShortOptions[] = {
    {"-ub", "--ubatch-size"}, {"-ctk", "--cache-type-k"}, {"-ctv", "--cache-type-v"}, {"-dev", "--device"},
    {"-sys", "--system"},     {"-st", "--single-turn"},   {"-cnv", "--conversation"}};

// Validators of options that turn "48k" into 49152, and "7.5GiB", "512M" or "4096" into bytes.
CLI::Validator as_count();
CLI::Validator as_bytes();

struct SamplingFlags {
  int64_t seed = -1;  // negative: another one each time
  Sampling sampling;
  int top_k = 40, repeat_last_n = 64;
  void add(CLI::App& command);
  Sampling resolve() const;
};

// "loading 40%": a bar on a terminal, else a line for every 5%; nothing when it takes less than half a
// second.
class Progress {
 public:
  explicit Progress(std::string label, std::string unit = "");
  ~Progress() { finish(); }
  void update(uint64_t done, uint64_t all);
  void finish();

 private:
  std::string label_, unit_;
  double start_ = 0, last_ = 0;
  int percent_ = -1;
  bool terminal_, shown_ = false;
};

// One line on standard error.
template <class... Args>
void say(fmt::format_string<Args...> format, Args&&... args) {
  fmt::print(stderr, "{}\n", fmt::format(format, std::forward<Args>(args)...));
}

// For CLI::Option::check: a number in [least, most], with an error that says so.
CLI::Validator in_range(double least, double most = std::numeric_limits<double>::infinity());

double now_seconds();
void describe(const Model& model);      // device, model and warnings on standard error
void describe(const Session& session);  // the plan of positions and the pattern in force
// Says when a session has more positions than its plan is made for.
void warn_beyond_reach(const RopePlan& plan, const Config& config, uint32_t n_positions);

// Each adds its subcommand; the callback's work happens when it is chosen.
void add_run(CLI::App& app);
void add_bench(CLI::App& app);
void add_chat(CLI::App& app);
void add_attention(CLI::App& app);
void add_devices(CLI::App& app);
void add_eval(CLI::App& app);
void add_inspect(CLI::App& app);
void add_fit(CLI::App& app);
void add_positions(CLI::App& app);
void add_manual(CLI::App& app);
void add_tokenize(CLI::App& app);

}  // namespace spindle
#endif
