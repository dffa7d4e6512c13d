// Puts a file's and a person's wishes together.
#include "models/positions_choice.h"

#include <fmt/core.h>

#include <algorithm>

#include "runtime/error.h"

namespace spindle {
namespace {

bool changes_distances(std::optional<RopeMethod> m) {
  using enum RopeMethod;
  return m == rerope || m == leaky_rerope || m == self_extend || m == dca;
}

// What the file asks for, with its factors for this context and the method that it does not name.
RopeRequest request_of(const FileRope& file, uint32_t context) {
  RopeRequest r = file.request;
  const double original = r.original_context.value_or(static_cast<double>(file.model.context_length));
  if (r.divisors.empty()) r.divisors = file.divisors.choose(context, original);
  // Files with factors for short and long texts name no method.
  if (!r.method && !file.divisors.long_texts.empty()) r.method = RopeMethod::longrope;
  if (r.method == RopeMethod::longrope && r.attention_scale) {  // that is all of its attention factor
    if (!r.attention_factor) r.attention_factor = r.attention_scale;
    r.attention_scale.reset();
  }
  return r;
}

// The method's distances with the frequencies of the file's own.
RopePlan plan_distances(const FileRope& file, RopeRequest own, RopeRequest r, const RopeRequest& person) {
  if (changes_distances(own.method)) {
    own = {.divisors = own.divisors};
  } else {
    r.original_context = person.original_context;  // else the trained one
    r.divisors.clear();
  }
  if (person.base) own.base = person.base;
  own.log_n = r.log_n;  // where both exclude each other
  const RopePlan frequencies = plan_rope(file.model, own);
  r.divisors.clear();
  r.attention_factor = frequencies.magnitude;
  RopePlan p = plan_rope(file.model, r);
  p.inv_freq = frequencies.inv_freq;
  p.ramp = frequencies.ramp;
  p.logit_scale = frequencies.logit_scale;
  if (p.inv_freq != rope_frequencies(p.n_rot, p.base))
    p.description += "; frequencies: " + frequencies.description;
  return p;
}

}  // namespace

RopeRequest override_rope(const RopeRequest& file, const RopeRequest& person) {
  RopeRequest r;
  if (!person.method || person.method == file.method) {
    r = file;
  } else {
    r.method = person.method;
    r.base = file.base;
    r.original_context = file.original_context;
    if (*person.method == RopeMethod::longrope) r.divisors = file.divisors;
  }
  const auto take = [](auto& to, const auto& from) {
    if (from) to = from;
  };
  take(r.factor, person.factor);
  take(r.base, person.base);
  take(r.original_context, person.original_context);
  take(r.attention_factor, person.attention_factor);
  if (person.attention_scale) r.attention_scale = r.attention_scale.value_or(1) * *person.attention_scale;
  take(r.mscale, person.mscale);
  take(r.mscale_all_dim, person.mscale_all_dim);
  take(r.extension, person.extension);
  take(r.beta_fast, person.beta_fast);
  take(r.beta_slow, person.beta_slow);
  take(r.truncate, person.truncate);
  take(r.llama3_low, person.llama3_low);
  take(r.llama3_high, person.llama3_high);
  take(r.ntk_alpha, person.ntk_alpha);
  take(r.ntk_beta, person.ntk_beta);
  take(r.window, person.window);
  take(r.leak, person.leak);
  take(r.group_size, person.group_size);
  take(r.group_window, person.group_window);
  take(r.chunk, person.chunk);
  r.log_n = file.log_n || person.log_n;
  return r;
}

RopePlan choose_rope(const FileRope& file, uint32_t context, const RopeRequest& person) {
  using enum RopeMethod;
  const double trained = file.model.context_length;
  if (!file.unrotated.empty()) {
    require(person == RopeRequest{}, ErrorKind::usage,
            "--rope-scaling and its parameters are for rotary positions; this {} model has {}",
            file.architecture, file.unrotated);
    RopePlan plan = plan_rope(file.model, {});
    plan.inv_freq.clear();
    plan.reach = trained;
    plan.description = file.unrotated;
    return plan;
  }
  const RopeRequest own = request_of(file, context);
  RopeRequest r = override_rope(own, person);
  if (!r.method) r.method = r.factor.value_or(1) != 1 ? linear : none;
  require(r.method != longrope || !person.factor, ErrorKind::usage,
          "--rope-scale: not a parameter of --rope-scaling longrope, whose factors are in the file");
  if (changes_distances(r.method)) return plan_distances(file, own, std::move(r), person);
  const bool by_factor = takes_factor(*r.method) && r.method != dynamic && r.method != longrope;
  if (person.method && by_factor && !r.factor && r.method != own.method)
    r.factor = std::max(1.0, context / r.original_context.value_or(trained));
  RopePlan plan = plan_rope(file.model, r);
  // The file's own scaling is part of what the model was trained with.
  const bool as_filed =
      r.method == own.method.value_or(none) && !person.factor && !person.original_context && !person.base;
  if (as_filed && r.method != dynamic) plan.reach = trained;
  return plan;
}

}  // namespace spindle
