// Methods of str. Pieces keep the mark of what came from outside the template.
#include <algorithm>

#include "models/jinja/interpreter.h"
#include "models/jinja/unicode.h"

namespace spindle::jinja {
namespace {

constexpr int64_t kAll = INT64_MAX;

void check_case(Context& context, char32_t c) {
  if (!known_case(c)) context.fail("the case of U+{:04X} is not known here", static_cast<uint32_t>(c));
}

// Appends what the character becomes, marked as the character is.
void append_mapped(Marked& out, const Marked& from, size_t begin, size_t end, const std::string& to) {
  Marked one;
  one.append(from, begin, end);
  out.append(to, !one.input.empty());
}

// Byte positions of a search, given by code points as Python does: [start, end) of str.find, count, ...
std::pair<size_t, size_t> range(Context& context, const Str& s, const std::optional<Value>& start,
                                const std::optional<Value>& end, std::string_view what) {
  const auto n = static_cast<int64_t>(s.length);
  const auto place = [&](const std::optional<Value>& v, int64_t otherwise) {
    if (!v || v->is(Kind::none)) return otherwise;
    const int64_t i = get_integer(context, *v, what);
    return i < 0 ? std::max<int64_t>(i + n, 0) : i;
  };
  const int64_t from = place(start, 0), to = std::min(place(end, n), n);
  if (from > to) return {std::string::npos, 0};
  return {byte_of(context, s, static_cast<size_t>(from)), byte_of(context, s, static_cast<size_t>(to))};
}

Value find_in(Context& context, const Str& s, Args& args, bool from_right, bool must, std::string_view what) {
  const auto a = args.bind(context, what, {"sub", "start", "end"}, 1);
  const Str& sub = get_string(context, *a[0], what);
  const auto [begin, end] = range(context, s, a[1], a[2], what);
  size_t found = std::string::npos;
  if (begin != std::string::npos) {
    const std::string_view view = std::string_view(s.bytes()).substr(begin, end - begin);
    found = from_right ? find_last_text(context, view, sub.bytes()) : find_text(context, view, sub.bytes());
  }
  if (found == std::string::npos) {
    if (must) context.fail("{}: the substring is not there", what);
    return Value::integer(-1);
  }
  return Value::integer(
      static_cast<int64_t>(count_code_points(std::string_view(s.bytes()).substr(0, begin + found))));
}

Value count(Interpreter& in, Value self, Args& args) {
  Context& context = in.context();
  const auto a = args.bind(context, "str.count", {"sub", "start", "end"}, 1);
  const Str& sub = get_string(context, *a[0], "str.count");
  const auto [begin, end] = range(context, self.str(), a[1], a[2], "str.count");
  if (begin == std::string::npos) return Value::integer(0);
  const std::string_view view = std::string_view(self.str().bytes()).substr(begin, end - begin);
  context.work_bytes(view.size());
  if (sub.bytes().empty()) return Value::integer(static_cast<int64_t>(count_code_points(view)) + 1);
  int64_t n = 0;
  for (size_t at = find_text(context, view, sub.bytes()); at != view.npos;
       at = find_text(context, view, sub.bytes(), at + sub.bytes().size()))
    n++;
  return Value::integer(n);
}

Value affix(Interpreter& in, Value self, Args& args, bool at_end, std::string_view what) {
  Context& context = in.context();
  const auto a = args.bind(context, what, {"prefix", "start", "end"}, 1);
  const auto [begin, end] = range(context, self.str(), a[1], a[2], what);
  if (begin == std::string::npos) return Value::boolean(false);
  const std::string_view view = std::string_view(self.str().bytes()).substr(begin, end - begin);
  const auto fits = [&](Value v) {
    const std::string& s = get_string(context, v, what).bytes();
    context.work_bytes(s.size());  // of a tuple
    return at_end ? view.ends_with(s) : view.starts_with(s);
  };
  if (!a[0]->is(Kind::list) || a[0]->list().type != List::Type::tuple) return Value::boolean(fits(*a[0]));
  for (Value v : a[0]->list().items)
    if (fits(v)) return Value::boolean(true);
  return Value::boolean(false);
}

// str.split and str.rsplit without a separator: at runs of whitespace.
std::vector<Value> split_space(Context& context, const Str& s, int64_t most, bool from_right) {
  std::vector<std::pair<size_t, size_t>> words;
  const std::string& text = s.bytes();
  for (size_t at = 0; at < text.size();) {
    size_t begin = at;
    if (is_space(decode_at(text, at))) continue;
    size_t end = at;
    while (at < text.size()) {
      const size_t before = at;
      if (is_space(decode_at(text, at))) break;
      end = at;
      (void)before;
    }
    words.emplace_back(begin, end);
  }
  context.work_bytes(text.size());
  const size_t splits =
      most < 0 || most > static_cast<int64_t>(words.size()) ? words.size() : static_cast<size_t>(most);
  std::vector<Value> out;
  if (words.size() > splits) {  // the rest stays together, with its outer whitespace cut on the far side
    if (from_right) {
      const size_t kept = words.size() - splits;
      size_t first = 0;  // leading whitespace goes with str.rsplit's rest? no: it stays
      out.push_back(substring(context, s, first, words[kept - 1].second));
      for (size_t i = kept; i < words.size(); i++)
        out.push_back(substring(context, s, words[i].first, words[i].second));
    } else {
      for (size_t i = 0; i < splits; i++)
        out.push_back(substring(context, s, words[i].first, words[i].second));
      out.push_back(substring(context, s, words[splits].first, text.size()));
    }
    return out;
  }
  for (const auto& [begin, end] : words) out.push_back(substring(context, s, begin, end));
  return out;
}

Value split(Interpreter& in, Value self, Args& args, bool from_right) {
  Context& context = in.context();
  const auto a = args.bind(context, from_right ? "str.rsplit" : "str.split", {"sep", "maxsplit"});
  const Str& s = self.str();
  const int64_t most = get_integer_or(context, a[1], "maxsplit", -1);
  if (!a[0] || a[0]->is(Kind::none)) return make_list(context, split_space(context, s, most, from_right));
  const std::string& sep = get_string(context, *a[0], "the separator of str.split").bytes();
  if (sep.empty()) context.fail("str.split: the separator is empty");
  const std::string& text = s.bytes();
  std::vector<Value> out;
  if (from_right) {
    context.work(text.size() / 64 * sep.size());  // of all the searches together
    size_t end = text.size();
    for (int64_t n = 0; most < 0 || n < most; n++) {
      const size_t at = end < sep.size() ? std::string::npos : text.rfind(sep, end - sep.size());
      if (at == std::string::npos) break;
      out.push_back(substring(context, s, at + sep.size(), end));
      end = at;
    }
    out.push_back(substring(context, s, 0, end));
    std::ranges::reverse(out);
  } else {
    size_t begin = 0;
    for (int64_t n = 0; most < 0 || n < most; n++) {
      const size_t at = find_text(context, text, sep, begin);
      if (at == std::string::npos) break;
      out.push_back(substring(context, s, begin, at));
      begin = at + sep.size();
    }
    out.push_back(substring(context, s, begin, text.size()));
  }
  return make_list(context, std::move(out));
}

Value partition(Interpreter& in, Value self, Args& args, bool from_right) {
  Context& context = in.context();
  const auto a = args.bind(context, "str.partition", {"sep"}, 1);
  const Str& s = self.str();
  const std::string& sep = get_string(context, *a[0], "str.partition").bytes();
  if (sep.empty()) context.fail("str.partition: the separator is empty");
  const size_t at = from_right ? find_last_text(context, s.bytes(), sep) : find_text(context, s.bytes(), sep);
  const Value nothing = make_string(context, "");
  std::vector<Value> parts;
  if (at != std::string::npos)
    parts = {substring(context, s, 0, at), *a[0], substring(context, s, at + sep.size(), s.bytes().size())};
  else if (from_right) parts = {nothing, nothing, self};
  else parts = {self, nothing, nothing};
  return make_list(context, std::move(parts), List::Type::tuple);
}

Value strip_method(Interpreter& in, Value self, Args& args, bool left, bool right) {
  const auto a = args.bind(in.context(), "str.strip", {"chars"});
  const bool given = a[0] && !a[0]->is(Kind::none);
  return strip(in.context(), self.str(), given ? &get_string(in.context(), *a[0], "str.strip") : nullptr,
               left, right);
}

// Whether all characters are so, and there is one.
Value all_of(Interpreter& in, Value self, Args& args, std::string_view what, bool (*is)(Context&, char32_t)) {
  args.bind(in.context(), what, {});
  const std::string& text = self.str().bytes();
  in.context().work_bytes(text.size());
  for (size_t at = 0; at < text.size();)
    if (!is(in.context(), decode_at(text, at))) return Value::boolean(false);
  return Value::boolean(!text.empty());
}

bool is_ascii_digit(char32_t c) { return c >= '0' && c <= '9'; }
bool is_digit(Context& context, char32_t c) {
  if (c >= 0x80 && !is_space(c) && !is_lower(c) && !is_upper(c))
    context.fail("whether U+{:04X} is a digit is not known here", static_cast<uint32_t>(c));
  return is_ascii_digit(c);
}
bool is_alpha(Context& context, char32_t c) {
  if (c < 0x80) return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  if (is_lower(c) || is_upper(c)) return true;
  if (!is_space(c)) context.fail("whether U+{:04X} is a letter is not known here", static_cast<uint32_t>(c));
  return false;
}

Value cased(Interpreter& in, Value self, Args& args, bool lower) {
  args.bind(in.context(), lower ? "str.islower" : "str.isupper", {});
  const std::string& text = self.str().bytes();
  bool any = false;
  for (size_t at = 0; at < text.size();) {
    const char32_t c = decode_at(text, at);
    check_case(in.context(), c);
    if (lower ? is_upper(c) : is_lower(c)) return Value::boolean(false);
    any |= lower ? is_lower(c) : is_upper(c);
  }
  return Value::boolean(any);
}

template <Case kTo>
Value case_method(Interpreter& in, Value self, Args& args) {
  args.bind(in.context(), "a method of str", {});
  return change_case(in.context(), self.str(), kTo);
}

Value replace_method(Interpreter& in, Value self, Args& args) {
  const auto a = args.bind(in.context(), "str.replace", {"old", "new", "count"}, 2);
  const int64_t most = get_integer_or(in.context(), a[2], "count", -1);
  return replace(in.context(), self.str(), get_string(in.context(), *a[0], "str.replace"),
                 get_string(in.context(), *a[1], "str.replace"), most < 0 ? kAll : most);
}

Value justify(Interpreter& in, Value self, Args& args,
              int side) {  // -1: text to the left, 0: centre, 1: right
  Context& context = in.context();
  const auto a = args.bind(context, "str.ljust", {"width", "fillchar"}, 1);
  const Str& s = self.str();
  const int64_t width = get_integer(context, *a[0], "the width");
  if (width <= static_cast<int64_t>(s.length)) return self;
  const std::string fill = a[1] ? get_string(context, *a[1], "the fill").bytes() : " ";
  if (count_code_points(fill) != 1) context.fail("the fill is to be one character");
  const auto pad = static_cast<size_t>(width) - s.length;
  context.charge(pad * fill.size());
  const size_t left = side < 0 ? 0 : side > 0 ? pad : pad / 2 + (pad & static_cast<size_t>(width) & 1);
  Marked out;
  for (size_t i = 0; i < left; i++) out.append(fill);
  out.append(s.value);
  for (size_t i = left; i < pad; i++) out.append(fill);
  return make_string(context, std::move(out));
}

const NamedFunction kMethods[] = {
    {"strip", [](Interpreter& in, Value s, Args& a) { return strip_method(in, s, a, true, true); }},
    {"lstrip", [](Interpreter& in, Value s, Args& a) { return strip_method(in, s, a, true, false); }},
    {"rstrip", [](Interpreter& in, Value s, Args& a) { return strip_method(in, s, a, false, true); }},
    {"split", [](Interpreter& in, Value s, Args& a) { return split(in, s, a, false); }},
    {"rsplit", [](Interpreter& in, Value s, Args& a) { return split(in, s, a, true); }},
    {"partition", [](Interpreter& in, Value s, Args& a) { return partition(in, s, a, false); }},
    {"rpartition", [](Interpreter& in, Value s, Args& a) { return partition(in, s, a, true); }},
    {"splitlines",
     [](Interpreter& in, Value s, Args& args) {
       const auto a = args.bind(in.context(), "str.splitlines", {"keepends"});
       return make_list(in.context(), split_lines(in.context(), s.str(), get_flag(a[0])));
     }},
    {"startswith",
     [](Interpreter& in, Value s, Args& a) { return affix(in, s, a, false, "str.startswith"); }},
    {"endswith", [](Interpreter& in, Value s, Args& a) { return affix(in, s, a, true, "str.endswith"); }},
    {"removeprefix",
     [](Interpreter& in, Value s, Args& args) {
       const auto a = args.bind(in.context(), "str.removeprefix", {"prefix"}, 1);
       const std::string& p = get_string(in.context(), *a[0], "str.removeprefix").bytes();
       const std::string& text = s.str().bytes();
       return text.starts_with(p) ? substring(in.context(), s.str(), p.size(), text.size()) : s;
     }},
    {"removesuffix",
     [](Interpreter& in, Value s, Args& args) {
       const auto a = args.bind(in.context(), "str.removesuffix", {"suffix"}, 1);
       const std::string& p = get_string(in.context(), *a[0], "str.removesuffix").bytes();
       const std::string& text = s.str().bytes();
       return text.ends_with(p) ? substring(in.context(), s.str(), 0, text.size() - p.size()) : s;
     }},
    {"replace", replace_method},
    {"upper", case_method<Case::upper>},
    {"lower", case_method<Case::lower>},
    {"title", case_method<Case::title>},
    {"capitalize", case_method<Case::capitalize>},
    {"join",
     [](Interpreter& in, Value s, Args& args) {
       const auto a = args.bind(in.context(), "str.join", {"iterable"}, 1);
       if (a[0]->is_undefined()) fail_undefined(in.context(), *a[0]);
       return join(in.context(), s.str(), iterate(in.context(), *a[0]), true);
     }},
    {"find", [](Interpreter& in, Value s,
                Args& a) { return find_in(in.context(), s.str(), a, false, false, "str.find"); }},
    {"rfind", [](Interpreter& in, Value s,
                 Args& a) { return find_in(in.context(), s.str(), a, true, false, "str.rfind"); }},
    {"index", [](Interpreter& in, Value s,
                 Args& a) { return find_in(in.context(), s.str(), a, false, true, "str.index"); }},
    {"rindex", [](Interpreter& in, Value s,
                  Args& a) { return find_in(in.context(), s.str(), a, true, true, "str.rindex"); }},
    {"count", count},
    {"format", [](Interpreter& in, Value s, Args& a) { return format_braces(in.context(), s.str(), a); }},
    {"isdigit", [](Interpreter& in, Value s, Args& a) { return all_of(in, s, a, "str.isdigit", is_digit); }},
    {"isdecimal",
     [](Interpreter& in, Value s, Args& a) { return all_of(in, s, a, "str.isdecimal", is_digit); }},
    {"isnumeric",
     [](Interpreter& in, Value s, Args& a) { return all_of(in, s, a, "str.isnumeric", is_digit); }},
    {"isalpha", [](Interpreter& in, Value s, Args& a) { return all_of(in, s, a, "str.isalpha", is_alpha); }},
    {"isalnum",
     [](Interpreter& in, Value s, Args& a) {
       return all_of(in, s, a, "str.isalnum",
                     [](Context& context, char32_t c) { return is_ascii_digit(c) || is_alpha(context, c); });
     }},
    {"isspace",
     [](Interpreter& in, Value s, Args& a) {
       return all_of(in, s, a, "str.isspace", [](Context&, char32_t c) { return is_space(c); });
     }},
    {"islower", [](Interpreter& in, Value s, Args& a) { return cased(in, s, a, true); }},
    {"isupper", [](Interpreter& in, Value s, Args& a) { return cased(in, s, a, false); }},
    {"ljust", [](Interpreter& in, Value s, Args& a) { return justify(in, s, a, -1); }},
    {"rjust", [](Interpreter& in, Value s, Args& a) { return justify(in, s, a, 1); }},
    {"center", [](Interpreter& in, Value s, Args& a) { return justify(in, s, a, 0); }},
    {"zfill",
     [](Interpreter& in, Value s, Args& args) {
       const auto a = args.bind(in.context(), "str.zfill", {"width"}, 1);
       const int64_t pad =
           get_integer(in.context(), *a[0], "the width") - static_cast<int64_t>(s.str().length);
       if (pad <= 0) return s;
       in.context().charge(static_cast<size_t>(pad));
       const Marked& text = s.str().value;
       const size_t sign = text.text.starts_with('-') || text.text.starts_with('+');
       Marked out;
       out.append(text, 0, sign);
       out.append(std::string(static_cast<size_t>(pad), '0'));
       out.append(text, sign, text.text.size());
       return make_string(in.context(), std::move(out));
     }},
};

}  // namespace

std::span<const NamedFunction> string_methods() { return kMethods; }

Value change_case(Context& context, const Str& s, Case to) {
  const std::string& text = s.bytes();
  context.work_bytes(text.size());
  context.charge(text.size());
  Marked out;
  bool in_word = false;
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    const char32_t c = decode_at(text, at);
    check_case(context, c);
    const bool raise = to == Case::upper || (to != Case::lower && !in_word);
    std::string mapped;
    // Title case of these is not their upper case.
    if (raise && to != Case::upper &&
        (c == 0xDF || c == 0x149 || c == 0x587 || (c >= 0x1C4 && c <= 0x1CC) || (c >= 0x1F1 && c <= 0x1F3)))
      context.fail("the title case of U+{:04X} is not known here", static_cast<uint32_t>(c));
    if (!raise && c == 0x3A3)  // another one at the end of a word
      context.fail("the lower case of U+{:04X} is not known here", static_cast<uint32_t>(c));
    if (raise) append_upper(mapped, c);
    else if (c == 0x130) mapped = "i\u0307";  // with its dot: the only lower case of two characters
    else append_utf8(mapped, to_lower(c));
    append_mapped(out, s.value, begin, at, mapped);
    in_word = to == Case::capitalize || is_lower(c) || is_upper(c);
  }
  return make_string(context, std::move(out));
}

Value replace(Context& context, const Str& s, const Str& from, const Str& to, int64_t most) {
  const std::string& text = s.bytes();
  context.work_bytes(text.size());
  Marked out;
  const auto put = [&] {
    context.charge(to.bytes().size());
    out.append(to.value);
  };
  size_t begin = 0;
  if (from.bytes().empty()) {  // between all characters
    int64_t n = 0;
    for (; n < most && begin < text.size(); n++) {
      put();
      size_t next = begin;
      decode_at(text, next);
      out.append(s.value, begin, next);
      begin = next;
    }
    if (n < most && begin == text.size()) put();
  } else {
    for (int64_t n = 0; n < most; n++) {
      const size_t at = find_text(context, text, from.bytes(), begin);
      if (at == std::string::npos) break;
      out.append(s.value, begin, at);
      put();
      begin = at + from.bytes().size();
    }
  }
  out.append(s.value, begin, text.size());
  return make_string(context, std::move(out));
}

Value strip(Context& context, const Str& s, const Str* characters, bool left, bool right) {
  const std::string& text = s.bytes();
  if (characters) context.charge(sizeof(char32_t) * characters->length);
  std::u32string set;
  for (size_t at = 0; characters && at < characters->bytes().size();)
    set += decode_at(characters->bytes(), at);
  const auto goes = [&](char32_t c) { return characters ? set.find(c) != set.npos : is_space(c); };
  size_t begin = 0, end = text.size();
  const size_t each = 1 + set.size() / 16;
  while (left && begin < end) {
    size_t next = begin;
    context.work(each);
    if (!goes(decode_at(text, next))) break;
    begin = next;
  }
  while (right && begin < end) {
    size_t last = end - 1;
    while (last > begin && (text[last] & 0xC0) == 0x80) last--;
    size_t at = last;
    context.work(each);
    if (!goes(decode_at(text, at))) break;
    end = last;
  }
  return substring(context, s, begin, end);
}

std::vector<Value> split_lines(Context& context, const Str& s, bool keep_ends) {
  const std::string& text = s.bytes();
  context.work_bytes(text.size());
  std::vector<Value> lines;
  size_t begin = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = at;
    if (!is_line_break(decode_at(text, at))) continue;
    if (text[end] == '\r' && at < text.size() && text[at] == '\n') at++;
    lines.push_back(substring(context, s, begin, keep_ends ? at : end));
    begin = at;
  }
  if (begin < text.size()) lines.push_back(substring(context, s, begin, text.size()));
  return lines;
}

Value join(Context& context, const Str& separator, const std::vector<Value>& items, bool only_strings) {
  Marked out;
  for (size_t i = 0; i < items.size(); i++) {
    context.charge(separator.bytes().size());
    if (i > 0) out.append(separator.value);
    if (only_strings && !items[i].is(Kind::string))
      context.fail("str.join: item {} is a {}, expected str", i, type_name(items[i]));
    write_str(context, out, items[i]);
  }
  return make_string(context, std::move(out));
}

}  // namespace spindle::jinja
