// One table of the options of positions: name, unit, default.
#include "app/position_flags.h"

#include "runtime/error.h"

namespace spindle {

void PositionFlags::add(CLI::App& command) {
  auto* group = command.add_option_group("Positions");
  group->add_option("--rope-scaling", method,
                    "extension of rotary positions, instead of the file's: " + rope_method_names());
  const struct {
    const char* name;
    std::optional<double> RopeRequest::*value;
    const char* description;
  } rows[] = {
      {"--rope-scale", &RopeRequest::factor, "factor of extension, 1 or more: length / original length"},
      {"--rope-freq-base", &RopeRequest::base, "base of the frequencies; default: the file's"},
      {"--yarn-orig-ctx", &RopeRequest::original_context,
       "positions before any extension, for every method that asks; default: the file's"},
      {"--yarn-ext-factor", &RopeRequest::extension,
       "yarn: 1 its ramp, 0 interpolation of all pairs (default 1)"},
      {"--yarn-attn-factor", &RopeRequest::attention_scale,
       "yarn, longrope: multiplies the attention factor (default 1)"},
      {"--yarn-beta-fast", &RopeRequest::beta_fast, "yarn: rotations from which pairs stay (default 32)"},
      {"--yarn-beta-slow", &RopeRequest::beta_slow,
       "yarn: rotations below which pairs are interpolated (default 1)"},
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
  for (const auto& row : rows) {
    std::optional<double>* value = &(request.*row.value);
    group->add_option_function<double>(
        row.name, [value](double v) { *value = v; }, row.description);
  }
  group->add_option("--rope-freq-scale", freq_scale, "1 / --rope-scale")->excludes("--rope-scale");
  group->add_flag("--log-n", request.log_n, "let logits grow with ln(position) beyond the original context");
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

}  // namespace spindle
