// The tests behind `is`.
#include <algorithm>

#include "models/jinja/interpreter.h"
#include "models/jinja/unicode.h"

namespace spindle::jinja {
namespace {

Value one(Interpreter& in, Args& args, std::string_view what) {
  return *args.bind(in.context(), what, {"other"}, 1)[0];
}

template <class Is>
bool plain(Interpreter& in, Args& args, Is&& is) {
  args.bind(in.context(), "a test", {});
  return is();
}

bool is_cased(Context& context, Value v, bool lower) {
  const std::string& text = to_str(context, v).bytes();
  bool any = false;
  for (size_t at = 0; at < text.size();) {
    const char32_t c = decode_at(text, at);
    if (!known_case(c)) context.fail("the case of U+{:04X} is not known here", static_cast<uint32_t>(c));
    if (lower ? is_upper(c) : is_lower(c)) return false;
    any |= lower ? is_lower(c) : is_upper(c);
  }
  return any;
}

bool same_as(Value a, Value b) {
  if (a.kind != b.kind) return false;
  if (a.is(Kind::none) || a.is_undefined()) return true;
  if (a.is_integral()) return a.as_integer() == b.as_integer();
  if (a.is(Kind::real)) return a.real == b.real;
  if (a.is(Kind::string)) return a.str().bytes() == b.str().bytes();
  return a.object == b.object;
}

int64_t modulo(Interpreter& in, Value v, int64_t by) {
  if (v.is_undefined()) fail_undefined(in.context(), v);
  const Value r = binary(in.context(), Op::modulo, v, Value::integer(by));
  if (!r.is_number()) in.context().fail("'%' wants a number");
  return r.is_integral() ? r.as_integer() : r.real == 0 ? 0 : r.real == 1 ? 1 : 2;
}

bool is_defined(Interpreter& in, Value v, Args& a) {
  return plain(in, a, [&] { return !v.is_undefined(); });
}
bool is_list_type(Value v) { return v.is(Kind::list) && v.list().is_sequence(); }
bool eq(Interpreter& in, Value v, Args& a) { return equal(in.context(), v, one(in, a, "eq")); }
bool ne(Interpreter& in, Value v, Args& a) { return !equal(in.context(), v, one(in, a, "ne")); }
bool lt(Interpreter& in, Value v, Args& a) { return compare(in.context(), v, one(in, a, "lt"), "<") == -1; }
bool gt(Interpreter& in, Value v, Args& a) { return compare(in.context(), v, one(in, a, "gt"), ">") == 1; }
bool le(Interpreter& in, Value v, Args& a) {
  const int c = compare(in.context(), v, one(in, a, "le"), "<=");
  return c == -1 || c == 0;
}
bool ge(Interpreter& in, Value v, Args& a) {
  const int c = compare(in.context(), v, one(in, a, "ge"), ">=");
  return c == 1 || c == 0;
}

const NamedTest kTests[] = {
    {"defined", is_defined},
    {"undefined", [](Interpreter& in, Value v, Args& a) { return !is_defined(in, v, a); }},
    {"none",
     [](Interpreter& in, Value v, Args& a) { return plain(in, a, [&] { return v.is(Kind::none); }); }},
    {"boolean",
     [](Interpreter& in, Value v, Args& a) { return plain(in, a, [&] { return v.is(Kind::boolean); }); }},
    {"true", [](Interpreter& in, Value v,
                Args& a) { return plain(in, a, [&] { return v.is(Kind::boolean) && v.truth; }); }},
    {"false", [](Interpreter& in, Value v,
                 Args& a) { return plain(in, a, [&] { return v.is(Kind::boolean) && !v.truth; }); }},
    {"integer",
     [](Interpreter& in, Value v, Args& a) { return plain(in, a, [&] { return v.is(Kind::integer); }); }},
    {"float",
     [](Interpreter& in, Value v, Args& a) { return plain(in, a, [&] { return v.is(Kind::real); }); }},
    {"number", [](Interpreter& in, Value v, Args& a) { return plain(in, a, [&] { return v.is_number(); }); }},
    {"string",
     [](Interpreter& in, Value v, Args& a) { return plain(in, a, [&] { return v.is(Kind::string); }); }},
    {"mapping",
     [](Interpreter& in, Value v, Args& a) { return plain(in, a, [&] { return v.is(Kind::dict); }); }},
    {"sequence",
     [](Interpreter& in, Value v, Args& a) {
       return plain(in, a, [&] {
         return v.is(Kind::string) || v.is(Kind::dict) || is_list_type(v) || v.is_undefined();
       });
     }},
    {"iterable",
     [](Interpreter& in, Value v, Args& a) {
       return plain(in, a, [&] {
         return v.is(Kind::string) || v.is(Kind::dict) || v.is(Kind::list) || v.is_undefined();
       });
     }},
    {"callable",
     [](Interpreter& in, Value v, Args& a) {
       return plain(in, a, [&] { return v.is_undefined() || (v.is(Kind::native) && v.native().callable()); });
     }},
    {"even",
     [](Interpreter& in, Value v, Args& a) { return plain(in, a, [&] { return modulo(in, v, 2) == 0; }); }},
    {"odd",
     [](Interpreter& in, Value v, Args& a) { return plain(in, a, [&] { return modulo(in, v, 2) == 1; }); }},
    {"divisibleby",
     [](Interpreter& in, Value v, Args& args) {
       const Value by = *args.bind(in.context(), "divisibleby", {"num"}, 1)[0];
       const Value r = binary(in.context(), Op::modulo, v, by);
       return r.is_number() && r.as_real() == 0;
     }},
    {"in",
     [](Interpreter& in, Value v, Args& args) {
       return contains(in.context(), *args.bind(in.context(), "in", {"seq"}, 1)[0], v);
     }},
    {"sameas", [](Interpreter& in, Value v, Args& a) { return same_as(v, one(in, a, "sameas")); }},
    {"lower", [](Interpreter& in, Value v,
                 Args& a) { return plain(in, a, [&] { return is_cased(in.context(), v, true); }); }},
    {"upper", [](Interpreter& in, Value v,
                 Args& a) { return plain(in, a, [&] { return is_cased(in.context(), v, false); }); }},
    {"filter",
     [](Interpreter& in, Value v, Args& a) {
       return plain(in, a, [&] { return v.is(Kind::string) && find_filter(v.str().bytes()); });
     }},
    {"test",
     [](Interpreter& in, Value v, Args& a) {
       return plain(in, a, [&] { return v.is(Kind::string) && find_test(v.str().bytes()); });
     }},
    {"eq", eq},
    {"==", eq},
    {"equalto", eq},
    {"ne", ne},
    {"!=", ne},
    {"lt", lt},
    {"<", lt},
    {"lessthan", lt},
    {"gt", gt},
    {">", gt},
    {"greaterthan", gt},
    {"le", le},
    {"<=", le},
    {"ge", ge},
    {">=", ge},
};

}  // namespace

Predicate find_test(std::string_view name) {
  const auto found = std::ranges::find(kTests, name, &NamedTest::name);
  return found == std::end(kTests) ? nullptr : found->test;
}

}  // namespace spindle::jinja
