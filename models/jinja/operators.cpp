// Arithmetic as Python's: floor division and modulo of negative numbers, sequences that add and repeat.
#include <algorithm>
#include <cmath>

#include "models/jinja/interpreter.h"

namespace spindle::jinja {
namespace {

const char* symbol(Op op) {
  constexpr const char* kSymbols[] = {"+", "-", "*", "/", "//", "%", "**", "~"};
  return kSymbols[static_cast<int>(op)];
}

[[noreturn]] void fail_types(Context& context, Op op, Value a, Value b) {
  for (Value v : {a, b})
    if (v.is_undefined()) fail_undefined(context, v);
  context.fail("'{}' is not defined for {} and {}", symbol(op), type_name(a), type_name(b));
}

double python_modulo(double a, double b) {
  double r = std::fmod(a, b);
  if (r != 0 && (r < 0) != (b < 0)) r += b;
  return r == 0 ? std::copysign(0.0, b) : r;
}

double python_floor_divide(double a, double b) {
  const double remainder = std::fmod(a, b);
  double div = (a - remainder) / b;
  if (remainder != 0 && (remainder < 0) != (b < 0)) div -= 1;
  if (div == 0) return std::copysign(0.0, a / b);
  const double floored = std::floor(div);
  return div - floored > 0.5 ? floored + 1 : floored;
}

Value power(Context& context, Value a, Value b) {
  if (a.is_integral() && b.is_integral() && b.as_integer() >= 0) {
    int64_t result = 1, base = a.as_integer(), e = b.as_integer();
    bool over = false;
    while (e > 0) {
      if (e & 1) over |= __builtin_mul_overflow(result, base, &result);
      e >>= 1;
      if (e > 0) over |= __builtin_mul_overflow(base, base, &base);
      if (over) context.fail("{} ** {} does not fit into 64 bits", a.as_integer(), b.as_integer());
    }
    return Value::integer(result);
  }
  const double x = a.as_real(), y = b.as_real();
  if (x == 0 && y < 0) context.fail("0 to a negative power");
  if (x < 0 && y != std::floor(y)) context.fail("a complex number, {} ** {}, is not supported", x, y);
  const double r = std::pow(x, y);
  if (std::isinf(r) && std::isfinite(x) && std::isfinite(y)) context.fail("{} ** {} is out of range", x, y);
  return Value::floating(r);
}

Value arithmetic(Context& context, Op op, Value a, Value b) {
  if (op == Op::power) return power(context, a, b);
  const bool divides = op == Op::divide || op == Op::floor_divide || op == Op::modulo;
  if (divides && b.as_real() == 0) context.fail("division by zero");
  if (a.is_integral() && b.is_integral() && op != Op::divide) {
    const int64_t x = a.as_integer(), y = b.as_integer();
    int64_t r = 0;
    bool over = false;
    if (op == Op::add) over = __builtin_add_overflow(x, y, &r);
    if (op == Op::subtract) over = __builtin_sub_overflow(x, y, &r);
    if (op == Op::multiply) over = __builtin_mul_overflow(x, y, &r);
    if (divides) {
      over = x == INT64_MIN && y == -1;
      if (!over) {
        int64_t q = x / y, m = x % y;
        if (m != 0 && (m < 0) != (y < 0)) q--, m += y;
        r = op == Op::modulo ? m : q;
      }
    }
    if (over) context.fail("{} {} {} does not fit into 64 bits", x, symbol(op), y);
    return Value::integer(r);
  }
  const double x = a.as_real(), y = b.as_real();
  switch (op) {
    case Op::add:
      return Value::floating(x + y);
    case Op::subtract:
      return Value::floating(x - y);
    case Op::multiply:
      return Value::floating(x * y);
    case Op::divide:
      return Value::floating(x / y);
    case Op::floor_divide:
      return Value::floating(python_floor_divide(x, y));
    default:
      return Value::floating(python_modulo(x, y));
  }
}

// A sequence several times; nothing when these are not a sequence and a number.
std::optional<Value> repeat(Context& context, Value a, Value b) {
  if (a.is_integral()) std::swap(a, b);
  if (!b.is_integral()) return {};
  const auto n = static_cast<size_t>(std::max<int64_t>(b.as_integer(), 0));
  if (a.is(Kind::string)) {
    const Marked& text = a.str().value;
    if (text.text.empty() || n == 0) return make_string(context, "");
    if (n > context.limits.memory_bytes / text.text.size()) context.charge(context.limits.memory_bytes);
    context.charge(n * (text.text.size() + text.input.size() * sizeof(Span)));
    Marked all;
    if (text.input.empty()) {  // by doubling
      const size_t want = n * text.text.size();
      all.text.reserve(want);
      all.text = text.text;
      while (all.text.size() < want) all.text.append(all.text, 0, want - all.text.size());
    } else {
      for (size_t i = 0; i < n; i++) all.append(text);
    }
    return make_string(context, std::move(all));
  }
  if (!a.is(Kind::list) || (a.list().type != List::Type::list && a.list().type != List::Type::tuple))
    return {};
  const List& list = a.list();
  std::vector<Value> all;
  if (!list.items.empty()) {
    if (n > context.limits.memory_bytes / list.items.size()) context.charge(context.limits.memory_bytes);
    context.charge(n * list.items.size() * sizeof(Value));
    for (size_t i = 0; i < n; i++) all.insert(all.end(), list.items.begin(), list.items.end());
  }
  return make_list(context, std::move(all), list.type);
}

}  // namespace

void fail_undefined(Context& context, Value v) {
  context.fail("{} is undefined", v.object ? v.str().bytes() : "a value");
}

Value binary(Context& context, Op op, Value a, Value b) {
  if (op == Op::concatenate) {
    Marked out;
    write_str(context, out, a);
    write_str(context, out, b);
    return make_string(context, std::move(out));
  }
  if (a.is_number() && b.is_number()) return arithmetic(context, op, a, b);
  if (op == Op::add && a.is(Kind::string) && b.is(Kind::string)) {
    Marked out;
    context.charge(a.str().bytes().size() + b.str().bytes().size());
    out.append(a.str().value);
    out.append(b.str().value);
    return make_string(context, std::move(out));
  }
  if (op == Op::add && a.is(Kind::list) && b.is(Kind::list) && a.list().type == b.list().type &&
      (a.list().type == List::Type::list || a.list().type == List::Type::tuple)) {
    std::vector<Value> items = a.list().items;
    items.insert(items.end(), b.list().items.begin(), b.list().items.end());
    return make_list(context, std::move(items), a.list().type);
  }
  if (op == Op::modulo && a.is(Kind::string)) return format_percent(context, a.str(), b);
  if (op == Op::multiply)
    if (const auto all = repeat(context, a, b)) return *all;
  fail_types(context, op, a, b);
}

}  // namespace spindle::jinja
