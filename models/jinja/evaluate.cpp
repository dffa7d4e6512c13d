// Expressions.
#include <algorithm>

#include "models/jinja/interpreter.h"
#include "models/utf8.h"

namespace spindle::jinja {
namespace {

// Filters, tests and methods go over the text that they are given a few times at most.
void count_operands(Context& context, Value self, const Args& args) {
  const auto count = [&](Value v) {
    if (v.is(Kind::string)) context.work(v.str().bytes().size() / 64);
  };
  count(self);
  for (Value v : args.at) count(v);
  for (const auto& [name, v] : args.named) count(v);
}

// obj.method without its call.
struct BoundMethod : Native {
  Function function = nullptr;
  Value self;
  const char* type() const override { return "builtin_function_or_method"; }
  bool callable() const override { return true; }
  Value call(Interpreter& in, Args& args) override {
    count_operands(in.context(), self, args);
    return function(in, self, args);
  }
};

}  // namespace

Value Interpreter::evaluate(const Expr& e) {
  const Level level(context_, depth_, context_.limits.recursion);
  context_.work();
  context_.line = e.line;
  switch (e.kind) {
    case ExprKind::constant:
      return e.value;
    case ExprKind::name:
      return get(e);
    case ExprKind::list:
    case ExprKind::tuple: {
      std::vector<Value> items;
      for (const ExprPtr& item : e.items) items.push_back(evaluate(*item));
      return make_list(context_, std::move(items),
                       e.kind == ExprKind::list ? List::Type::list : List::Type::tuple);
    }
    case ExprKind::dict: {
      Dict* dict = context_.make<Dict>();
      for (size_t i = 0; i < e.items.size(); i += 2) {
        const Value key = evaluate(*e.items[i]);
        insert(context_, *dict, key, evaluate(*e.items[i + 1]));
      }
      return dict;
    }
    case ExprKind::attribute:
      return get_attribute(evaluate(*e.items[0]), e.text);
    case ExprKind::item: {
      const Value object = evaluate(*e.items[0]);
      return get_item(object, evaluate(*e.items[1]));
    }
    case ExprKind::slice:
      return evaluate_slice(e);
    case ExprKind::call:
      return evaluate_call(e);
    case ExprKind::filter:
      return evaluate_filter(e, nullptr);
    case ExprKind::test: {
      const Value value = evaluate(*e.items[0]);
      Args args;
      collect(e, args);
      context_.line = e.line;
      if (!e.test) context_.fail("the test '{}' is not supported", printable(e.text));
      count_operands(context_, value, args);
      return Value::boolean(e.test(*this, value, args));
    }
    case ExprKind::negate:
    case ExprKind::plus: {
      const Value v = evaluate(*e.items[0]);
      if (v.is_undefined()) fail_undefined(context_, v);
      if (!v.is_number()) context_.fail("a {} has no sign", type_name(v));
      if (v.is(Kind::real)) return e.kind == ExprKind::plus ? v : Value::floating(-v.real);
      if (e.kind == ExprKind::plus) return Value::integer(v.as_integer());
      return binary(context_, Op::subtract, Value::integer(0), v);
    }
    case ExprKind::logical_not:
      return Value::boolean(!is_true(evaluate(*e.items[0])));
    case ExprKind::logical_and: {
      const Value v = evaluate(*e.items[0]);
      return is_true(v) ? evaluate(*e.items[1]) : v;
    }
    case ExprKind::logical_or: {
      const Value v = evaluate(*e.items[0]);
      return is_true(v) ? v : evaluate(*e.items[1]);
    }
    case ExprKind::binary: {
      const Value a = evaluate(*e.items[0]), b = evaluate(*e.items[1]);
      context_.line = e.line;
      return binary(context_, e.op, a, b);
    }
    case ExprKind::comparison:
      return Value::boolean(evaluate_comparison(e));
    case ExprKind::condition:
      if (is_true(evaluate(*e.items[1]))) return evaluate(*e.items[0]);
      return e.items[2] ? evaluate(*e.items[2])
                        : make_undefined(context_, "an 'if' without 'else' that is false");
  }
  return {};
}

bool Interpreter::evaluate_comparison(const Expr& e) {
  Value a = evaluate(*e.items[0]);
  for (size_t i = 0; i < e.ops.size(); i++) {
    const Value b = evaluate(*e.items[i + 1]);
    context_.line = e.line;
    bool holds = false;
    switch (e.ops[i]) {
      case Op::equal:
        holds = equal(context_, a, b);
        break;
      case Op::not_equal:
        holds = !equal(context_, a, b);
        break;
      case Op::in:
        holds = contains(context_, b, a);
        break;
      case Op::not_in:
        holds = !contains(context_, b, a);
        break;
      case Op::less:
        holds = compare(context_, a, b, "<") == -1;
        break;
      case Op::less_equal: {
        const int c = compare(context_, a, b, "<=");
        holds = c == -1 || c == 0;
        break;
      }
      case Op::greater:
        holds = compare(context_, a, b, ">") == 1;
        break;
      default: {
        const int c = compare(context_, a, b, ">=");
        holds = c == 1 || c == 0;
      }
    }
    if (!holds) return false;
    a = b;
  }
  return true;
}

void Interpreter::collect(const Expr& e, Args& args) {
  for (const ExprPtr& a : e.arguments) args.at.push_back(evaluate(*a));
  for (const auto& [name, a] : e.named) args.named.emplace_back(name, evaluate(*a));
  if (e.star)
    for (Value v : iterate(context_, evaluate(*e.star))) args.at.push_back(v);
  if (e.star_star) {
    const Value more = evaluate(*e.star_star);
    if (!more.is(Kind::dict)) context_.fail("'**' wants a dict, found {}", type_name(more));
    for (const auto& [key, value] : more.dict().entries) {
      const std::string& name = get_string(context_, key, "an argument's name").bytes();
      if (args.named.size() == kMostArguments)
        context_.fail("more than {} named arguments of a call", kMostArguments);
      context_.work(1 + args.named.size() * (name.size() / 64));
      for (const auto& [other, v] : args.named)
        if (other == name) context_.fail("the argument '{}' is given twice", printable(name));
      args.named.emplace_back(name, value);
    }
  }
}

Value Interpreter::evaluate_call(const Expr& e) {
  const Expr& callee = *e.items[0];
  Value function;
  Args args;
  if (callee.kind == ExprKind::attribute) {
    const Value object = evaluate(*callee.items[0]);
    context_.line = e.line;
    if (const Function method = find_method(context_, object, callee.text)) {
      collect(e, args);
      context_.line = e.line;
      count_operands(context_, object, args);
      return method(*this, object, args);
    }
    function = get_attribute(object, callee.text);
  } else {
    function = evaluate(callee);
  }
  collect(e, args);
  context_.line = e.line;
  return call(function, args);
}

Value Interpreter::call(Value callee, Args& args) {
  if (callee.is_undefined()) fail_undefined(context_, callee);
  if (!callee.is(Kind::native) || !callee.native().callable())
    context_.fail("a {} cannot be called", type_name(callee));
  return callee.native().call(*this, args);
}

Value Interpreter::evaluate_filter(const Expr& e, const Value* input) {
  const Value value = e.items[0] ? (e.items[0]->kind == ExprKind::filter ? evaluate_filter(*e.items[0], input)
                                                                         : evaluate(*e.items[0]))
                                 : *input;
  Args args;
  collect(e, args);
  context_.line = e.line;
  context_.work();
  if (!e.filter) context_.fail("the filter '{}' is not supported", printable(e.text));
  count_operands(context_, value, args);
  return e.filter(*this, value, args);
}

Value Interpreter::apply_filter(std::string_view name, Value input, Args& args) {
  const Function filter = find_filter(name);
  if (!filter) context_.fail("the filter '{}' is not supported", printable(name));
  context_.work();
  count_operands(context_, input, args);
  return filter(*this, input, args);
}

bool Interpreter::apply_test(std::string_view name, Value value, Args& args) {
  const Predicate test = find_test(name);
  if (!test) context_.fail("the test '{}' is not supported", printable(name));
  context_.work();
  count_operands(context_, value, args);
  return test(*this, value, args);
}

Value Interpreter::get_attribute(Value object, const std::string& name) {
  if (object.is_undefined()) fail_undefined(context_, object);
  if (name.starts_with("__")) context_.fail("access to the attribute '{}' is not allowed", printable(name));
  if (const Function method = find_method(context_, object, name)) {
    auto* bound = context_.make<BoundMethod>();
    bound->function = method;
    bound->self = object;
    return bound;
  }
  if (object.is(Kind::dict))
    if (const Value* v = find(context_, object.dict(), name)) return *v;
  if (object.is(Kind::native))
    if (const auto v = object.native().attribute(*this, name)) return *v;
  return make_undefined(context_,
                        fmt::format("the attribute '{}' of a {}", printable(name), type_name(object)));
}

Value Interpreter::get_item(Value object, Value key) {
  if (object.is_undefined()) fail_undefined(context_, object);
  if (object.is(Kind::dict))
    if (const Value* v = find(context_, object.dict(), key)) return *v;
  if (key.is_integral()) {
    const auto length = static_cast<int64_t>(find_length(object).value_or(0));
    int64_t i = key.as_integer();
    if (i < 0) i += length;
    if (i >= 0 && i < length) {
      if (object.is(Kind::list) && object.list().is_sequence())
        return object.list().items[static_cast<size_t>(i)];
      if (object.is(Kind::string)) {
        const Str& s = object.str();
        const auto at = static_cast<size_t>(i);
        const size_t begin = byte_of(context_, s, at);
        size_t end = begin + 1;
        while (end < s.bytes().size() && (s.bytes()[end] & 0xC0) == 0x80) end++;
        return substring(context_, s, begin, end);
      }
    }
    return make_undefined(context_,
                          fmt::format("the element {} of a {}", key.as_integer(), type_name(object)));
  }
  if (key.is(Kind::string)) return get_attribute(object, key.str().bytes());
  return make_undefined(context_,
                        fmt::format("the element of a {} at a {}", type_name(object), type_name(key)));
}

Value Interpreter::evaluate_slice(const Expr& e) {
  const Value object = evaluate(*e.items[0]);
  std::optional<int64_t> bounds[3];
  bool integers = true;
  for (size_t i = 0; i < 3; i++) {
    if (!e.items[i + 1]) continue;
    const Value v = evaluate(*e.items[i + 1]);
    if (v.is(Kind::none)) continue;
    if (v.is_undefined()) integers = false;
    else if (v.is_integral()) bounds[i] = v.as_integer();
    else integers = false;
  }
  context_.line = e.line;
  if (object.is_undefined()) fail_undefined(context_, object);
  const bool sliceable = object.is(Kind::string) || (object.is(Kind::list) && object.list().is_sequence());
  if (!sliceable) context_.fail("a {} cannot be sliced", type_name(object));
  if (!integers) context_.fail("the bounds of a slice are to be ints");
  const int64_t step = bounds[2].value_or(1), n = static_cast<int64_t>(*find_length(object));
  if (step == 0) context_.fail("the step of a slice is 0");
  // As Python's slice.indices.
  const auto place = [&](std::optional<int64_t> v, int64_t otherwise) {
    if (!v) return otherwise;
    const int64_t lowest = step < 0 ? -1 : 0, highest = step < 0 ? n - 1 : n;
    const int64_t at = *v < 0 ? (*v < -n ? lowest : *v + n) : *v;
    return std::clamp(at, lowest, std::max(highest, lowest));
  };
  const int64_t start = place(bounds[0], step < 0 ? n - 1 : 0), stop = place(bounds[1], step < 0 ? -1 : n);
  if (object.is(Kind::string)) {
    const Str& s = object.str();
    if (step == 1)
      return stop <= start ? make_string(context_, "")
                           : substring(context_, s, byte_of(context_, s, static_cast<size_t>(start)),
                                       byte_of(context_, s, static_cast<size_t>(stop)));
    const std::vector<Value> characters = iterate(context_, object);
    Marked out;
    for (int64_t i = start; step > 0 ? i < stop : i > stop; i += step) {
      out.append(characters[static_cast<size_t>(i)].str().value);
      if (step > 0 ? i > INT64_MAX - step : i < INT64_MIN - step) break;
    }
    return make_string(context_, std::move(out));
  }
  std::vector<Value> items;
  for (int64_t i = start; step > 0 ? i < stop : i > stop; i += step) {
    items.push_back(object.list().items[static_cast<size_t>(i)]);
    if (step > 0 ? i > INT64_MAX - step : i < INT64_MIN - step) break;
  }
  return make_list(context_, std::move(items), object.list().type);
}

}  // namespace spindle::jinja
