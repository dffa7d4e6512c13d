// Truth, equality, order and text of values, as Python has them.
#include "models/jinja/value.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>

#include "models/jinja/unicode.h"

namespace spindle::jinja {
namespace {

constexpr int kDeepest = 100;  // containers in containers

void check_depth(Context& context, int depth) {
  if (depth > kDeepest) context.fail("lists and dicts nested more than {} levels deep", kDeepest);
}

// A real that an integer equals has that integer's hash.
std::string number_key(double d) {
  if (d == std::floor(d) && std::abs(d) < 9.2e18) return fmt::format("n{}", static_cast<int64_t>(d));
  return fmt::format("r{}", format_real(d));
}

std::string text_key(Context& context, std::string_view text) {
  context.work_bytes(text.size());
  return std::string(1, 's').append(text);
}

int compare_numbers(Value a, Value b) {
  if (a.is_integral() && b.is_integral())
    return a.as_integer() < b.as_integer() ? -1 : a.as_integer() > b.as_integer();
  const double x = a.as_real(), y = b.as_real();
  return std::isnan(x) || std::isnan(y) ? 2 : x < y ? -1 : x > y;
}

}  // namespace

void Marked::append(std::string_view more, bool is_input) {
  if (is_input && !more.empty()) {
    if (!input.empty() && input.back().end == text.size()) input.back().end += more.size();
    else input.push_back({text.size(), text.size() + more.size()});
  }
  text += more;
}

void Marked::append(const Marked& more, size_t begin, size_t end) {
  const size_t offset = text.size();
  text.append(more.text, begin, end - begin);
  auto at = std::lower_bound(more.input.begin(), more.input.end(), begin,
                             [](const Span& s, size_t value) { return s.end <= value; });
  for (; at != more.input.end() && at->begin < end; ++at) {
    const Span s{std::max(at->begin, begin) - begin + offset, std::min(at->end, end) - begin + offset};
    if (!input.empty() && input.back().end == s.begin) input.back().end = s.end;
    else input.push_back(s);
  }
}

Value Native::call(Interpreter&, Args&) { return {}; }
std::optional<Value> Native::attribute(Interpreter&, std::string_view) { return {}; }

Value make_string(Context& context, Marked text) {
  context.charge(text.text.size() + text.input.size() * sizeof(Span));
  context.work_bytes(text.text.size());
  Str* s = context.make<Str>();
  s->value = std::move(text);
  s->length = count_code_points(s->value.text);
  return s;
}

Value make_string(Context& context, std::string text, bool input) {
  Marked m;
  m.text = std::move(text);
  if (input && !m.text.empty()) m.input.push_back({0, m.text.size()});
  return make_string(context, std::move(m));
}

Value make_list(Context& context, std::vector<Value> items, List::Type type) {
  context.charge(items.size() * sizeof(Value));
  List* l = context.make<List>();
  l->type = type;
  l->items = std::move(items);
  return l;
}

Value make_undefined(Context& context, std::string what) {
  Value v;
  v.object = make_string(context, std::move(what)).object;
  return v;
}

std::optional<std::string> hash_key(Context& context, Value key, int depth) {
  if (depth > kDeepest) return {};
  context.work();
  switch (key.kind) {
    case Kind::undefined:
      return "u";
    case Kind::none:
      return "-";
    case Kind::boolean:
    case Kind::integer:
      return fmt::format("n{}", key.as_integer());
    case Kind::real:
      return number_key(key.real);
    case Kind::string:
      return text_key(context, key.str().bytes());
    case Kind::list: {
      if (key.list().type != List::Type::tuple) return {};
      std::string all = "t";
      for (const Value& item : key.list().items) {
        const auto one = hash_key(context, item, depth + 1);
        if (!one || all.size() > 1 << 20) return {};
        context.work_bytes(one->size());
        all += fmt::format("{}:{}", one->size(), *one);
      }
      return all;
    }
    default:
      return {};
  }
}

const Value* find(Context& context, const Dict& dict, Value key) {
  const auto hash = hash_key(context, key);
  const auto found = hash ? dict.index.find(*hash) : dict.index.end();
  return found == dict.index.end() ? nullptr : &dict.entries[found->second].second;
}

const Value* find(Context& context, const Dict& dict, std::string_view key) {
  const auto found = dict.index.find(text_key(context, key));
  return found == dict.index.end() ? nullptr : &dict.entries[found->second].second;
}

void insert(Context& context, Dict& dict, Value key, Value value) {
  auto hash = hash_key(context, key);
  if (!hash) context.fail("a {} cannot be the key of a dict", type_name(key));
  context.charge(2 * hash->size() + 128);
  const auto [place, is_new] = dict.index.try_emplace(std::move(*hash), dict.entries.size());
  if (is_new) dict.entries.emplace_back(key, value);
  else dict.entries[place->second].second = value;
}

void push(Context& context, List& list, Value value) {
  context.charge(2 * sizeof(Value));
  list.items.push_back(value);
}

std::string type_name(Value v) {
  switch (v.kind) {
    case Kind::undefined:
      return "Undefined";
    case Kind::none:
      return "NoneType";
    case Kind::boolean:
      return "bool";
    case Kind::integer:
      return "int";
    case Kind::real:
      return "float";
    case Kind::string:
      return "str";
    case Kind::dict:
      return "dict";
    case Kind::native:
      return v.native().type();
    case Kind::list:
      break;
  }
  constexpr const char* kNames[] = {"list",      "tuple",       "range",     "generator",
                                    "dict_keys", "dict_values", "dict_items"};
  return kNames[static_cast<int>(v.list().type)];
}

std::optional<size_t> find_length(Value v) {
  switch (v.kind) {
    case Kind::undefined:
      return 0;
    case Kind::string:
      return v.str().length;
    case Kind::dict:
      return v.dict().entries.size();
    case Kind::list:
      if (v.list().type == List::Type::generator) return {};
      return v.list().items.size();
    default:
      return {};
  }
}

bool is_true(Value v) {
  if (v.is_number()) return v.as_real() != 0;
  if (v.is(Kind::none)) return false;
  const auto length = find_length(v);
  return !length || *length > 0;
}

bool equal(Context& context, Value a, Value b, int depth) {
  check_depth(context, depth);
  context.work();
  if (a.is_number() && b.is_number()) return compare_numbers(a, b) == 0;
  if (a.kind != b.kind) return false;
  switch (a.kind) {
    case Kind::undefined:
    case Kind::none:
      return true;
    case Kind::string:
      context.work_bytes(std::min(a.str().bytes().size(), b.str().bytes().size()));
      return a.str().bytes() == b.str().bytes();
    case Kind::list: {
      const List &x = a.list(), &y = b.list();
      if (&x == &y) return true;
      if (x.type != y.type || !x.is_sequence() || x.items.size() != y.items.size()) return false;
      for (size_t i = 0; i < x.items.size(); i++)
        if (!equal(context, x.items[i], y.items[i], depth + 1)) return false;
      return true;
    }
    case Kind::dict: {
      const Dict &x = a.dict(), &y = b.dict();
      if (x.entries.size() != y.entries.size()) return false;
      for (const auto& [key, value] : x.entries) {
        const Value* other = find(context, y, key);
        if (!other || !equal(context, value, *other, depth + 1)) return false;
      }
      return true;
    }
    default:
      return a.object == b.object;
  }
}

int compare(Context& context, Value a, Value b, const char* op, int depth) {
  check_depth(context, depth);
  context.work();
  if (a.is_number() && b.is_number()) return compare_numbers(a, b);
  if (a.is(Kind::string) && b.is(Kind::string)) {
    // Bytes of UTF-8 are in the order of code points.
    context.work_bytes(std::min(a.str().bytes().size(), b.str().bytes().size()));
    const int c = a.str().bytes().compare(b.str().bytes());
    return c < 0 ? -1 : c > 0;
  }
  if (a.is(Kind::list) && b.is(Kind::list) && a.list().type == b.list().type &&
      (a.list().type == List::Type::list || a.list().type == List::Type::tuple)) {
    const auto &x = a.list().items, &y = b.list().items;
    for (size_t i = 0; i < std::min(x.size(), y.size()); i++)
      if (!equal(context, x[i], y[i], depth + 1)) return compare(context, x[i], y[i], op, depth + 1);
    return x.size() < y.size() ? -1 : x.size() > y.size();
  }
  for (Value v : {a, b})
    if (v.is_undefined()) context.fail("{} is undefined", v.object ? v.str().bytes() : "a value");
  context.fail("'{}' is not defined between {} and {}", op, type_name(a), type_name(b));
}

bool contains(Context& context, Value container, Value item) {
  if (container.is(Kind::string)) {
    if (item.is_undefined()) context.fail("{} is undefined", item.object ? item.str().bytes() : "a value");
    if (!item.is(Kind::string)) context.fail("'in' a str wants a str, found {}", type_name(item));
    return find_text(context, container.str().bytes(), item.str().bytes()) != std::string::npos;
  }
  if (container.is(Kind::dict)) {
    const auto hash = hash_key(context, item);
    if (!hash) context.fail("a {} cannot be the key of a dict", type_name(item));
    return container.dict().index.contains(*hash);
  }
  for (Value v : iterate(context, container))
    if (equal(context, v, item)) return true;
  return false;
}

std::vector<Value> iterate(Context& context, Value v) {
  std::vector<Value> items;
  switch (v.kind) {
    case Kind::undefined:
      return items;
    case Kind::string: {
      const Str& s = v.str();
      for (size_t at = 0; at < s.bytes().size();) {
        size_t next = at;
        decode_at(s.bytes(), next);
        items.push_back(substring(context, s, at, next));
        at = next;
      }
      return items;
    }
    case Kind::list:
      context.charge(v.list().items.size() * sizeof(Value));
      if (v.list().type == List::Type::generator) return std::exchange(v.list().items, {});
      return v.list().items;
    case Kind::dict:
      context.charge(v.dict().entries.size() * sizeof(Value));
      for (const auto& [key, value] : v.dict().entries) items.push_back(key);
      return items;
    default:
      context.fail("a {} cannot be iterated over", type_name(v));
  }
}

std::string format_real(double d) {
  if (std::isnan(d)) return "nan";
  if (std::isinf(d)) return d < 0 ? "-inf" : "inf";
  char buffer[64];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, d, std::chars_format::scientific).ptr;
  const std::string text(buffer, end);  // [-]d[.ddd]e[+-]dd: the shortest that reads back as d
  const size_t e = text.find('e');
  const int exponent = std::stoi(text.substr(e + 1));
  if (exponent < -4 || exponent >= 16) return text;
  std::string digits, sign = text[0] == '-' ? "-" : "";
  for (char c : text.substr(0, e))
    if (c != '-' && c != '.') digits += c;
  if (exponent < 0) return fmt::format("{}0.{:0<{}}{}", sign, "", -exponent - 1, digits);
  const auto whole = static_cast<size_t>(exponent) + 1;
  if (digits.size() <= whole) return fmt::format("{}{:0<{}}.0", sign, digits, whole);
  return fmt::format("{}{}.{}", sign, digits.substr(0, whole), digits.substr(whole));
}

std::string repr_text(std::string_view s) {
  const bool has_single = s.find('\'') != s.npos, has_double = s.find('"') != s.npos;
  const char quote = has_single && !has_double ? '"' : '\'';
  std::string out(1, quote);
  for (size_t at = 0; at < s.size();) {
    const char32_t c = decode_at(s, at);
    if (c == '\n') out += "\\n";
    else if (c == '\r') out += "\\r";
    else if (c == '\t') out += "\\t";
    else if (c == '\\' || c == static_cast<char32_t>(quote)) out += {'\\', static_cast<char>(c)};
    else if (is_printable(c)) append_utf8(out, c);
    else if (c < 0x100) out += fmt::format("\\x{:02x}", static_cast<uint32_t>(c));
    else if (c < 0x10000) out += fmt::format("\\u{:04x}", static_cast<uint32_t>(c));
    else out += fmt::format("\\U{:08x}", static_cast<uint32_t>(c));
  }
  out += quote;
  return out;
}

void write_str(Context& context, Marked& out, Value v) {
  if (v.is(Kind::string)) {
    context.charge(v.str().bytes().size() + v.str().value.input.size() * sizeof(Span));
    context.work_bytes(v.str().bytes().size());
    out.append(v.str().value);
  } else if (!v.is_undefined()) {
    write_repr(context, out, v);
  }
}

void write_repr(Context& context, Marked& out, Value v, int depth) {
  check_depth(context, depth);
  context.work();
  context.charge(8);
  switch (v.kind) {
    case Kind::undefined:
      return out.append("Undefined");
    case Kind::none:
      return out.append("None");
    case Kind::boolean:
      return out.append(v.truth ? "True" : "False");
    case Kind::integer:
      return out.append(std::to_string(v.number));
    case Kind::real:
      return out.append(format_real(v.real));
    case Kind::string: {
      context.charge(v.str().bytes().size());
      context.work_bytes(v.str().bytes().size());
      return out.append(repr_text(v.str().bytes()), !v.str().value.input.empty());
    }
    case Kind::list: {
      const List& l = v.list();
      using T = List::Type;
      if (l.type == T::range || l.type == T::generator)
        context.fail("a {} cannot be printed: '| list' makes it a list", type_name(v));
      const bool is_view = l.type != T::list && l.type != T::tuple;
      if (is_view) out.append(fmt::format("{}(", type_name(v)));
      out.append(l.type == T::tuple ? "(" : "[");
      for (size_t i = 0; i < l.items.size(); i++) {
        if (i > 0) out.append(", ");
        write_repr(context, out, l.items[i], depth + 1);
      }
      if (l.type == T::tuple && l.items.size() == 1) out.append(",");
      out.append(l.type == T::tuple ? ")" : "]");
      if (is_view) out.append(")");
      return;
    }
    case Kind::dict: {
      out.append("{");
      bool first = true;
      for (const auto& [key, value] : v.dict().entries) {
        if (!std::exchange(first, false)) out.append(", ");
        write_repr(context, out, key, depth + 1);
        out.append(": ");
        write_repr(context, out, value, depth + 1);
      }
      return out.append("}");
    }
    case Kind::native:
      context.fail("a {} cannot be printed", type_name(v));
  }
}

Str& to_str(Context& context, Value v) {
  if (v.is(Kind::string)) return v.str();
  Marked out;
  write_str(context, out, v);
  return make_string(context, std::move(out)).str();
}

size_t find_text(Context& context, std::string_view text, std::string_view what, size_t from) {
  if (from > text.size()) return std::string_view::npos;
  // glibc's memmem is linear, with a factor that grows up to 256 bytes of `what`. In windows that double: the
  // address sanitizer looks at all of the text that is handed to it, however near what is found lies.
  const void* found = nullptr;
  for (size_t begin = from, window = 4096 + 2 * what.size(); !found; window *= 2) {
    const size_t n = std::min(text.size() - begin, window);
    found = memmem(text.data() + begin, n, what.data(), what.size());
    if (begin + n == text.size()) break;
    begin += n - what.size() + 1;
  }
  const size_t at = found ? static_cast<size_t>(static_cast<const char*>(found) - text.data()) : text.size();
  context.work(1 + (at - from) / 64 * (1 + std::min<size_t>(what.size(), 256) / 32));
  return found ? at : std::string_view::npos;
}

size_t find_last_text(Context& context, std::string_view text, std::string_view what) {
  context.work(1 + text.size() / 64 * std::max<size_t>(what.size(), 1));
  return text.rfind(what);
}

size_t byte_of(Context& context, const Str& s, size_t code_point) {
  if (code_point >= s.length) return s.bytes().size();
  if (s.ascii()) return code_point;
  size_t at = 0;
  for (size_t i = 0; i < code_point; i++) {
    at++;
    while (at < s.bytes().size() && (s.bytes()[at] & 0xC0) == 0x80) at++;
  }
  context.work_bytes(at);
  return at;
}

Value substring(Context& context, const Str& s, size_t first_byte, size_t last_byte) {
  Marked part;
  if (last_byte > first_byte) part.append(s.value, first_byte, last_byte);
  return make_string(context, std::move(part));
}

}  // namespace spindle::jinja
