// Values from JSON.
#ifndef SPINDLE_MODELS_JINJA_JSON_H
#define SPINDLE_MODELS_JINJA_JSON_H
#include <nlohmann/json_fwd.hpp>

#include "models/jinja/value.h"

namespace spindle::jinja {

// `input`: its strings, keys too, are marked as coming from outside the template.
Value from_json(Context& context, const nlohmann::ordered_json& json, bool input);

}  // namespace spindle::jinja
#endif
