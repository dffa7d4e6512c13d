// Parses once, renders often.
#include "models/jinja/template.h"

#include <nlohmann/json.hpp>

#include "models/jinja/interpreter.h"
#include "models/jinja/json.h"
#include "models/jinja/parser.h"

namespace spindle::jinja {

Template::Template(std::string name, std::string_view source, const Limits& limits)
    : name_(std::move(name)),
      limits_(limits),
      constants_(std::make_unique<Context>(name_, limits)),
      ast_(std::make_unique<Ast>(parse(*constants_, source))) {}

Template::~Template() = default;
Template::Template(Template&&) noexcept = default;

Marked Template::render(const nlohmann::ordered_json& input, const nlohmann::ordered_json& own,
                        std::optional<std::time_t> now, std::function<bool()> stop) const {
  Context context(name_, limits_, std::move(stop));
  Interpreter interpreter(context, *ast_, now ? *now : std::time(nullptr));
  for (const auto& [name, value] : own.items())
    interpreter.set_variable(name, from_json(context, value, false));
  for (const auto& [name, value] : input.items())
    interpreter.set_variable(name, from_json(context, value, true));
  return interpreter.run();
}

}  // namespace spindle::jinja
