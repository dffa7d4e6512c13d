// A Jinja template: the subset that chat templates use, with Python's semantics and limits on everything.
// Environment as transformers sets it: trim_blocks, lstrip_blocks, loop controls, tojson without escapes,
// raise_exception, strftime_now, the generation tag.
#ifndef SPINDLE_MODELS_JINJA_TEMPLATE_H
#define SPINDLE_MODELS_JINJA_TEMPLATE_H
#include <ctime>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "models/jinja/context.h"

namespace spindle::jinja {

struct Ast;

class Template {
 public:
  // `name` is for errors: "NAME, line 3: the tag 'include' is not supported".
  Template(std::string name, std::string_view source, const Limits& limits = {});
  ~Template();
  Template(Template&&) noexcept;

  // Variables are objects by name. Strings of `input` are marked in the result, those of `own` are not.
  // Throws ErrorKind::model_file, ErrorKind::usage for what the template itself raises, and
  // ErrorKind::interrupted once `stop` says so.
  Marked render(const nlohmann::ordered_json& input, const nlohmann::ordered_json& own,
                std::optional<std::time_t> now = {}, std::function<bool()> stop = {}) const;

 private:
  std::string name_;
  Limits limits_;
  std::unique_ptr<Context> constants_;
  std::unique_ptr<Ast> ast_;
};

}  // namespace spindle::jinja
#endif
