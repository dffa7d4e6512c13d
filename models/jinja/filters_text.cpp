// Filters of text, and of single values.
#include <algorithm>
#include <charconv>
#include <cmath>

#include "models/jinja/interpreter.h"
#include "models/jinja/unicode.h"

namespace spindle::jinja {
namespace {

Str& soft(Interpreter& in, Value v) { return to_str(in.context(), v); }

// Jinja2's title: words begin after these characters, unlike str.title's.
Value title(Interpreter& in, Value v, Args& args) {
  Context& context = in.context();
  args.bind(context, "title", {});
  const Str& s = soft(in, v);
  const auto ends_word = [](char32_t c) {
    return c == '-' || c == '(' || c == '{' || c == '[' || c == '<' || is_space(c);
  };
  Marked out;
  bool at_start = true;
  for (size_t at = 0; at < s.bytes().size();) {
    const size_t begin = at;
    const char32_t c = decode_at(s.bytes(), at);
    const Value one = substring(context, s, begin, at);
    out.append(change_case(context, one.str(), at_start ? Case::upper : Case::lower).str().value);
    at_start = ends_word(c);
  }
  return make_string(context, std::move(out));
}

template <Case kTo>
Value cased(Interpreter& in, Value v, Args& args) {
  args.bind(in.context(), "a filter", {});
  return change_case(in.context(), soft(in, v), kTo);
}

Value trim(Interpreter& in, Value v, Args& args) {
  const auto a = args.bind(in.context(), "trim", {"chars"});
  const bool given = a[0] && !a[0]->is(Kind::none);
  return strip(in.context(), soft(in, v), given ? &get_string(in.context(), *a[0], "trim") : nullptr, true,
               true);
}

Value replace_filter(Interpreter& in, Value v, Args& args) {
  const auto a = args.bind(in.context(), "replace", {"old", "new", "count"}, 2);
  const bool given = a[2] && !a[2]->is(Kind::none);
  const int64_t most = given ? get_integer(in.context(), *a[2], "replace") : -1;
  return replace(in.context(), soft(in, v), soft(in, *a[0]), soft(in, *a[1]), most < 0 ? INT64_MAX : most);
}

Value indent(Interpreter& in, Value v, Args& args) {
  Context& context = in.context();
  const auto a = args.bind(context, "indent", {"width", "first", "blank"});
  Str* by = nullptr;
  if (a[0] && a[0]->is(Kind::string)) {
    by = &a[0]->str();
  } else {
    const int64_t width = get_integer_or(context, a[0], "indent", 4);
    context.charge(static_cast<size_t>(std::clamp<int64_t>(width, 0, INT64_MAX / 2)));
    by = &make_string(context, std::string(static_cast<size_t>(std::max<int64_t>(width, 0)), ' ')).str();
  }
  const bool blank = get_flag(a[2]);
  Marked text;
  if (!v.is(Kind::string)) context.fail("indent: found a {}, expected a str", type_name(v));
  text.append(v.str().value);
  text.append("\n");
  const Value whole = make_string(context, std::move(text));
  const std::vector<Value> lines = split_lines(context, whole.str(), false);
  Marked out;
  if (get_flag(a[1])) out.append(by->value);
  for (size_t i = 0; i < lines.size(); i++) {
    context.charge(by->bytes().size() + 1);
    if (i > 0) out.append("\n");
    if (i > 0 && (blank || lines[i].str().length > 0)) out.append(by->value);
    out.append(lines[i].str().value);
  }
  return make_string(context, std::move(out));
}

Value escape(Interpreter& in, Value v, Args& args) {
  args.bind(in.context(), "escape", {});
  const Str& s = soft(in, v);
  in.context().charge(5 * s.bytes().size());
  Marked out;
  for (size_t i = 0; i < s.bytes().size(); i++) {
    const char c = s.bytes()[i];
    const char* to = c == '&'    ? "&amp;"
                     : c == '<'  ? "&lt;"
                     : c == '>'  ? "&gt;"
                     : c == '"'  ? "&#34;"
                     : c == '\'' ? "&#39;"
                                 : nullptr;
    Marked one;
    one.append(s.value, i, i + 1);
    if (to) out.append(to, !one.input.empty());
    else out.append(one);
  }
  return make_string(in.context(), std::move(out));
}

Value as_string(Interpreter& in, Value v, Args& args) {
  args.bind(in.context(), "string", {});
  return &soft(in, v);
}

Value format(Interpreter& in, Value v, Args& args) {
  Context& context = in.context();
  if (!args.at.empty() && !args.named.empty()) context.fail("format: values with and without names");
  if (args.named.empty())
    return format_percent(context, soft(in, v), make_list(context, args.at, List::Type::tuple));
  Dict* dict = context.make<Dict>();
  for (const auto& [name, value] : args.named) insert(context, *dict, make_string(context, name), value);
  return format_percent(context, soft(in, v), dict);
}

Value center(Interpreter& in, Value v, Args& args) {
  const auto a = args.bind(in.context(), "center", {"width"});
  Args width;
  width.at.push_back(a[0].value_or(Value::integer(80)));
  return find_method(in.context(), Value(&soft(in, v)), "center")(in, &soft(in, v), width);
}

Value word_count(Interpreter& in, Value v, Args& args) {
  args.bind(in.context(), "wordcount", {});
  const Str& s = soft(in, v);
  if (!s.ascii()) in.context().fail("wordcount of text that is not ASCII is not supported");
  int64_t n = 0;
  bool in_word = false;
  for (char c : s.bytes()) {
    const bool letter =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
    n += letter && !in_word;
    in_word = letter;
  }
  return Value::integer(n);
}

Value truncate(Interpreter& in, Value v, Args& args) {
  Context& context = in.context();
  const auto a = args.bind(context, "truncate", {"length", "killwords", "end", "leeway"});
  if (!v.is(Kind::string)) context.fail("truncate: found a {}, expected a str", type_name(v));
  const Str& s = v.str();
  const int64_t length = get_integer_or(context, a[0], "truncate", 255),
                leeway = get_integer_or(context, a[3], "truncate", 5);
  const Value end = a[2] ? *a[2] : make_string(context, "...");
  const Str& tail = get_string(context, end, "truncate");
  if (length < static_cast<int64_t>(tail.length))
    context.fail("truncate: a length of {}, expected at least {}", length, tail.length);
  if (leeway < 0) context.fail("truncate: a leeway of {}", leeway);
  if (static_cast<int64_t>(s.length) <= length + std::min<int64_t>(leeway, 1 << 30)) return v;
  size_t cut = byte_of(context, s, static_cast<size_t>(length) - tail.length);
  if (!get_flag(a[1]))
    if (const size_t space = s.bytes().substr(0, cut).rfind(' '); space != std::string::npos) cut = space;
  Marked out;
  out.append(s.value, 0, cut);
  out.append(tail.value);
  return make_string(context, std::move(out));
}

// Python's int(text) and float(text): surrounding whitespace and single underscores between digits are fine.
std::string numeral(const std::string& text) {
  size_t begin = 0, end = text.size();
  const auto space = [&](size_t i) {
    return static_cast<unsigned char>(text[i]) < 0x80 && is_space(static_cast<char32_t>(text[i]));
  };
  while (begin < end && space(begin)) begin++;
  while (end > begin && space(end - 1)) end--;
  std::string out;
  const auto alnum = [&](size_t i) { return std::isalnum(static_cast<unsigned char>(text[i])) != 0; };
  for (size_t i = begin; i < end; i++) {
    if (text[i] == '_' && i > begin && i + 1 < end && alnum(i - 1) && alnum(i + 1)) continue;
    out += text[i] == '_' ? '?' : text[i];
  }
  return out;
}

std::optional<double> parse_real(const std::string& text) {
  std::string n = numeral(text);
  if (n.starts_with('+')) n.erase(0, 1);
  if (n.starts_with('+') || n.empty()) return {};
  std::string lower = n;
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  const bool negative = lower.starts_with('-');
  const std::string bare = lower.substr(negative);
  if (bare == "inf" || bare == "infinity") return negative ? -INFINITY : INFINITY;
  if (bare == "nan") return NAN;
  if (bare.empty() || bare.find_first_not_of("0123456789.e+-") != bare.npos || bare[0] == '+' ||
      bare[0] == '-')
    return {};
  double d = 0;
  const auto r = std::from_chars(lower.data(), lower.data() + lower.size(), d);
  if (r.ptr != lower.data() + lower.size() || r.ec == std::errc::invalid_argument) return {};
  if (r.ec == std::errc::result_out_of_range) return std::strtod(lower.c_str(), nullptr);
  return d;
}

Value as_int(Interpreter& in, Value v, Args& args) {
  Context& context = in.context();
  const auto a = args.bind(context, "int", {"default", "base"});
  const Value otherwise = a[0].value_or(Value::integer(0));
  if (v.is_undefined()) fail_undefined(context, v);
  const auto from_real = [&](double d) {
    if (std::isnan(d) || std::isinf(d)) return otherwise;
    if (std::abs(d) >= 9.2e18) context.fail("int: {} does not fit into 64 bits", d);
    return Value::integer(static_cast<int64_t>(d));
  };
  if (v.is_integral()) return Value::integer(v.as_integer());
  if (v.is(Kind::real)) return from_real(v.real);
  if (!v.is(Kind::string)) return otherwise;
  const int64_t base = get_integer_or(context, a[1], "int", 10);
  if (base != 10 && base != 16 && base != 8 && base != 2)
    context.fail("int: the base {} is not supported", base);
  std::string n = numeral(v.str().bytes());
  const bool negative = n.starts_with('-');
  if (negative || n.starts_with('+')) n.erase(0, 1);
  const std::string prefix = base == 16 ? "xX" : base == 8 ? "oO" : "bB";
  if (base != 10 && n.size() > 2 && n[0] == '0' && prefix.find(n[1]) != prefix.npos) n.erase(0, 2);
  int64_t i = 0;
  const std::string signed_text = (negative ? "-" : "") + n;
  const auto r =
      std::from_chars(signed_text.data(), signed_text.data() + signed_text.size(), i, static_cast<int>(base));
  const bool digits_first = !n.empty() && n[0] != '-' && n[0] != '+';
  if (digits_first && r.ptr == signed_text.data() + signed_text.size()) {
    if (r.ec == std::errc::result_out_of_range)
      context.fail("int: {} does not fit into 64 bits", n.substr(0, 40));
    if (r.ec == std::errc()) return Value::integer(i);
  }
  const auto d = parse_real(v.str().bytes());
  return d ? from_real(*d) : otherwise;
}

Value as_float(Interpreter& in, Value v, Args& args) {
  const auto a = args.bind(in.context(), "float", {"default"});
  if (v.is_undefined()) fail_undefined(in.context(), v);
  if (v.is_number()) return Value::floating(v.as_real());
  if (v.is(Kind::string))
    if (const auto d = parse_real(v.str().bytes())) return Value::floating(*d);
  return a[0].value_or(Value::floating(0));
}

Value absolute(Interpreter& in, Value v, Args& args) {
  args.bind(in.context(), "abs", {});
  if (v.is_undefined()) fail_undefined(in.context(), v);
  if (!v.is_number()) in.context().fail("abs: found a {}, expected a number", type_name(v));
  if (v.is(Kind::real)) return Value::floating(std::abs(v.real));
  if (v.as_integer() == INT64_MIN) in.context().fail("abs: the number does not fit into 64 bits");
  return Value::integer(std::abs(v.as_integer()));
}

Value round(Interpreter& in, Value v, Args& args) {
  Context& context = in.context();
  const auto a = args.bind(context, "round", {"precision", "method"});
  if (v.is_undefined()) fail_undefined(context, v);
  if (!v.is_number()) context.fail("round: found a {}, expected a number", type_name(v));
  const int64_t precision = get_integer_or(context, a[0], "round", 0);
  const std::string method = a[1] ? get_string(context, *a[1], "round").bytes() : "common";
  if (method != "common" && method != "ceil" && method != "floor")
    context.fail("round: the method '{}', allowed are common, ceil and floor", method);
  if (std::abs(precision) > 300) context.fail("round: a precision of {}", precision);
  if (method == "common") {
    if (v.is_integral()) {
      if (precision >= 0) return Value::integer(v.as_integer());
      context.fail("round: an int to a precision of {} is not supported", precision);
    }
    const double d = v.real;
    if (!std::isfinite(d)) return v;
    if (precision < 0) {
      const double unit = std::pow(10.0, static_cast<double>(-precision));
      return Value::floating(std::nearbyint(d / unit) * unit);
    }
    return Value::floating(std::strtod(fmt::format("{:.{}f}", d, precision).c_str(), nullptr));
  }
  // As Jinja2: through a power of ten, an int where precision and power are.
  const Value power = binary(context, Op::power, Value::integer(10), Value::integer(precision));
  const Value scaled = binary(context, Op::multiply, v, power);
  if (!std::isfinite(scaled.as_real())) context.fail("round: the number is out of range");
  const double whole = method == "ceil" ? std::ceil(scaled.as_real()) : std::floor(scaled.as_real());
  return Value::floating((whole == 0 ? 0.0 : whole) / power.as_real());  // through Python's int 0
}

Value tojson(Interpreter& in, Value v, Args& args) {
  Context& context = in.context();
  const auto a = args.bind(context, "tojson", {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonStyle style;
  style.ascii = get_flag(a[0]);
  style.sort_keys = get_flag(a[3]);
  if (a[1] && !a[1]->is(Kind::none)) {
    if (a[1]->is(Kind::string)) {
      style.indent = a[1]->str().bytes();
    } else {
      const int64_t n = get_integer(context, *a[1], "tojson");
      if (n > 1000) context.fail("tojson: an indent of {}", n);
      style.indent = std::string(static_cast<size_t>(std::max<int64_t>(n, 0)), ' ');
    }
  }
  style.item_separator = style.indent ? "," : ", ";
  style.key_separator = ": ";
  if (a[2] && !a[2]->is(Kind::none)) {
    const std::vector<Value> parts = iterate(context, *a[2]);
    if (parts.size() != 2) context.fail("tojson: {} separators, expected two", parts.size());
    style.item_separator = get_string(context, parts[0], "tojson").bytes();
    style.key_separator = get_string(context, parts[1], "tojson").bytes();
  }
  Marked out;
  write_json(context, out, v, style);
  return make_string(context, std::move(out));
}

Value otherwise(Interpreter& in, Value v, Args& args) {
  const auto a = args.bind(in.context(), "default", {"default_value", "boolean"});
  if (!v.is_undefined() && !(get_flag(a[1]) && !is_true(v))) return v;
  return a[0] ? *a[0] : make_string(in.context(), "");
}

const NamedFunction kFilters[] = {{"trim", trim},
                                  {"upper", cased<Case::upper>},
                                  {"lower", cased<Case::lower>},
                                  {"capitalize", cased<Case::capitalize>},
                                  {"title", title},
                                  {"replace", replace_filter},
                                  {"indent", indent},
                                  {"escape", escape},
                                  {"e", escape},
                                  {"string", as_string},
                                  {"safe", as_string},
                                  {"format", format},
                                  {"center", center},
                                  {"wordcount", word_count},
                                  {"truncate", truncate},
                                  {"int", as_int},
                                  {"float", as_float},
                                  {"abs", absolute},
                                  {"round", round},
                                  {"tojson", tojson},
                                  {"default", otherwise},
                                  {"d", otherwise}};

}  // namespace

Function find_filter(std::string_view name) {
  for (const auto filters : {std::span<const NamedFunction>(kFilters), sequence_filters()}) {
    const auto found = std::ranges::find(filters, name, &NamedFunction::name);
    if (found != filters.end()) return found->function;
  }
  return nullptr;
}

}  // namespace spindle::jinja
