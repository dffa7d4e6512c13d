// A template's source as tokens. Whitespace rules are Jinja2's with trim_blocks and lstrip_blocks set.
#ifndef SPINDLE_MODELS_JINJA_LEXER_H
#define SPINDLE_MODELS_JINJA_LEXER_H
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "models/jinja/context.h"

namespace spindle::jinja {

struct Token {
  enum class Type : uint8_t {
    text,
    block_begin,
    block_end,
    variable_begin,
    variable_end,
    name,
    string,
    integer,
    real,
    op,
    end
  };
  Type type;
  int line;
  std::string text;  // of a string: what it stands for
  int64_t number = 0;
  double real = 0;

  bool is(std::string_view op_text) const { return type == Type::op && text == op_text; }
  bool is_name(std::string_view word) const { return type == Type::name && text == word; }
};

// Throws the context's errors; the last token is `end`.
std::vector<Token> tokenize(Context& context, std::string_view source);

}  // namespace spindle::jinja
#endif
