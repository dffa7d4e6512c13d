// `spindle positions`: the numbers of a position plan, without a model or a device.
#include <fstream>
#include <nlohmann/json.hpp>
#include <numbers>

#include "app/command.h"
#include "app/position_flags.h"
#include "models/model.h"
#include "runtime/error.h"

namespace spindle {
namespace {

struct Flags {
  PositionFlags positions;
  std::string model, config;
  uint32_t length = 0;
  uint32_t dim = 128, rotated = 0, heads = 0, context = 4096, buckets = 32, max_distance = 128;
  double base = 10000, max_bias = 8;
  bool json = false;
};

FileRope file_of(const Flags& f) {
  if (!f.config.empty()) {
    std::ifstream in(f.config);
    require(in.good(), ErrorKind::usage, "--config {}: cannot be read", f.config);
    const nlohmann::json config = nlohmann::json::parse(in, nullptr, false);
    require(!config.is_discarded(), ErrorKind::usage, "--config {}: is not JSON", f.config);
    return read_hugging_face_rope(config);
  }
  if (!f.model.empty()) {
    const Gguf file = Gguf::open(f.model);
    return read_file_rope(file, read_config(file));
  }
  FileRope file;
  file.model = {f.dim, f.rotated ? f.rotated : f.dim, f.base, f.context};
  return file;
}

// As a session of such a context plans it.
RopePlan plan(const Flags& f) {
  const FileRope file = file_of(f);
  const RopeModel& model = file.model;
  require(model.n_rot >= 2 && model.n_rot <= model.head_dim && model.n_rot % 2 == 0, ErrorKind::usage,
          "{} rotated dimensions of {}: an even number from 2 to {} is expected", model.n_rot, model.head_dim,
          model.head_dim / 2 * 2);
  if (!file.note.empty()) say("{}", file.note);
  return choose_rope(file, f.length ? f.length : model.context_length, f.positions.rope());
}

void run(const Flags& f) {
  const RopePlan p = plan(f);
  const bool follows = p.method == RopeMethod::dynamic;
  const double length = follows ? step_length(p, f.length) : f.length;
  const std::vector<double> frequencies = inv_freq_at(p, length);
  std::vector<double> wavelengths;
  for (double v : frequencies) wavelengths.push_back(2 * std::numbers::pi / v);
  if (f.json) {
    nlohmann::ordered_json j = {{"method", std::string(name_of(p.method))},
                                {"dim", p.n_rot},
                                {"base", p.base},
                                {"factor", p.factor},
                                {"original_context", p.original_context},
                                {"attention_factor", p.magnitude},
                                {"logit_scale", p.logit_scale},
                                {"inv_freq", frequencies},
                                {"wavelength", wavelengths}};
    j["ramp"] = p.ramp.empty() ? std::vector<double>(frequencies.size(), 0.0) : p.ramp;
    if (follows) j["length"] = length;
    if (p.window) j["window"] = p.window;
    if (p.chunk) j["chunk"] = p.chunk;
    if (p.log_n != 0) j["log_n"] = p.log_n;
    j["alibi_slopes"] = f.heads ? alibi_slopes(f.heads, f.max_bias) : std::vector<double>{};
    j["t5_buckets"] = t5_buckets(f.buckets, f.max_distance);
    fmt::print("{}\n", j.dump(2));
    return;
  }
  fmt::print("{}\n", p.description);
  if (follows) fmt::print("frequencies of {:.0f} positions\n", length);
  if (!frequencies.empty())
    fmt::print("\n{:>4}  {:>14}  {:>14}  {:>8}  {:>12}\n", "pair", "frequency", "wavelength", "ramp",
               "rotations");
  for (size_t t = 0; t < frequencies.size(); t++)
    fmt::print("{:>4}  {:>14.8g}  {:>14.8g}  {:>8.6g}  {:>12.6g}\n", t, frequencies[t], wavelengths[t],
               p.ramp.empty() ? 0.0 : p.ramp[t], p.original_context / wavelengths[t]);
  if (f.heads) {
    fmt::print("\nALiBi slopes of {} heads:", f.heads);
    for (double slope : alibi_slopes(f.heads, f.max_bias)) fmt::print(" {:.8g}", slope);
    fmt::print("\n");
  }
}

}  // namespace

void add_positions(CLI::App& app) {
  auto f = std::make_shared<Flags>();
  CLI::App* command =
      app.add_subcommand("positions", "print a position plan: frequencies, ramp, attention factor, slopes");
  command->add_option("-m,--model", f->model, "take the model's numbers from this GGUF file");
  command->add_option("--config", f->config, "... from this Hugging Face config.json")->excludes("--model");
  command->add_option("--dim", f->dim, "elements of a head")
      ->capture_default_str()
      ->check(in_range(2, 65536));
  command->add_option("--rotated", f->rotated, "of them rotated; 0: all")->capture_default_str();
  command->add_option("--base", f->base, "base of the frequencies")->capture_default_str();
  command->add_option("-c,--ctx-size", f->context, "positions the model was trained for")
      ->capture_default_str()
      ->check(in_range(1, 1 << 30));
  command
      ->add_option("--length", f->length,
                   "positions of a session, which factors are derived from and `dynamic` follows; default: "
                   "what the model was trained for")
      ->check(in_range(1, 1 << 30));
  command->add_option("--heads", f->heads, "also ALiBi's slopes for so many heads")
      ->check(in_range(1, 65536));
  command->add_option("--max-alibi-bias", f->max_bias, "ALiBi's largest exponent")->capture_default_str();
  command->add_option("--t5-buckets", f->buckets, "T5's number of buckets")
      ->capture_default_str()
      ->check(in_range(4, 65536));
  command->add_option("--t5-max-distance", f->max_distance, "distance from which T5's last bucket holds all")
      ->capture_default_str()
      ->check(in_range(4, 1 << 20));
  command->add_flag("--json", f->json, "as JSON");
  f->positions.add(*command);
  command->callback([f] { run(*f); });
}

}  // namespace spindle
