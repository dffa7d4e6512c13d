// Filters of lists, dicts and other things that can be iterated over.
#include <algorithm>

#include "models/jinja/interpreter.h"

namespace spindle::jinja {
namespace {

using Type = List::Type;

Value generator(Context& context, std::vector<Value> items) {
  return make_list(context, std::move(items), Type::generator);
}

// "a.b.0": what lies there in an item.
Value dig(Interpreter& in, Value item, Value attribute) {
  Context& context = in.context();
  if (attribute.is_integral()) return in.get_item(item, attribute);
  const std::string& path = get_string(context, attribute, "an attribute").bytes();
  for (size_t at = 0; at <= path.size();) {
    const size_t dot = std::min(path.find('.', at), path.size());
    const std::string part = path.substr(at, dot - at);
    const bool number =
        !part.empty() && part.size() < 10 && part.find_first_not_of("0123456789") == part.npos;
    item = in.get_item(item, number ? Value::integer(std::stoll(part)) : make_string(context, part));
    at = dot + 1;
  }
  return item;
}

Value ignoring_case(Interpreter& in, Value v, bool sensitive) {
  return v.is(Kind::string) && !sensitive ? change_case(in.context(), v.str(), Case::lower) : v;
}

bool is_given(const std::optional<Value>& v) { return v && !v->is(Kind::none); }

// What items are sorted by: themselves, an attribute, or several ("a,b").
Value sort_key(Interpreter& in, Value item, const std::optional<Value>& attribute, bool sensitive,
               bool many) {
  if (!is_given(attribute)) return ignoring_case(in, item, sensitive);
  if (!many || !attribute->is(Kind::string)) return ignoring_case(in, dig(in, item, *attribute), sensitive);
  std::vector<Value> keys;
  const std::string& list = attribute->str().bytes();
  for (size_t at = 0; at <= list.size();) {
    const size_t comma = std::min(list.find(',', at), list.size());
    keys.push_back(
        ignoring_case(in, dig(in, item, make_string(in.context(), list.substr(at, comma - at))), sensitive));
    at = comma + 1;
  }
  return make_list(in.context(), std::move(keys));
}

using Keyed = std::vector<std::pair<Value, Value>>;  // key, item

void sort_by_key(Context& context, Keyed& list, bool reverse) {
  context.charge(list.size() * sizeof list[0]);
  if (reverse) std::ranges::reverse(list);  // equal ones stay in order, as Python's
  std::ranges::stable_sort(
      list, [&](const auto& a, const auto& b) { return compare(context, a.first, b.first) == -1; });
  if (reverse) std::ranges::reverse(list);
}

Value sort(Interpreter& in, Value v, Args& args) {
  const auto a = args.bind(in.context(), "sort", {"reverse", "case_sensitive", "attribute"});
  Keyed list;
  for (Value item : iterate(in.context(), v))
    list.emplace_back(sort_key(in, item, a[2], get_flag(a[1]), true), item);
  sort_by_key(in.context(), list, get_flag(a[0]));
  std::vector<Value> items;
  for (const auto& [key, item] : list) items.push_back(item);
  return make_list(in.context(), std::move(items));
}

Value dict_sort(Interpreter& in, Value v, Args& args) {
  Context& context = in.context();
  const auto a = args.bind(context, "dictsort", {"case_sensitive", "by", "reverse"});
  const std::string by = a[1] ? get_string(context, *a[1], "dictsort").bytes() : "key";
  if (by != "key" && by != "value") context.fail("dictsort: by '{}', allowed are key and value", by);
  if (v.is_undefined()) fail_undefined(context, v);
  if (!v.is(Kind::dict)) context.fail("dictsort: found a {}, expected a dict", type_name(v));
  Keyed list;
  for (const auto& [key, value] : v.dict().entries)
    list.emplace_back(ignoring_case(in, by == "key" ? key : value, get_flag(a[0])),
                      make_list(context, {key, value}, Type::tuple));
  sort_by_key(context, list, get_flag(a[2]));
  std::vector<Value> items;
  for (const auto& [key, item] : list) items.push_back(item);
  return make_list(context, std::move(items));
}

Value group_by(Interpreter& in, Value v, Args& args) {
  Context& context = in.context();
  const auto a = args.bind(context, "groupby", {"attribute", "default", "case_sensitive"}, 1);
  Keyed list;
  for (Value item : iterate(context, v)) {
    Value key = dig(in, item, *a[0]);
    if (key.is_undefined() && is_given(a[1])) key = *a[1];
    list.emplace_back(ignoring_case(in, key, get_flag(a[2])), item);
  }
  sort_by_key(context, list, false);
  std::vector<Value> groups;
  for (size_t i = 0; i < list.size();) {
    std::vector<Value> items;
    const Value key = list[i].first;
    Value shown = dig(in, list[i].second, *a[0]);
    if (shown.is_undefined() && is_given(a[1])) shown = *a[1];
    for (; i < list.size() && equal(context, list[i].first, key); i++) items.push_back(list[i].second);
    groups.push_back(make_list(context, {shown, make_list(context, std::move(items))}, Type::tuple));
  }
  return make_list(context, std::move(groups));
}

Value unique(Interpreter& in, Value v, Args& args) {
  Context& context = in.context();
  const auto a = args.bind(context, "unique", {"case_sensitive", "attribute"});
  Dict* seen = context.make<Dict>();
  std::vector<Value> items;
  for (Value item : iterate(context, v)) {
    const Value key = sort_key(in, item, a[1], get_flag(a[0]), false);
    const auto hash = hash_key(context, key);
    if (!hash) context.fail("unique: a {} has no hash", type_name(key));
    if (seen->index.contains(*hash)) continue;
    insert(context, *seen, key, item);
    items.push_back(item);
  }
  return generator(context, std::move(items));
}

Value extreme(Interpreter& in, Value v, Args& args, int wanted) {
  Context& context = in.context();
  const auto a = args.bind(context, "min", {"case_sensitive", "attribute"});
  const std::vector<Value> items = iterate(context, v);
  if (items.empty()) return make_undefined(context, "the extreme of nothing");
  Value best = items[0], best_key = sort_key(in, best, a[1], get_flag(a[0]), false);
  for (size_t i = 1; i < items.size(); i++) {
    const Value key = sort_key(in, items[i], a[1], get_flag(a[0]), false);
    if (compare(context, key, best_key, wanted < 0 ? "<" : ">") == wanted) best = items[i], best_key = key;
  }
  return best;
}

Value sum(Interpreter& in, Value v, Args& args) {
  const auto a = args.bind(in.context(), "sum", {"attribute", "start"});
  Value total = a[1].value_or(Value::integer(0));
  if (total.is(Kind::string)) in.context().fail("sum of strings: use join");
  for (Value item : iterate(in.context(), v))
    total = binary(in.context(), Op::add, total, is_given(a[0]) ? dig(in, item, *a[0]) : item);
  return total;
}

Value join_filter(Interpreter& in, Value v, Args& args) {
  const auto a = args.bind(in.context(), "join", {"d", "attribute"});
  std::vector<Value> items = iterate(in.context(), v);
  if (is_given(a[1]))
    for (Value& item : items) item = dig(in, item, *a[1]);
  const Value separator = a[0] ? Value(&to_str(in.context(), *a[0])) : make_string(in.context(), "");
  return join(in.context(), separator.str(), items, false);
}

// x.name but never x['name'].
Value attribute(Interpreter& in, Value v, Args& args) {
  const auto a = args.bind(in.context(), "attr", {"name"}, 1);
  const std::string& name = get_string(in.context(), *a[0], "attr").bytes();
  if (v.is(Kind::dict) && !find_method(in.context(), v, name))
    return make_undefined(in.context(), "an attribute of a dict");
  return in.get_attribute(v, name);
}

Value length(Interpreter& in, Value v, Args& args) {
  args.bind(in.context(), "length", {});
  const auto n = find_length(v);
  if (!n) in.context().fail("a {} has no length", type_name(v));
  return Value::integer(static_cast<int64_t>(*n));
}

Value first(Interpreter& in, Value v, Args& args) {
  args.bind(in.context(), "first", {});
  if (v.is(Kind::list) && v.list().type == Type::generator && !v.list().items.empty()) {
    const Value item = v.list().items.front();
    in.context().work_bytes(v.list().items.size() * sizeof(Value));
    v.list().items.erase(v.list().items.begin());
    return item;
  }
  const std::vector<Value> items = iterate(in.context(), v);
  return items.empty() ? make_undefined(in.context(), "the first item of nothing") : items.front();
}

Value last(Interpreter& in, Value v, Args& args) {
  args.bind(in.context(), "last", {});
  if (v.is(Kind::list) && v.list().type == Type::generator)
    in.context().fail("last: a generator cannot be reversed");
  const std::vector<Value> items = iterate(in.context(), v);
  return items.empty() ? make_undefined(in.context(), "the last item of nothing") : items.back();
}

Value as_list(Interpreter& in, Value v, Args& args) {
  args.bind(in.context(), "list", {});
  return make_list(in.context(), iterate(in.context(), v));
}

Value reverse(Interpreter& in, Value v, Args& args) {
  args.bind(in.context(), "reverse", {});
  std::vector<Value> items = iterate(in.context(), v);
  std::ranges::reverse(items);
  if (v.is(Kind::string)) return join(in.context(), make_string(in.context(), "").str(), items, true);
  return generator(in.context(), std::move(items));
}

Value items_of(Interpreter& in, Value v, Args& args) {
  args.bind(in.context(), "items", {});
  std::vector<Value> pairs;
  if (v.is(Kind::dict)) {
    for (const auto& [key, value] : v.dict().entries)
      pairs.push_back(make_list(in.context(), {key, value}, Type::tuple));
  } else if (!v.is_undefined()) {
    in.context().fail("items: found a {}, expected a dict", type_name(v));
  }
  return generator(in.context(), std::move(pairs));
}

// The first argument is taken out: a filter's or a test's name, or an attribute.
Value take_first(Context& context, Args& args, std::string_view what) {
  if (args.at.empty()) context.fail("{}: an argument is missing", what);
  const Value v = args.at.front();
  args.at.erase(args.at.begin());
  return v;
}

Value map(Interpreter& in, Value v, Args& args) {
  Context& context = in.context();
  std::vector<Value> items;
  if (args.at.empty()) {
    const auto a = args.bind(context, "map", {"attribute", "default"}, 1);
    for (Value item : iterate(context, v)) {
      Value found = dig(in, item, *a[0]);
      if (found.is_undefined() && is_given(a[1])) found = *a[1];
      items.push_back(found);
    }
    return generator(context, std::move(items));
  }
  Args rest = args;
  const Value name = take_first(context, rest, "map");
  for (Value item : iterate(context, v))
    items.push_back(in.apply_filter(get_string(context, name, "map").bytes(), item, rest));
  return generator(context, std::move(items));
}

Value select(Interpreter& in, Value v, const Args& args, bool wanted, bool by_attribute) {
  Context& context = in.context();
  Args rest = args;
  std::optional<Value> attribute;
  if (by_attribute) attribute = take_first(context, rest, "selectattr");
  std::string test;
  if (!rest.at.empty()) test = get_string(context, take_first(context, rest, "select"), "select").bytes();
  std::vector<Value> items;
  for (Value item : iterate(context, v)) {
    const Value tested = attribute ? dig(in, item, *attribute) : item;
    if ((test.empty() ? is_true(tested) : in.apply_test(test, tested, rest)) == wanted) items.push_back(item);
  }
  return generator(context, std::move(items));
}

Value batch(Interpreter& in, Value v, Args& args) {
  Context& context = in.context();
  const auto a = args.bind(context, "batch", {"linecount", "fill_with"}, 1);
  const int64_t n = get_integer(context, *a[0], "batch");
  if (n < 1) context.fail("batch: lines of {}", n);
  std::vector<Value> lines, line;
  for (Value item : iterate(context, v)) {
    if (static_cast<int64_t>(line.size()) == n) lines.push_back(make_list(context, std::exchange(line, {})));
    line.push_back(item);
  }
  if (!line.empty()) {
    if (is_given(a[1])) {
      context.charge(static_cast<size_t>(n) * sizeof(Value));
      line.resize(static_cast<size_t>(n), *a[1]);
    }
    lines.push_back(make_list(context, std::move(line)));
  }
  return generator(context, std::move(lines));
}

Value slice(Interpreter& in, Value v, Args& args) {
  Context& context = in.context();
  const auto a = args.bind(context, "slice", {"slices", "fill_with"}, 1);
  const std::vector<Value> items = iterate(context, v);
  const int64_t n = get_integer(context, *a[0], "slice");
  if (n < 1 || n > 100000) context.fail("slice: {} slices", n);
  const size_t slices = static_cast<size_t>(n), each = items.size() / slices, more = items.size() % slices;
  std::vector<Value> out;
  size_t at = 0;
  for (size_t i = 0; i < slices; i++) {
    const size_t count = each + (i < more);
    std::vector<Value> part(items.begin() + static_cast<ptrdiff_t>(at),
                            items.begin() + static_cast<ptrdiff_t>(at + count));
    if (is_given(a[1]) && i >= more) part.push_back(*a[1]);
    out.push_back(make_list(context, std::move(part)));
    at += count;
  }
  return generator(context, std::move(out));
}

const NamedFunction kFilters[] = {
    {"attr", attribute},
    {"length", length},
    {"count", length},
    {"join", join_filter},
    {"first", first},
    {"last", last},
    {"list", as_list},
    {"reverse", reverse},
    {"items", items_of},
    {"map", map},
    {"select", [](Interpreter& in, Value v, Args& a) { return select(in, v, a, true, false); }},
    {"reject", [](Interpreter& in, Value v, Args& a) { return select(in, v, a, false, false); }},
    {"selectattr", [](Interpreter& in, Value v, Args& a) { return select(in, v, a, true, true); }},
    {"rejectattr", [](Interpreter& in, Value v, Args& a) { return select(in, v, a, false, true); }},
    {"sort", sort},
    {"dictsort", dict_sort},
    {"groupby", group_by},
    {"unique", unique},
    {"min", [](Interpreter& in, Value v, Args& a) { return extreme(in, v, a, -1); }},
    {"max", [](Interpreter& in, Value v, Args& a) { return extreme(in, v, a, 1); }},
    {"sum", sum},
    {"batch", batch},
    {"slice", slice},
};

}  // namespace

std::span<const NamedFunction> sequence_filters() { return kFilters; }

}  // namespace spindle::jinja
