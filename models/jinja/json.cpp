// JSON as Python's json module writes it, and values from JSON.
#include "models/jinja/json.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "models/jinja/builtins.h"
#include "models/jinja/unicode.h"

namespace spindle::jinja {
namespace {

std::string quoted(std::string_view s, bool ascii) {
  std::string out = "\"";
  for (size_t at = 0; at < s.size();) {
    const char32_t c = decode_at(s, at);
    constexpr std::string_view from = "\"\\\n\r\t\f\b", to = "\"\\nrtfb";
    if (const size_t i = c < 0x80 ? from.find(static_cast<char>(c)) : from.npos; i != from.npos) {
      out += '\\';
      out += to[i];
    } else if (c < 0x20 || (ascii && c >= 0x7F && c < 0x10000 && c != 0x7F)) {
      out += fmt::format("\\u{:04x}", static_cast<uint32_t>(c));
    } else if (ascii && c >= 0x10000) {
      const uint32_t v = static_cast<uint32_t>(c) - 0x10000;
      out += fmt::format("\\u{:04x}\\u{:04x}", 0xD800 + (v >> 10), 0xDC00 + (v & 0x3FF));
    } else {
      append_utf8(out, c);
    }
  }
  return out + '"';
}

void write_text(Context& context, Marked& out, const Str& s, bool ascii) {
  const std::string text = quoted(s.bytes(), ascii);
  context.charge(text.size());
  context.work_bytes(text.size());
  out.append(text, !s.value.input.empty());
}

std::string real_text(double d) {
  return std::isnan(d) ? "NaN" : std::isinf(d) ? (d < 0 ? "-Infinity" : "Infinity") : format_real(d);
}

void write_key(Context& context, Marked& out, Value key, const JsonStyle& style) {
  if (key.is(Kind::string)) return write_text(context, out, key.str(), style.ascii);
  if (key.is(Kind::none)) return out.append("\"null\"");
  if (key.is(Kind::boolean)) return out.append(key.truth ? "\"true\"" : "\"false\"");
  if (key.is(Kind::integer)) return out.append('"' + std::to_string(key.number) + '"');
  if (key.is(Kind::real)) return out.append('"' + real_text(key.real) + '"');
  context.fail("tojson: a {} as a key", type_name(key));
}

Value from(Context& context, const nlohmann::ordered_json& j, bool input, int depth) {
  if (depth > 100) context.fail("lists and objects nested more than 100 levels deep");
  context.work();
  switch (j.type()) {
    case nlohmann::ordered_json::value_t::null:
      return Value::none();
    case nlohmann::ordered_json::value_t::boolean:
      return Value::boolean(j.get<bool>());
    case nlohmann::ordered_json::value_t::number_integer:
      return Value::integer(j.get<int64_t>());
    case nlohmann::ordered_json::value_t::number_unsigned:
      if (j.get<uint64_t>() > INT64_MAX) return Value::floating(static_cast<double>(j.get<uint64_t>()));
      return Value::integer(j.get<int64_t>());
    case nlohmann::ordered_json::value_t::number_float:
      return Value::floating(j.get<double>());
    case nlohmann::ordered_json::value_t::string:
      return make_string(context, j.get<std::string>(), input);
    case nlohmann::ordered_json::value_t::array: {
      std::vector<Value> items;
      for (const auto& item : j) items.push_back(from(context, item, input, depth + 1));
      return make_list(context, std::move(items));
    }
    case nlohmann::ordered_json::value_t::object: {
      Dict* dict = context.make<Dict>();
      for (const auto& [key, value] : j.items())
        insert(context, *dict, make_string(context, key, input), from(context, value, input, depth + 1));
      return dict;
    }
    default:
      context.fail("a value that JSON does not have");
  }
}

}  // namespace

Value from_json(Context& context, const nlohmann::ordered_json& json, bool input) {
  return from(context, json, input, 0);
}

void write_json(Context& context, Marked& out, Value v, const JsonStyle& style, int depth) {
  if (depth > 100) context.fail("tojson: nested more than 100 levels deep");
  context.work();
  // With what stands around it: a separator may be any text.
  context.charge(8 + style.item_separator.size() + style.key_separator.size());
  const auto new_line = [&](int level) {
    if (!style.indent) return;
    context.charge(style.indent->size() * static_cast<size_t>(level));
    out.append("\n");
    for (int i = 0; i < level; i++) out.append(*style.indent);
  };
  switch (v.kind) {
    case Kind::none:
      return out.append("null");
    case Kind::boolean:
      return out.append(v.truth ? "true" : "false");
    case Kind::integer:
      return out.append(std::to_string(v.number));
    case Kind::real:
      return out.append(real_text(v.real));
    case Kind::string:
      return write_text(context, out, v.str(), style.ascii);
    case Kind::list: {
      const List& l = v.list();
      if (l.type != List::Type::list && l.type != List::Type::tuple) break;
      if (l.items.empty()) return out.append("[]");
      out.append("[");
      for (size_t i = 0; i < l.items.size(); i++) {
        if (i > 0) out.append(style.item_separator);
        new_line(depth + 1);
        write_json(context, out, l.items[i], style, depth + 1);
      }
      new_line(depth);
      return out.append("]");
    }
    case Kind::dict: {
      auto entries = v.dict().entries;
      if (entries.empty()) return out.append("{}");
      context.charge(entries.size() * sizeof entries[0]);
      if (style.sort_keys)
        std::ranges::stable_sort(
            entries, [&](const auto& a, const auto& b) { return compare(context, a.first, b.first) == -1; });
      out.append("{");
      for (size_t i = 0; i < entries.size(); i++) {
        if (i > 0) out.append(style.item_separator);
        new_line(depth + 1);
        write_key(context, out, entries[i].first, style);
        out.append(style.key_separator);
        write_json(context, out, entries[i].second, style, depth + 1);
      }
      new_line(depth);
      return out.append("}");
    }
    default:
      break;
  }
  context.fail("tojson: a {} has no JSON", type_name(v));
}

}  // namespace spindle::jinja
