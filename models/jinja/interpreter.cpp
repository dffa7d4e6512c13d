// Statements: frames of variables, loops, macros and captured text.
#include "models/jinja/interpreter.h"

#include <algorithm>

namespace spindle::jinja {
namespace {

struct Macro : Native {
  const MacroCode* code = nullptr;
  Frame* home = nullptr;
  const char* type() const override { return "Macro"; }
  bool callable() const override { return true; }
  Value call(Interpreter& in, Args& args) override { return in.call_macro(*code, home, args); }
  std::optional<Value> attribute(Interpreter& in, std::string_view name) override {
    if (name == "name") return make_string(in.context(), code->name);
    in.context().fail("the attribute '{}' of a macro is not supported", name);
  }
};

struct Loop : Native {
  const Stmt* code = nullptr;
  Frame* home = nullptr;
  std::vector<Value> items;
  size_t i = 0;
  int depth = 1;
  std::optional<std::vector<Value>> last_changed;
  const char* type() const override { return "LoopContext"; }
  bool callable() const override { return true; }
  Value call(Interpreter& in, Args& args) override {
    if (!code->recursive) in.context().fail("loop() wants a loop that is 'recursive'");
    const auto bound = args.bind(in.context(), "loop()", {"iterable"}, 1);
    return in.run_loop(*code, *bound[0], home, depth + 1);
  }
  std::optional<Value> attribute(Interpreter& in, std::string_view name) override;
};

// loop.cycle and loop.changed.
struct LoopMethod : Native {
  Loop* loop = nullptr;
  bool cycles = false;
  const char* type() const override { return "method"; }
  bool callable() const override { return true; }
  Value call(Interpreter& in, Args& args) override {
    if (!args.named.empty()) in.context().fail("loop methods take no named arguments");
    if (cycles) {
      if (args.at.empty()) in.context().fail("loop.cycle: no items for cycling given");
      return args.at[loop->i % args.at.size()];
    }
    bool same = loop->last_changed && loop->last_changed->size() == args.at.size();
    for (size_t k = 0; same && k < args.at.size(); k++)
      same = equal(in.context(), (*loop->last_changed)[k], args.at[k]);
    loop->last_changed = args.at;
    return Value::boolean(!same);
  }
};

std::optional<Value> Loop::attribute(Interpreter& in, std::string_view name) {
  const auto n = static_cast<int64_t>(items.size()), at = static_cast<int64_t>(i);
  if (name == "index") return Value::integer(at + 1);
  if (name == "index0") return Value::integer(at);
  if (name == "revindex") return Value::integer(n - at);
  if (name == "revindex0") return Value::integer(n - at - 1);
  if (name == "first") return Value::boolean(at == 0);
  if (name == "last") return Value::boolean(at + 1 == n);
  if (name == "length") return Value::integer(n);
  if (name == "depth") return Value::integer(depth);
  if (name == "depth0") return Value::integer(depth - 1);
  if (name == "previtem")
    return i > 0 ? items[i - 1] : make_undefined(in.context(), "'loop.previtem' of the first round");
  if (name == "nextitem")
    return at + 1 < n ? items[i + 1] : make_undefined(in.context(), "'loop.nextitem' of the last round");
  if (name != "cycle" && name != "changed") return {};
  auto* method = in.context().make<LoopMethod>();
  method->loop = this;
  method->cycles = name == "cycle";
  return method;
}

}  // namespace

Interpreter::Interpreter(Context& context, const Ast& ast, std::time_t now)
    : context_(context), ast_(ast), now_(now), globals_(ast.names.size()), frame_(context.make<Frame>()) {
  for (size_t i = 0; i < globals_.size(); i++)
    if (const Value v = find_global(context, ast.names[i]); !v.is_undefined()) globals_[i] = v;
  for (size_t i = 0; i < ast.names.size(); i++)
    for (const auto& [name, id] :
         {std::pair("caller", &caller_), {"kwargs", &kwargs_}, {"varargs", &varargs_}})
      if (ast.names[i] == name) *id = static_cast<int>(i);
}

void Interpreter::set_variable(std::string_view name, Value value) {
  const auto found = std::ranges::find(ast_.names, name);
  if (found != ast_.names.end()) globals_[static_cast<size_t>(found - ast_.names.begin())] = value;
}

Marked Interpreter::run() {
  Marked out;
  out_ = &out;
  run(ast_.body);
  out_ = nullptr;
  return out;
}

void Interpreter::set(int name, Value value) {
  context_.work(frame_->variables.size() / 16);
  for (auto& [id, old] : frame_->variables)
    if (id == name) {
      old = value;
      return;
    }
  context_.charge(2 * sizeof(std::pair<int, Value>));
  frame_->variables.emplace_back(name, value);
}

Value Interpreter::get(const Expr& e) {
  size_t seen = 0;
  for (Frame* f = frame_; f; f = f->parent) {
    seen += 1 + f->variables.size();
    for (const auto& [id, value] : f->variables)
      if (id == e.name) return context_.work(seen / 16), value;
  }
  context_.work(seen / 16);
  const auto& global = globals_[static_cast<size_t>(e.name)];
  return global ? *global : make_undefined(context_, "'" + e.text + "'");
}

void Interpreter::write(Value v) {
  write_str(context_, *out_, v);
  if (out_->text.size() > context_.limits.output_bytes)
    context_.fail("more than {} MiB of output", context_.limits.output_bytes >> 20);
}

template <class Work>
Value Interpreter::capture(Frame* frame, Work&& work) {
  Marked text;
  Marked* const out = std::exchange(out_, &text);
  Frame* const before = std::exchange(frame_, frame);
  struct Restore {
    Interpreter& in;
    Marked* out;
    Frame* frame;
    ~Restore() { in.out_ = out, in.frame_ = frame; }
  } restore{*this, out, before};
  work();
  return make_string(context_, std::move(text));
}

Value Interpreter::captured(const Body& body) {
  Frame* inner = context_.make<Frame>();
  inner->parent = frame_;
  return capture(inner, [&] { run(body); });
}

Interpreter::Flow Interpreter::run(const Body& body) {
  for (const auto& s : body)
    if (const Flow flow = run(*s); flow != Flow::on) return flow;
  return Flow::on;
}

Interpreter::Flow Interpreter::run(const Stmt& s) {
  const Level level(context_, depth_, context_.limits.recursion);
  context_.work();
  context_.line = s.line;
  switch (s.kind) {
    case StmtKind::text:
      write(s.value);
      return Flow::on;
    case StmtKind::output:
      write(evaluate(*s.expr));
      return Flow::on;
    case StmtKind::conditional:
      for (const auto& [condition, body] : s.branches)
        if (is_true(evaluate(*condition))) return run(body);
      return run(s.orelse);
    case StmtKind::loop:
      return loop(s, loop_items(s, evaluate(*s.expr)), 1);
    case StmtKind::assign:
      assign(*s.target, evaluate(*s.expr));
      return Flow::on;
    case StmtKind::assign_block: {
      Value text = captured(s.body);
      if (s.expr) text = evaluate_filter(*s.expr, &text);
      assign(*s.target, text);
      return Flow::on;
    }
    case StmtKind::macro: {
      auto* macro = context_.make<Macro>();
      macro->code = s.macro.get();
      macro->home = frame_;
      set(s.name, macro);
      return Flow::on;
    }
    case StmtKind::call: {
      auto* caller = context_.make<Macro>();
      caller->code = s.macro.get();
      caller->home = frame_;
      Value callee = evaluate(*s.expr->items[0]);
      Args args;
      collect(*s.expr, args);
      args.named.emplace_back("caller", caller);
      write(call(callee, args));
      return Flow::on;
    }
    case StmtKind::filter: {
      const Value text = captured(s.body), result = evaluate_filter(*s.expr, &text);
      if (!result.is(Kind::string))
        context_.fail("a filter block gives a {}, expected a str", type_name(result));
      write(result);
      return Flow::on;
    }
    case StmtKind::scope:
      write(captured(s.body));
      return Flow::on;
    case StmtKind::with: {
      Frame* inner = context_.make<Frame>();
      inner->parent = frame_;
      std::vector<Value> values;
      for (const auto& [target, value] : s.assignments) values.push_back(evaluate(*value));
      for (size_t i = 0; i < values.size(); i++)
        inner->variables.emplace_back(s.assignments[i].first->name, values[i]);
      Frame* const outer = std::exchange(frame_, inner);
      const Flow flow = run(s.body);
      frame_ = outer;
      return flow;
    }
    case StmtKind::leave:
      return Flow::leave;
    case StmtKind::next:
      return Flow::next;
  }
  return Flow::on;
}

void Interpreter::assign(const Expr& target, Value value) {
  if (target.kind == ExprKind::name) return set(target.name, value);
  if (target.kind == ExprKind::attribute) {
    const Value object = get(*target.items[0]);
    auto* space = object.is(Kind::native) ? dynamic_cast<Namespace*>(&object.native()) : nullptr;
    if (!space) context_.fail("'{}' is no namespace: its attributes cannot be set", target.items[0]->text);
    return space->set(context_, target.text, value);
  }
  const std::vector<Value> parts = iterate(context_, value);
  if (parts.size() != target.items.size())
    context_.fail("{} values for {} variables", parts.size(), target.items.size());
  for (size_t i = 0; i < parts.size(); i++) assign(*target.items[i], parts[i]);
}

// Those that the loop's own condition lets through.
std::vector<Value> Interpreter::loop_items(const Stmt& s, Value items) {
  std::vector<Value> all = iterate(context_, items);
  if (!s.test) return all;
  Frame* inner = context_.make<Frame>();
  inner->parent = frame_;
  Frame* const outer = std::exchange(frame_, inner);
  std::erase_if(all, [&](Value item) {
    assign(*s.target, item);
    return !is_true(evaluate(*s.test));
  });
  frame_ = outer;
  return all;
}

Interpreter::Flow Interpreter::loop(const Stmt& s, const std::vector<Value>& items, int depth) {
  Frame* const outer = frame_;
  const auto inner = [&] {
    frame_ = context_.make<Frame>();
    frame_->parent = outer;
  };
  auto* loop = context_.make<Loop>();
  loop->code = &s;
  loop->home = outer;
  loop->items = items;
  loop->depth = depth;
  bool finished_one = false;  // Jinja2 runs `else` when no round came to its end
  Flow flow = Flow::on;
  for (; loop->i < items.size(); loop->i++) {
    inner();
    frame_->variables.emplace_back(s.name, loop);
    assign(*s.target, items[loop->i]);
    flow = run(s.body);
    if (flow == Flow::leave) break;
    finished_one |= flow == Flow::on;
  }
  if (!finished_one && !s.orelse.empty()) {
    inner();
    flow = run(s.orelse);
    frame_ = outer;
    return flow;
  }
  frame_ = outer;
  return Flow::on;
}

Value Interpreter::run_loop(const Stmt& s, Value items, Frame* home, int depth) {
  return capture(home, [&] { loop(s, loop_items(s, items), depth); });
}

Value Interpreter::call_macro(const MacroCode& code, Frame* home, Args& args) {
  const Level level(context_, depth_, context_.limits.recursion);
  Frame* inner = context_.make<Frame>();
  inner->parent = home;
  const size_t n = code.parameters.size();
  const int line = context_.line;
  std::vector<bool> used(args.named.size());
  const auto take = [&](std::string_view name) -> std::optional<Value> {
    context_.work(args.named.size() / 8);
    for (size_t i = 0; i < args.named.size(); i++)
      if (!used[i] && args.named[i].first == name) return used[i] = true, args.named[i].second;
    return {};
  };
  const Value text = capture(inner, [&] {
    std::vector<std::optional<Value>> given(n);
    for (size_t i = 0; i < n; i++)
      given[i] = i < args.at.size() ? std::optional(args.at[i]) : take(code.parameter_names[i]);
    const auto caller = code.uses_caller ? take("caller") : std::nullopt;
    for (size_t i = 0; i < args.named.size(); i++) {
      if (used[i] || code.uses_kwargs) continue;
      context_.fail("the macro '{}' takes no argument named '{}'", code.name, args.named[i].first);
    }
    if (args.at.size() > n && !code.uses_varargs)
      context_.fail("the macro '{}' takes not more than {} arguments, found {}", code.name, n,
                    args.at.size());
    if (code.uses_caller) {
      inner->variables.emplace_back(caller_, caller ? *caller : make_undefined(context_, "'caller'"));
    }
    if (code.uses_kwargs) {
      Dict* rest = context_.make<Dict>();
      for (size_t i = 0; i < args.named.size(); i++)
        if (!used[i])
          insert(context_, *rest, make_string(context_, args.named[i].first), args.named[i].second);
      inner->variables.emplace_back(kwargs_, rest);
    }
    if (code.uses_varargs) {
      std::vector<Value> rest;
      if (args.at.size() > n) rest.assign(args.at.begin() + static_cast<ptrdiff_t>(n), args.at.end());
      inner->variables.emplace_back(varargs_, make_list(context_, std::move(rest), List::Type::tuple));
    }
    for (size_t i = 0; i < n; i++) {
      const size_t first_default = n - code.defaults.size();
      Value v = given[i] ? *given[i]
                : i >= first_default
                    ? evaluate(*code.defaults[i - first_default])
                    : make_undefined(context_, "the parameter '" + code.parameter_names[i] + "'");
      set(code.parameters[i], v);
    }
    run(code.body);
  });
  context_.line = line;
  return text;
}

}  // namespace spindle::jinja
