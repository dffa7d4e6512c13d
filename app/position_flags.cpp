// The options of positions, and lists of choices among them.
#include "app/position_flags.h"

#include "runtime/error.h"

namespace spindle {
namespace {

// One table of the options: name, member, description with unit and default, and the number by which
// llama.cpp's users ask for the default.
struct Row {
  const char* name;
  std::optional<double> RopeRequest::*value;
  const char* description;
  std::optional<double> unsaid = {};
};
constexpr Row kRows[] = {
    {"--rope-scale", &RopeRequest::factor, "factor of extension, 1 or more: length / original length"},
    {"--rope-freq-base", &RopeRequest::base, "base of the frequencies; default, and 0: the file's", 0},
    {"--yarn-orig-ctx", &RopeRequest::original_context,
     "positions before any extension, for every method that asks; default, and 0: the file's", 0},
    {"--yarn-ext-factor", &RopeRequest::extension,
     "yarn: 1 its ramp, 0 interpolation of all pairs (default, and -1: 1)", -1},
    {"--yarn-attn-factor", &RopeRequest::attention_scale,
     "multiplies the attention factor of method and file (default, and -1: 1)", -1},
    {"--yarn-beta-fast", &RopeRequest::beta_fast,
     "yarn: rotations from which pairs stay (default, and -1: 32)", -1},
    {"--yarn-beta-slow", &RopeRequest::beta_slow,
     "yarn: rotations below which pairs are interpolated (default, and -1: 1)", -1},
    {"--llama3-low", &RopeRequest::llama3_low,
     "llama3: wavelengths in the original context below which pairs are "
     "interpolated (default 1)"},
    {"--llama3-high", &RopeRequest::llama3_high, "llama3: ... from which pairs stay (default 4)"},
    {"--ntk-alpha", &RopeRequest::ntk_alpha,
     "ntk-parts: rotations below which pairs are interpolated (default 1)"},
    {"--ntk-beta", &RopeRequest::ntk_beta, "ntk-parts: rotations from which pairs stay (default 32)"},
    {"--rerope-window", &RopeRequest::window,
     "rerope, leaky-rerope: distance in positions that stays exact (default 1/4 of the original context)"},
    {"--rerope-leak", &RopeRequest::leak,
     "leaky-rerope: farther distances grow this many times slower (default 16)"},
    {"--group-size", &RopeRequest::group_size,
     "self-extend: positions that share one far position (default 8)"},
    {"--group-window", &RopeRequest::group_window,
     "self-extend: distance in positions that stays exact (default 1024, at most half the original "
     "context)"},
    {"--dca-chunk", &RopeRequest::chunk,
     "dca: positions of a chunk (default 3/4 of the original context less 1/8 of it)"},
};

void set(RopeRequest& request, const Row& row, double value) {
  if (value == row.unsaid) (request.*row.value).reset();
  else request.*row.value = value;
}

// The rows of `key` that the method has: the whole name, or its last words.
std::vector<const Row*> find_rows(std::string_view key, std::optional<RopeMethod> method) {
  std::vector<const Row*> found;
  for (const Row& row : kRows) {
    const std::string_view name = std::string_view(row.name).substr(2);
    if (name != key && !name.ends_with("-" + std::string(key))) continue;
    RopeRequest probe;
    probe.method = method;
    probe.*row.value = 2;
    if (!(without_foreign(probe).*row.value)) continue;
    if (name == key) return {&row};
    found.push_back(&row);
  }
  return found;
}

// One "key=value" of a choice.
void set_parameter(NamedRope& choice, std::string_view text) {
  const size_t equals = std::min(text.find('='), text.size());
  const std::string key(text.substr(0, equals)), word(text.substr(std::min(equals + 1, text.size())));
  double value = 0;
  const bool number = equals > 0 && CLI::detail::lexical_cast(word, value);
  require(number, ErrorKind::usage, "--rope-scaling {}: '{}' is not key=number", choice.name, text);
  if (key == "log-n") {
    choice.request.log_n = value != 0;
    return;
  }
  const std::vector<const Row*> found = find_rows(key, choice.request.method);
  if (found.size() == 1) {
    set(choice.request, *found[0], value);
    return;
  }
  std::string known;
  for (const Row& row : kRows)
    if (find_rows(row.name + 2, choice.request.method).size() == 1)
      known += fmt::format("{}{}", known.empty() ? "" : ", ", row.name + 2);
  fail(ErrorKind::usage, "--rope-scaling {}: '{}' is {}; allowed are {}, log-n", choice.name, key,
       found.empty() ? "no parameter of it" : "more than one of its parameters", known);
}

}  // namespace

void PositionFlags::add(CLI::App& command) {
  auto* group = command.add_option_group("Positions");
  group->add_option("--rope-scaling", method,
                    "extension of rotary positions, instead of the file's: " + rope_method_names());
  for (const Row& row : kRows)
    group->add_option_function<double>(
        row.name, [this, &row](double v) { set(request, row, v); }, row.description);
  group->add_option("--rope-freq-scale", freq_scale, "1 / --rope-scale")->excludes("--rope-scale");
  group->add_flag("--log-n", request.log_n,
                  "let logits grow with ln(visible keys) beyond the original context");
}

RopeRequest PositionFlags::rope() const {
  RopeRequest r = request;
  if (!method.empty()) {
    r.method = find_rope_method(method);
    require(r.method.has_value(), ErrorKind::usage, "--rope-scaling '{}': allowed are {}", method,
            rope_method_names());
  }
  if (freq_scale != 0) {
    require(freq_scale > 0 && freq_scale <= 1, ErrorKind::usage,
            "--rope-freq-scale {:g}: allowed is above 0, up to 1", freq_scale);
    r.factor = 1 / freq_scale;
  }
  return r;
}

RopeRequest PositionFlags::rope(const std::string& other) const {
  PositionFlags copy = *this;
  copy.method = other;
  return without_foreign(copy.rope());
}

std::vector<NamedRope> PositionFlags::list() const {
  std::vector<NamedRope> choices;
  if (method.empty()) return {{"file", rope()}};
  std::vector<std::vector<std::string>> parameters;  // by choice
  for (const std::string& word : CLI::detail::split(method, ',')) {
    const size_t colon = word.find(':');
    if (colon == std::string::npos && word.find('=') != std::string::npos && !choices.empty()) {
      choices.back().name += "," + word;
      parameters.back().push_back(word);
      continue;
    }
    const std::string name = word.substr(0, colon);
    require(!name.empty(), ErrorKind::usage, "--rope-scaling '{}': a method is missing; allowed are file, {}",
            method, rope_method_names());
    // A method by itself may not be given what it does not have; in a list everyone takes what is his.
    const bool alone = method.find(',') == std::string::npos && name != "file";
    PositionFlags own = *this;
    own.method = name == "file" ? "" : name;
    choices.push_back({word, alone ? own.rope() : rope(own.method)});
    parameters.emplace_back();
    if (colon != std::string::npos) parameters.back().push_back(word.substr(colon + 1));
  }
  for (size_t i = 0; i < choices.size(); i++)
    for (const std::string& parameter : parameters[i]) set_parameter(choices[i], parameter);
  return choices;
}

}  // namespace spindle
