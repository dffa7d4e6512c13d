// Arguments of calls, and the functions that every template sees.
#include <algorithm>
#include <array>

#include "models/jinja/interpreter.h"
#include "models/utf8.h"

namespace spindle::jinja {

std::vector<std::optional<Value>> Args::bind(Context& context, std::string_view what,
                                             std::initializer_list<std::string_view> parameters,
                                             size_t required) const {
  std::vector<std::optional<Value>> bound(parameters.size());
  if (at.size() > parameters.size())
    context.fail("{}: {} arguments, allowed are {}", what, at.size(), parameters.size());
  std::ranges::copy(at, bound.begin());
  for (const auto& [name, value] : named) {
    const auto place = std::ranges::find(parameters, name) - parameters.begin();
    if (place == static_cast<ptrdiff_t>(parameters.size()))
      context.fail("{}: there is no argument '{}'", what, printable(name));
    if (bound[static_cast<size_t>(place)]) context.fail("{}: the argument '{}' is given twice", what, name);
    bound[static_cast<size_t>(place)] = value;
  }
  for (size_t i = 0; i < required; i++)
    if (!bound[i]) context.fail("{}: the argument '{}' is missing", what, parameters.begin()[i]);
  return bound;
}

int64_t get_integer(Context& context, Value v, std::string_view what) {
  if (v.is_undefined()) fail_undefined(context, v);
  if (!v.is_integral()) context.fail("{}: found a {}, expected an int", what, type_name(v));
  return v.as_integer();
}

Str& get_string(Context& context, Value v, std::string_view what) {
  if (v.is_undefined()) fail_undefined(context, v);
  if (!v.is(Kind::string)) context.fail("{}: found a {}, expected a str", what, type_name(v));
  return v.str();
}

int64_t get_integer_or(Context& context, const std::optional<Value>& v, std::string_view what,
                       int64_t otherwise) {
  return v ? get_integer(context, *v, what) : otherwise;
}

bool get_flag(const std::optional<Value>& v, bool otherwise) { return v ? is_true(*v) : otherwise; }

std::optional<Value> Namespace::attribute(Interpreter& in, std::string_view name) {
  in.context().work_bytes(name.size());
  const auto found = values.find(std::string(name));
  return found == values.end() ? std::nullopt : std::optional(found->second);
}

void Namespace::set(Context& context, std::string_view name, Value value) {
  context.work_bytes(name.size());
  const auto [place, is_new] = values.insert_or_assign(std::string(name), value);
  if (is_new) context.charge(128 + name.size());
}

namespace {

struct Global : Native {
  Function function = nullptr;
  const char* type() const override { return "function"; }
  bool callable() const override { return true; }
  Value call(Interpreter& in, Args& args) override { return function(in, {}, args); }
};

Value range(Interpreter& in, Value, Args& args) {
  Context& context = in.context();
  const auto a = args.bind(context, "range", {"start", "stop", "step"}, 1);
  const int64_t first = get_integer(context, *a[0], "range");
  const int64_t start = a[1] ? first : 0, stop = a[1] ? get_integer(context, *a[1], "range") : first;
  const int64_t step = get_integer_or(context, a[2], "range", 1);
  if (step == 0) context.fail("range: the step is 0");
  constexpr uint64_t kMost = 100000;  // as Jinja2's sandbox
  const uint64_t distance =
      step > 0 ? (stop > start ? static_cast<uint64_t>(stop) - static_cast<uint64_t>(start) : 0)
               : (start > stop ? static_cast<uint64_t>(start) - static_cast<uint64_t>(stop) : 0);
  const uint64_t width = step > 0 ? static_cast<uint64_t>(step) : 0 - static_cast<uint64_t>(step);
  const uint64_t n = distance / width + (distance % width != 0);
  if (n > kMost) context.fail("range: {} numbers, allowed are {}", n, kMost);
  context.work(n);
  std::vector<Value> items;
  for (uint64_t i = 0; i < n; i++) items.push_back(Value::integer(start + static_cast<int64_t>(i) * step));
  return make_list(context, std::move(items), List::Type::range);
}

Value make_namespace(Interpreter& in, Value, Args& args) {
  Context& context = in.context();
  auto* space = context.make<Namespace>();
  if (args.at.size() > 1) context.fail("namespace takes one dict and named arguments");
  if (!args.at.empty()) {
    if (!args.at[0].is(Kind::dict))
      context.fail("namespace: found a {}, expected a dict", type_name(args.at[0]));
    for (const auto& [key, value] : args.at[0].dict().entries)
      space->set(context, get_string(context, key, "namespace").bytes(), value);
  }
  for (const auto& [name, value] : args.named) space->set(context, name, value);
  return space;
}

Value make_dict(Interpreter& in, Value, Args& args) {
  Context& context = in.context();
  Dict* dict = context.make<Dict>();
  if (args.at.size() > 1) context.fail("dict takes one dict and named arguments");
  if (!args.at.empty()) {
    const Value from = args.at[0];
    if (from.is(Kind::dict)) {
      const auto entries = from.dict().entries;
      for (const auto& [key, value] : entries) insert(context, *dict, key, value);
    } else {
      for (Value pair : iterate(context, from)) {
        const std::vector<Value> parts = iterate(context, pair);
        if (parts.size() != 2)
          context.fail("dict: an item of {} values, expected key and value", parts.size());
        insert(context, *dict, parts[0], parts[1]);
      }
    }
  }
  for (const auto& [name, value] : args.named) insert(context, *dict, make_string(context, name), value);
  return dict;
}

Value raise(Interpreter& in, Value, Args& args) {
  const auto a = args.bind(in.context(), "raise_exception", {"message"}, 1);
  throw Error(ErrorKind::usage,
              fmt::format("{}, line {}: the chat template says: {}", in.context().name(), in.context().line,
                          printable(to_str(in.context(), *a[0]).bytes(), 1000)));
}

Value strftime_now(Interpreter& in, Value, Args& args) {
  const auto a = args.bind(in.context(), "strftime_now", {"format"}, 1);
  const std::string& format = get_string(in.context(), *a[0], "strftime_now").bytes();
  if (format.size() > 1000) in.context().fail("strftime_now: a format of {} bytes", format.size());
  std::tm local{};
  const std::time_t now = in.now();
  localtime_r(&now, &local);
  std::array<char, 32768> text;
  const size_t n = format.empty() ? 0 : std::strftime(text.data(), text.size(), format.c_str(), &local);
  return make_string(in.context(), std::string(text.data(), n));
}

struct Cycler : Native {
  std::vector<Value> items;
  size_t at = 0;
  const char* type() const override { return "Cycler"; }
  std::optional<Value> attribute(Interpreter& in, std::string_view name) override;
};

struct CyclerMethod : Native {
  Cycler* cycler = nullptr;
  bool resets = false;
  const char* type() const override { return "method"; }
  bool callable() const override { return true; }
  Value call(Interpreter& in, Args& args) override {
    args.bind(in.context(), "a method of a cycler", {});
    if (resets) return cycler->at = 0, Value::none();
    const Value v = cycler->items[cycler->at];
    cycler->at = (cycler->at + 1) % cycler->items.size();
    return v;
  }
};

std::optional<Value> Cycler::attribute(Interpreter& in, std::string_view name) {
  if (name == "current") return items[at];
  if (name != "next" && name != "reset") return {};
  auto* method = in.context().make<CyclerMethod>();
  method->cycler = this;
  method->resets = name == "reset";
  return method;
}

struct Joiner : Native {
  Value separator;
  bool used = false;
  const char* type() const override { return "Joiner"; }
  bool callable() const override { return true; }
  Value call(Interpreter& in, Args& args) override {
    args.bind(in.context(), "a joiner", {});
    return std::exchange(used, true) ? separator : make_string(in.context(), "");
  }
};

Value make_cycler(Interpreter& in, Value, Args& args) {
  if (args.at.empty() || !args.named.empty())
    in.context().fail("cycler: at least one item has to be provided");
  auto* cycler = in.context().make<Cycler>();
  cycler->items = args.at;
  return cycler;
}

Value make_joiner(Interpreter& in, Value, Args& args) {
  const auto a = args.bind(in.context(), "joiner", {"sep"});
  auto* joiner = in.context().make<Joiner>();
  joiner->separator = a[0] ? *a[0] : make_string(in.context(), ", ");
  return joiner;
}

constexpr NamedFunction kGlobals[] = {
    {"range", range},           {"namespace", make_namespace},  {"dict", make_dict},
    {"raise_exception", raise}, {"strftime_now", strftime_now}, {"cycler", make_cycler},
    {"joiner", make_joiner}};

}  // namespace

Value find_global(Context& context, std::string_view name) {
  const auto found = std::ranges::find(kGlobals, name, &NamedFunction::name);
  if (found == std::end(kGlobals)) return {};
  auto* global = context.make<Global>();
  global->function = found->function;
  return global;
}

}  // namespace spindle::jinja
