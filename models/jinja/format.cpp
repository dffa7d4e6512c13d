// "..." % values and "...".format(values): the conversions that templates use; others are refused by name.
#include <algorithm>
#include <cmath>

#include "models/jinja/interpreter.h"
#include "models/jinja/unicode.h"

namespace spindle::jinja {
namespace {

struct Spec {
  std::string fill = " ";
  char align = 0;  // < > ^ =
  bool plus = false, space = false, alternate = false, zero = false, comma = false;
  int64_t width = 0, precision = -1;
  char type = 's';
};

std::string group(std::string digits) {
  for (ptrdiff_t i = static_cast<ptrdiff_t>(digits.size()) - 3; i > 0; i -= 3)
    digits.insert(static_cast<size_t>(i), 1, ',');
  return digits;
}

std::string in_base(uint64_t v, int base, bool upper) {
  std::string out;
  do {
    const int d = static_cast<int>(v % static_cast<uint64_t>(base));
    out.insert(out.begin(), static_cast<char>(d < 10 ? '0' + d : (upper ? 'A' : 'a') + d - 10));
    v /= static_cast<uint64_t>(base);
  } while (v > 0);
  return out;
}

// A number without its padding; `sign` apart.
std::string number(Context& context, Value v, const Spec& spec, std::string& sign) {
  const std::string_view kInts = "dixXobc", kReals = "fFeEgG";
  std::string body;
  bool negative = false;
  if (kInts.find(spec.type) != kInts.npos) {
    const int64_t i =
        v.is(Kind::real) ? static_cast<int64_t>(std::clamp(std::trunc(v.real), -9e18, 9e18)) : v.as_integer();
    if (v.is(Kind::real) && !(std::abs(v.real) < 9e18)) context.fail("{} is not an int of 64 bits", v.real);
    negative = i < 0;
    const uint64_t u = negative ? 0 - static_cast<uint64_t>(i) : static_cast<uint64_t>(i);
    const int base = spec.type == 'x' || spec.type == 'X' ? 16
                     : spec.type == 'o'                   ? 8
                     : spec.type == 'b'                   ? 2
                                                          : 10;
    body = in_base(u, base, spec.type == 'X');
    if (spec.precision > static_cast<int64_t>(body.size()))
      body.insert(0, static_cast<size_t>(spec.precision) - body.size(), '0');
    if (spec.comma) body = group(body);
  } else if (kReals.find(spec.type) != kReals.npos) {
    const double d = v.as_real();
    negative = std::signbit(d) && !std::isnan(d);
    const char form[] = {'%', '.', '*', spec.type, 0};
    std::string buffer(512, 0);
    const int precision = spec.precision < 0 ? 6 : static_cast<int>(spec.precision);
    const int n = std::snprintf(buffer.data(), buffer.size(), form, precision, std::abs(d));
    if (n < 0 || static_cast<size_t>(n) >= buffer.size()) context.fail("a number of {} digits", n);
    body = buffer.substr(0, static_cast<size_t>(n));
    if (spec.comma) {
      const size_t point = std::min(body.find('.'), body.size());
      body = group(body.substr(0, point)) + body.substr(point);
    }
  }
  sign.assign(negative || spec.plus || spec.space, negative ? '-' : spec.plus ? '+' : ' ');
  return body;
}

void pad(Context& context, Marked& out, const Marked& text, const std::string& sign, const Spec& spec,
         char align) {
  const auto length = static_cast<int64_t>(count_code_points(text.text) + sign.size());
  const size_t missing = spec.width > length ? static_cast<size_t>(spec.width - length) : 0;
  context.charge(missing * spec.fill.size() + text.text.size());
  const auto fill = [&](size_t n) {
    for (size_t i = 0; i < n; i++) out.append(spec.fill);
  };
  const size_t left = align == '<' ? 0 : align == '^' ? missing / 2 : missing;
  if (align != '=') fill(left);
  out.append(sign);
  if (align == '=') fill(left);
  out.append(text);
  fill(missing - left);
}

Marked text_of(Context& context, Value v, char type, int64_t precision) {
  Marked text;
  if (type == 's') write_str(context, text, v);
  else write_repr(context, text, v);
  if (precision >= 0) {
    const Value s = make_string(context, std::move(text));
    return substring(context, s.str(), 0, byte_of(context, s.str(), static_cast<size_t>(precision)))
        .str()
        .value;
  }
  return text;
}

int64_t digits(Context& context, const std::string& f, size_t& at) {
  int64_t n = 0;
  while (at < f.size() && f[at] >= '0' && f[at] <= '9') {
    n = n * 10 + (f[at++] - '0');
    if (n > 1'000'000) context.fail("a width or precision above a million");
  }
  return n;
}

}  // namespace

Value format_percent(Context& context, const Str& format, Value values) {
  const std::string& f = format.bytes();
  const bool is_tuple = values.is(Kind::list) && values.list().type == List::Type::tuple;
  std::vector<Value> list = is_tuple ? values.list().items : std::vector<Value>{values};
  size_t used = 0;
  bool by_name = false;
  Marked out;
  for (size_t at = 0; at < f.size();) {
    const size_t percent = std::min(f.find('%', at), f.size());
    out.append(format.value, at, percent);
    if (percent == f.size()) break;
    at = percent + 1;
    context.work();
    std::optional<Value> value;
    if (at < f.size() && f[at] == '(') {
      const size_t close = f.find(')', at);
      if (close == std::string::npos || !values.is(Kind::dict))
        context.fail("'%(' in a format wants a dict and a ')'");
      const Value* v = find(context, values.dict(), f.substr(at + 1, close - at - 1));
      if (!v) context.fail("the format names a key that is not there");
      value = *v;
      by_name = true;
      at = close + 1;
    }
    Spec spec;
    bool left = false;
    for (; at < f.size() && std::string_view("-+ #0").find(f[at]) != std::string_view::npos; at++) {
      left |= f[at] == '-';
      spec.plus |= f[at] == '+';
      spec.space |= f[at] == ' ';
      spec.alternate |= f[at] == '#';
      spec.zero |= f[at] == '0';
    }
    spec.width = digits(context, f, at);
    if (at < f.size() && f[at] == '.') spec.precision = digits(context, f, ++at);
    if (at >= f.size()) context.fail("a format ends inside a conversion");
    const char type = f[at++];
    if (type == '%') {
      out.append("%");
      continue;
    }
    if (!value) {
      if (used >= list.size()) context.fail("a format wants more values than the {} it gets", list.size());
      value = list[used++];
    }
    if (value->is_undefined() && type != 's' && type != 'r') fail_undefined(context, *value);
    spec.type = type;
    std::string sign;
    if (type == 's' || type == 'r') {
      pad(context, out, text_of(context, *value, type, spec.precision), "", spec, left ? '<' : '>');
    } else if (std::string_view("dixXofFeEgG").find(type) != std::string_view::npos && !spec.alternate) {
      if (!value->is_number())
        context.fail("the conversion %{} wants a number, found a {}", type, type_name(*value));
      if (value->is(Kind::real) && std::string_view("xXo").find(type) != std::string_view::npos)
        context.fail("the conversion %{} wants an int, found a float", type);
      const bool zero = spec.zero && !left && std::isfinite(value->as_real());
      if (zero) spec.fill.assign(1, '0');
      Marked text;
      text.append(number(context, *value, spec, sign));
      pad(context, out, text, sign, spec, left ? '<' : zero ? '=' : '>');
    } else {
      context.fail("the conversion %{} of a format is not supported", type);
    }
  }
  if (!by_name && used < list.size() &&
      !(values.is(Kind::dict) || (!is_tuple && values.is(Kind::list) && used == 0)))
    context.fail("a format takes {} values and gets {}", used, list.size());
  return make_string(context, std::move(out));
}

Value format_braces(Context& context, const Str& format, const Args& args) {
  const std::string& f = format.bytes();
  Marked out;
  size_t next = 0;
  bool numbered = false, automatic = false;
  for (size_t at = 0; at < f.size();) {
    size_t brace = at;
    while (brace < f.size() && f[brace] != '{' && f[brace] != '}') brace++;
    out.append(format.value, at, brace);
    if (brace == f.size()) break;
    at = brace + 1;
    if (at < f.size() && f[at] == f[brace]) {
      out.append(f.substr(at++, 1));
      continue;
    }
    if (f[brace] == '}') context.fail("a single '}}' in a format");
    const size_t close = f.find('}', at);
    if (close == std::string::npos) context.fail("a single '{{' in a format");
    const std::string field = f.substr(at, close - at);
    at = close + 1;
    context.work(1 + field.size() / 64 + args.named.size() / 8);
    if (field.find('{') != std::string::npos) context.fail("nested fields of a format are not supported");
    size_t colon = std::min(field.find(':'), field.size());
    const size_t bang = std::min(field.find('!'), field.size());
    std::string name = field.substr(0, std::min(colon, bang));
    char conversion = 0;
    if (bang < colon) {
      conversion = bang + 1 < field.size() ? field[bang + 1] : 0;
      if ((conversion != 's' && conversion != 'r') || std::min(colon, field.size()) != bang + 2)
        context.fail("the conversion '{}' of a format is not supported", field.substr(bang));
    }
    std::optional<Value> value;
    if (name.find_first_not_of("0123456789") == std::string::npos && name.size() < 6) {
      (name.empty() ? automatic : numbered) = true;
      if (automatic && numbered) context.fail("a format with numbered fields and such without number");
      const size_t i = name.empty() ? next++ : static_cast<size_t>(std::stoi(name));
      if (i >= args.at.size()) context.fail("a format wants the value {} of {}", i, args.at.size());
      value = args.at[i];
    } else {
      if (name.find_first_of(".[") != std::string::npos)
        context.fail("the field '{}' of a format is not supported", name);
      for (const auto& [key, v] : args.named)
        if (key == name) value = v;
      if (!value) context.fail("a format wants a value '{}'", name);
    }
    if (value->is_undefined() && colon < field.size() && colon + 1 < field.size())
      fail_undefined(context, *value);
    Spec spec;
    const std::string s = field.substr(std::min(colon + 1, field.size()));
    size_t i = 0;
    const auto is_align = [&](size_t k) {
      return k < s.size() && std::string_view("<>^=").find(s[k]) != std::string_view::npos;
    };
    if (size_t k = 0; !s.empty() && (decode_at(s, k), is_align(k)))
      spec.fill = s.substr(0, k), spec.align = s[k], i = k + 1;
    else if (is_align(0)) spec.align = s[i++];
    if (i < s.size() && (s[i] == '+' || s[i] == ' ' || s[i] == '-'))
      spec.plus = s[i] == '+', spec.space = s[i] == ' ', i++;
    if (i < s.size() && s[i] == '#') spec.alternate = true, i++;
    if (i < s.size() && s[i] == '0') {
      if (!spec.align) spec.align = '=', spec.fill.assign(1, '0');
      i++;
    }
    spec.width = digits(context, s, i);
    if (i < s.size() && s[i] == ',') spec.comma = true, i++;
    if (i < s.size() && s[i] == '.') spec.precision = digits(context, s, ++i);
    const bool is_text = conversion || !value->is_number() || value->is(Kind::boolean);
    const char type = i < s.size() ? s[i++] : 0;
    if (i < s.size()) context.fail("the format '{}' is not supported", s);
    std::string sign;
    if (type == 's' || (!type && (is_text || s.empty()))) {
      const bool plain = conversion || value->is(Kind::string) || s.empty() || type == 's';
      if (!plain || spec.align == '=' || spec.plus || spec.space || spec.alternate || spec.comma ||
          (type == 's' && !conversion && !value->is(Kind::string)))
        context.fail("the format '{}' of a {} is not supported", s, type_name(*value));
      pad(context, out, text_of(context, *value, conversion ? conversion : 's', spec.precision), "", spec,
          spec.align ? spec.align : '<');
    } else {
      if (!value->is_number() || conversion)
        context.fail("the format '{}' of a {} is not supported", s, type_name(*value));
      spec.type = type ? type : value->is(Kind::real) ? 'r' : 'd';
      const bool int_only = std::string_view("dxXob").find(spec.type) != std::string_view::npos;
      if ((int_only && (value->is(Kind::real) || spec.precision >= 0)) ||
          std::string_view("dxXobfFeEgG").find(spec.type) == std::string_view::npos || spec.alternate ||
          (spec.comma && spec.align == '='))
        context.fail("the format '{}' of a {} is not supported", s, type_name(*value));
      Marked text;
      text.append(number(context, *value, spec, sign));
      pad(context, out, text, sign, spec, spec.align ? spec.align : '>');
    }
  }
  return make_string(context, std::move(out));
}

}  // namespace spindle::jinja
