// The functions, filters, tests and methods that templates may use.
#ifndef SPINDLE_MODELS_JINJA_BUILTINS_H
#define SPINDLE_MODELS_JINJA_BUILTINS_H
#include <initializer_list>
#include <span>

#include "models/jinja/value.h"

namespace spindle::jinja {

inline constexpr size_t kMostArguments = 255;  // of a macro, and named ones of a call

// The arguments of one call.
class Args {
 public:
  std::vector<Value> at;
  std::vector<std::pair<std::string, Value>> named;

  // By parameter; the first `required` must be there. Throws for what fits no parameter.
  std::vector<std::optional<Value>> bind(Context& context, std::string_view what,
                                         std::initializer_list<std::string_view> parameters,
                                         size_t required = 0) const;
};

struct NamedFunction {
  std::string_view name;
  Function function;
};
struct NamedTest {
  std::string_view name;
  Predicate test;
};

// Null when there is none of that name.
Function find_filter(std::string_view name);
Predicate find_test(std::string_view name);
// A method of a value of that kind. Throws for Python's methods that are not supported here.
Function find_method(Context& context, Value self, std::string_view name);
// range, namespace, raise_exception, ...: what every template sees.
Value find_global(Context& context, std::string_view name);

// The files behind those.
std::span<const NamedFunction> sequence_filters();
std::span<const NamedFunction> string_methods();
std::span<const NamedFunction> list_methods();
std::span<const NamedFunction> dict_methods();

// Arguments as numbers and text; `what` names them in the error.
int64_t get_integer(Context& context, Value v, std::string_view what);
Str& get_string(Context& context, Value v, std::string_view what);
int64_t get_integer_or(Context& context, const std::optional<Value>& v, std::string_view what,
                       int64_t otherwise);
bool get_flag(const std::optional<Value>& v, bool otherwise = false);

// strings.cpp
enum class Case { lower, upper, title, capitalize };
Value change_case(Context& context, const Str& s, Case to);
Value replace(Context& context, const Str& s, const Str& from, const Str& to, int64_t most);
Value strip(Context& context, const Str& s, const Str* characters, bool left, bool right);
std::vector<Value> split_lines(Context& context, const Str& s, bool keep_ends);
Value join(Context& context, const Str& separator, const std::vector<Value>& items, bool only_strings);

// format.cpp: "..." % values and "...".format(values).
Value format_percent(Context& context, const Str& format, Value values);
Value format_braces(Context& context, const Str& format, const Args& args);

// json.cpp
struct JsonStyle {
  bool ascii = false, sort_keys = false;
  std::optional<std::string> indent;
  std::string item_separator, key_separator;
};
void write_json(Context& context, Marked& out, Value v, const JsonStyle& style, int depth = 0);

struct Namespace : Native {
  std::unordered_map<std::string, Value> values;
  const char* type() const override { return "Namespace"; }
  std::optional<Value> attribute(Interpreter&, std::string_view name) override;
  void set(Context& context, std::string_view name, Value value);
};

}  // namespace spindle::jinja
#endif
