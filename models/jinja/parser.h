// Source -> syntax tree. Tags that are not known are refused by name and line.
#ifndef SPINDLE_MODELS_JINJA_PARSER_H
#define SPINDLE_MODELS_JINJA_PARSER_H
#include "models/jinja/ast.h"
#include "models/jinja/lexer.h"

namespace spindle::jinja {

// Literals live in the context.
Ast parse(Context& context, std::string_view source);

}  // namespace spindle::jinja
#endif
