// Methods of list and dict.
#include <algorithm>

#include "models/jinja/interpreter.h"

namespace spindle::jinja {
namespace {

List& changeable(Context& context, Value self) {
  if (self.list().type != List::Type::list) context.fail("a {} cannot be changed", type_name(self));
  return self.list();
}

Value append(Interpreter& in, Value self, Args& args) {
  const auto a = args.bind(in.context(), "list.append", {"object"}, 1);
  push(in.context(), changeable(in.context(), self), *a[0]);
  return Value::none();
}

Value extend(Interpreter& in, Value self, Args& args) {
  const auto a = args.bind(in.context(), "list.extend", {"iterable"}, 1);
  List& list = changeable(in.context(), self);
  for (Value v : iterate(in.context(), *a[0])) push(in.context(), list, v);
  return Value::none();
}

Value insert_at(Interpreter& in, Value self, Args& args) {
  const auto a = args.bind(in.context(), "list.insert", {"index", "object"}, 2);
  List& list = changeable(in.context(), self);
  const auto n = static_cast<int64_t>(list.items.size());
  const int64_t i = get_integer(in.context(), *a[0], "list.insert");
  in.context().charge(2 * sizeof(Value));
  in.context().work_bytes(list.items.size() * sizeof(Value));
  list.items.insert(list.items.begin() + std::clamp<int64_t>(i < 0 ? i + n : i, 0, n), *a[1]);
  return Value::none();
}

Value pop(Interpreter& in, Value self, Args& args) {
  const auto a = args.bind(in.context(), "list.pop", {"index"});
  List& list = changeable(in.context(), self);
  const auto n = static_cast<int64_t>(list.items.size());
  const int64_t given = get_integer_or(in.context(), a[0], "list.pop", -1), i = given < 0 ? given + n : given;
  if (i < 0 || i >= n) in.context().fail("list.pop: no element {} of {}", given, n);
  const Value v = list.items[static_cast<size_t>(i)];
  in.context().work_bytes(static_cast<size_t>(n - i) * sizeof(Value));
  list.items.erase(list.items.begin() + i);
  return v;
}

Value index(Interpreter& in, Value self, Args& args) {
  const auto a = args.bind(in.context(), "list.index", {"value"}, 1);
  const auto& items = self.list().items;
  for (size_t i = 0; i < items.size(); i++)
    if (equal(in.context(), items[i], *a[0])) return Value::integer(static_cast<int64_t>(i));
  in.context().fail("list.index: the value is not there");
}

Value count(Interpreter& in, Value self, Args& args) {
  const auto a = args.bind(in.context(), "list.count", {"value"}, 1);
  int64_t n = 0;
  for (Value v : self.list().items) n += equal(in.context(), v, *a[0]);
  return Value::integer(n);
}

Value copy_list(Interpreter& in, Value self, Args& args) {
  args.bind(in.context(), "list.copy", {});
  return make_list(in.context(), changeable(in.context(), self).items);
}

const NamedFunction kListMethods[] = {{"append", append}, {"extend", extend}, {"insert", insert_at},
                                      {"pop", pop},       {"index", index},   {"count", count},
                                      {"copy", copy_list}};

Value get(Interpreter& in, Value self, Args& args) {
  const auto a = args.bind(in.context(), "dict.get", {"key", "default"}, 1);
  const auto hash = hash_key(in.context(), *a[0]);
  if (!hash) in.context().fail("a {} cannot be the key of a dict", type_name(*a[0]));
  const auto found = self.dict().index.find(*hash);
  if (found != self.dict().index.end()) return self.dict().entries[found->second].second;
  return a[1].value_or(Value::none());
}

template <List::Type kType>
Value view(Interpreter& in, Value self, Args& args) {
  Context& context = in.context();
  args.bind(context, "a view of a dict", {});
  std::vector<Value> all;
  for (const auto& [key, value] : self.dict().entries) {
    context.work();
    all.push_back(kType == List::Type::keys     ? key
                  : kType == List::Type::values ? value
                                                : make_list(context, {key, value}, List::Type::tuple));
  }
  return make_list(context, std::move(all), kType);
}

Value update(Interpreter& in, Value self, Args& args) {
  Context& context = in.context();
  if (args.at.size() > 1) context.fail("dict.update takes one dict and named arguments");
  if (!args.at.empty()) {
    if (!args.at[0].is(Kind::dict))
      context.fail("dict.update of a {} is not supported", type_name(args.at[0]));
    const auto entries = args.at[0].dict().entries;
    for (const auto& [key, value] : entries) insert(context, self.dict(), key, value);
  }
  for (const auto& [name, value] : args.named)
    insert(context, self.dict(), make_string(context, name), value);
  return Value::none();
}

Value pop_key(Interpreter& in, Value self, Args& args) {
  const auto a = args.bind(in.context(), "dict.pop", {"key", "default"}, 1);
  Dict& dict = self.dict();
  const auto hash = hash_key(in.context(), *a[0]);
  const auto found = hash ? dict.index.find(*hash) : dict.index.end();
  if (found == dict.index.end()) {
    if (!a[1]) in.context().fail("dict.pop: the key is not there");
    return *a[1];
  }
  const size_t place = found->second;
  const Value v = dict.entries[place].second;
  in.context().work(dict.entries.size());
  dict.index.erase(found);
  dict.entries.erase(dict.entries.begin() + static_cast<ptrdiff_t>(place));
  for (auto& [key, i] : dict.index) i -= i > place;
  return v;
}

Value set_default(Interpreter& in, Value self, Args& args) {
  const auto a = args.bind(in.context(), "dict.setdefault", {"key", "default"}, 1);
  if (const Value* v = find(in.context(), self.dict(), *a[0])) return *v;
  insert(in.context(), self.dict(), *a[0], a[1].value_or(Value::none()));
  return a[1].value_or(Value::none());
}

Value copy_dict(Interpreter& in, Value self, Args& args) {
  args.bind(in.context(), "dict.copy", {});
  Dict* copy = in.context().make<Dict>();
  for (const auto& [key, value] : self.dict().entries) insert(in.context(), *copy, key, value);
  return copy;
}

const NamedFunction kDictMethods[] = {{"get", get},
                                      {"items", view<List::Type::items>},
                                      {"keys", view<List::Type::keys>},
                                      {"values", view<List::Type::values>},
                                      {"update", update},
                                      {"pop", pop_key},
                                      {"setdefault", set_default},
                                      {"copy", copy_dict}};

// Python has these too: naming one is an error, not an undefined value.
constexpr std::string_view kOthers[] = {"casefold",     "encode",  "expandtabs", "format_map", "isascii",
                                        "isidentifier", "istitle", "maketrans",  "swapcase",   "translate",
                                        "isprintable",  "clear",   "popitem",    "fromkeys",   "remove",
                                        "reverse",      "sort"};
constexpr std::string_view kNumberAttributes[] = {
    "real",     "imag",       "numerator", "denominator",      "conjugate", "bit_length", "bit_count",
    "to_bytes", "is_integer", "hex",       "as_integer_ratio", "fromhex",   "from_bytes"};

}  // namespace

std::span<const NamedFunction> list_methods() { return kListMethods; }
std::span<const NamedFunction> dict_methods() { return kDictMethods; }

Function find_method(Context& context, Value self, std::string_view name) {
  std::span<const NamedFunction> methods;
  if (self.is(Kind::string)) methods = string_methods();
  else if (self.is(Kind::dict)) methods = dict_methods();
  else if (self.is(Kind::list) && self.list().is_sequence()) methods = list_methods();
  const auto found = std::ranges::find(methods, name, &NamedFunction::name);
  if (found != methods.end()) {
    // A tuple has but these two.
    const bool lacks =
        self.is(Kind::list) && self.list().type != List::Type::list && name != "index" && name != "count";
    return lacks ? nullptr : found->function;
  }
  const auto is = [&](std::initializer_list<std::string_view> names) {
    return std::ranges::count(names, name) > 0;
  };
  const bool of_dict = is({"clear", "popitem", "fromkeys"}),
             of_list = is({"clear", "remove", "reverse", "sort"});
  const bool other = std::ranges::count(kOthers, name) > 0;
  if ((self.is(Kind::dict) && of_dict) ||
      (self.is(Kind::list) && self.list().type == List::Type::list && of_list) ||
      (self.is(Kind::string) && other && !of_dict && !of_list) ||
      (self.is_number() && std::ranges::count(kNumberAttributes, name) > 0))
    context.fail("the method '{}' of a {} is not supported", name, type_name(self));
  return nullptr;
}

}  // namespace spindle::jinja
