// Values of templates with Python's semantics. Objects live in a Context and die with it, so cycles are no
// leak.
#ifndef SPINDLE_MODELS_JINJA_VALUE_H
#define SPINDLE_MODELS_JINJA_VALUE_H
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "models/jinja/context.h"

namespace spindle::jinja {

class Interpreter;
class Args;
struct Str;
struct List;
struct Dict;
struct Native;

enum class Kind : uint8_t { undefined, none, boolean, integer, real, string, list, dict, native };

struct Value {
  Kind kind = Kind::undefined;
  union {
    bool truth;
    int64_t number;
    double real;
    Object* object = nullptr;  // of an undefined value: a Str that says what was not there, or null
  };

  Value() = default;
  static Value none() { return Value(Kind::none); }
  static Value boolean(bool b) {
    Value v(Kind::boolean);
    v.truth = b;
    return v;
  }
  static Value integer(int64_t i) {
    Value v(Kind::integer);
    v.number = i;
    return v;
  }
  static Value floating(double d) {
    Value v(Kind::real);
    v.real = d;
    return v;
  }
  Value(Str* s);
  Value(List* l);
  Value(Dict* d);
  Value(Native* n);

  bool is(Kind k) const { return kind == k; }
  bool is_undefined() const { return kind == Kind::undefined; }
  bool is_integral() const { return kind == Kind::integer || kind == Kind::boolean; }  // bool is an int
  bool is_number() const { return is_integral() || kind == Kind::real; }
  int64_t as_integer() const { return kind == Kind::boolean ? truth : number; }
  double as_real() const { return kind == Kind::real ? real : static_cast<double>(as_integer()); }
  Str& str() const;
  List& list() const;
  Dict& dict() const;
  Native& native() const;

 private:
  explicit Value(Kind k) : kind(k) {}
};

struct Str : Object {
  Marked value;
  size_t length = 0;  // code points
  const std::string& bytes() const { return value.text; }
  bool ascii() const { return length == value.text.size(); }
};

// What Python has as list, tuple, range, iterator and views of a dict.
struct List : Object {
  enum class Type : uint8_t { list, tuple, range, generator, keys, values, items };
  Type type = Type::list;
  std::vector<Value> items;
  bool is_sequence() const { return type == Type::list || type == Type::tuple || type == Type::range; }
};

// In the order of insertion.
struct Dict : Object {
  std::vector<std::pair<Value, Value>> entries;
  std::unordered_map<std::string, size_t> index;  // by what hash_key says
};

using Function = Value (*)(Interpreter&, Value self, Args& args);  // filters and methods
using Predicate = bool (*)(Interpreter&, Value self, Args& args);  // tests

// Functions, macros, loop, namespace, ...
struct Native : Object {
  virtual const char* type() const = 0;
  virtual bool callable() const { return false; }
  virtual Value call(Interpreter&, Args&);
  virtual std::optional<Value> attribute(Interpreter&, std::string_view name);
};

inline Value::Value(Str* s) : kind(Kind::string) { object = s; }
inline Value::Value(List* l) : kind(Kind::list) { object = l; }
inline Value::Value(Dict* d) : kind(Kind::dict) { object = d; }
inline Value::Value(Native* n) : kind(Kind::native) { object = n; }
inline Str& Value::str() const { return static_cast<Str&>(*object); }
inline List& Value::list() const { return static_cast<List&>(*object); }
inline Dict& Value::dict() const { return static_cast<Dict&>(*object); }
inline Native& Value::native() const { return static_cast<Native&>(*object); }

Value make_string(Context&, Marked text);
Value make_string(Context&, std::string text, bool input = false);
Value make_list(Context&, std::vector<Value> items, List::Type type = List::Type::list);
Value make_undefined(Context&, std::string what);

// Containers. A key that Python cannot hash is an error.
std::optional<std::string> hash_key(Context&, Value key, int depth = 0);  // nothing when it has no hash
const Value* find(Context&, const Dict&, Value key);
const Value* find(Context&, const Dict&, std::string_view key);
void insert(Context&, Dict&, Value key, Value value);
void push(Context&, List&, Value);

// Python's names of types: "str", "int", "dict".
std::string type_name(Value);
bool is_true(Value);
bool equal(Context&, Value, Value, int depth = 0);
int compare(Context&, Value, Value, const char* op = "<", int depth = 0);  // -1, 0, 1; unordered (NaN): 2
bool contains(Context&, Value container, Value item);
// What `for` goes over. A generator is empty afterwards.
std::vector<Value> iterate(Context&, Value);
std::optional<size_t> find_length(Value);

// str() and repr().
void write_str(Context&, Marked& out, Value);
void write_repr(Context&, Marked& out, Value, int depth = 0);
Str& to_str(Context&, Value);
std::string format_real(double);
std::string repr_text(std::string_view);  // of a string, for messages too

// Where `what` begins in the text, at `from` or later: linear in both, and counted. npos: nowhere.
size_t find_text(Context&, std::string_view text, std::string_view what, size_t from = 0);
size_t find_last_text(Context&, std::string_view text, std::string_view what);

// Slices of strings by code points.
size_t byte_of(Context&, const Str&, size_t code_point);
Value substring(Context&, const Str&, size_t first_byte, size_t last_byte);

}  // namespace spindle::jinja
#endif
