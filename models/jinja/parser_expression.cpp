// Expressions, with the precedence of Jinja2's parser.
#include <algorithm>

#include "models/jinja/builtins.h"
#include "models/jinja/parser_state.h"
#include "models/utf8.h"

namespace spindle::jinja {

using Type = Token::Type;

ExprPtr Parser::finish(ExprPtr e) {
  int deepest = 0;
  const auto see = [&](const ExprPtr& part) {
    if (part) deepest = std::max(deepest, part->depth);
  };
  for (const ExprPtr& part : e->items) see(part);
  for (const ExprPtr& part : e->arguments) see(part);
  for (const auto& [name, part] : e->named) see(part);
  see(e->star);
  see(e->star_star);
  e->depth = deepest + 1;
  if (e->depth > context_.limits.nesting)
    context_.fail("an expression nested more than {} levels deep", context_.limits.nesting);
  return e;
}

ExprPtr Parser::node(ExprKind kind, int line, ExprPtr a, ExprPtr b) {
  ExprPtr e = make(kind, line);
  e->items.push_back(std::move(a));
  if (b) e->items.push_back(std::move(b));
  return finish(std::move(e));
}

ExprPtr Parser::constant(Value value, int line) {
  ExprPtr e = make(ExprKind::constant, line);
  e->value = value;
  return e;
}

ExprPtr Parser::expression(bool with_condition) {
  const Level level(context_, depth_, context_.limits.nesting);
  ExprPtr e = disjunction();
  while (with_condition && now().is_name("if")) {
    const int line = take().line;
    ExprPtr condition = disjunction();
    ExprPtr otherwise = skip_name("else") ? expression() : nullptr;
    ExprPtr all = make(ExprKind::condition, line);
    all->items.push_back(std::move(e));
    all->items.push_back(std::move(condition));
    all->items.push_back(std::move(otherwise));
    e = finish(std::move(all));
  }
  return e;
}

bool Parser::at_tuple_end(Words ends) const {
  const Token& t = now();
  if (t.type == Type::variable_end || t.type == Type::block_end || t.is(")")) return true;
  return t.type == Type::name && std::ranges::find(ends, t.text) != ends.end();
}

ExprPtr Parser::tuple(bool with_condition, bool parentheses, Words ends) {
  const int line = now().line;
  std::vector<ExprPtr> parts;
  bool is_tuple = false;
  while (true) {
    if (!parts.empty()) expect_op(",");
    if (at_tuple_end(ends)) break;
    parts.push_back(expression(with_condition));
    if (!now().is(",")) break;
    is_tuple = true;
  }
  if (!is_tuple && !parts.empty()) return std::move(parts[0]);
  if (!is_tuple && !parentheses) unexpected("an expression");
  ExprPtr e = make(ExprKind::tuple, line);
  e->items = std::move(parts);
  return finish(std::move(e));
}

ExprPtr Parser::disjunction() {
  ExprPtr e = conjunction();
  while (now().is_name("or")) {
    const int line = take().line;
    e = node(ExprKind::logical_or, line, std::move(e), conjunction());
  }
  return e;
}

ExprPtr Parser::conjunction() {
  ExprPtr e = negation();
  while (now().is_name("and")) {
    const int line = take().line;
    e = node(ExprKind::logical_and, line, std::move(e), negation());
  }
  return e;
}

ExprPtr Parser::negation() {
  if (!now().is_name("not")) return comparison();
  const Level level(context_, depth_, context_.limits.nesting);
  const int line = take().line;
  return node(ExprKind::logical_not, line, negation());
}

ExprPtr Parser::comparison() {
  ExprPtr first = sum();
  ExprPtr e = make(ExprKind::comparison, first->line);
  constexpr std::pair<std::string_view, Op> kOps[] = {{"==", Op::equal},  {"!=", Op::not_equal},
                                                      {"<", Op::less},    {"<=", Op::less_equal},
                                                      {">", Op::greater}, {">=", Op::greater_equal}};
  e->items.push_back(std::move(first));
  while (true) {
    const auto op = std::ranges::find_if(kOps, [&](const auto& o) { return now().is(o.first); });
    if (op != std::end(kOps)) {
      at_++;
      e->ops.push_back(op->second);
    } else if (skip_name("in")) {
      e->ops.push_back(Op::in);
    } else if (now().is_name("not") && ahead().is_name("in")) {
      at_ += 2;
      e->ops.push_back(Op::not_in);
    } else {
      break;
    }
    e->items.push_back(sum());
  }
  return e->ops.empty() ? std::move(e->items[0]) : finish(std::move(e));
}

ExprPtr Parser::sum() {
  ExprPtr e = concatenation();
  while (now().is("+") || now().is("-")) {
    const Token t = take();
    e = node(ExprKind::binary, t.line, std::move(e), concatenation());
    e->op = t.text == "+" ? Op::add : Op::subtract;
  }
  return e;
}

ExprPtr Parser::concatenation() {
  ExprPtr e = product();
  while (now().is("~")) {
    const int line = take().line;
    e = node(ExprKind::binary, line, std::move(e), product());
    e->op = Op::concatenate;
  }
  return e;
}

ExprPtr Parser::product() {
  ExprPtr e = power();
  while (now().is("*") || now().is("/") || now().is("//") || now().is("%")) {
    const Token t = take();
    e = node(ExprKind::binary, t.line, std::move(e), power());
    e->op = t.text == "*"    ? Op::multiply
            : t.text == "/"  ? Op::divide
            : t.text == "//" ? Op::floor_divide
                             : Op::modulo;
  }
  return e;
}

ExprPtr Parser::power() {
  ExprPtr e = unary();
  while (now().is("**")) {
    const int line = take().line;
    e = node(ExprKind::binary, line, std::move(e), unary());
    e->op = Op::power;
  }
  return e;
}

ExprPtr Parser::unary(bool with_filter) {
  const Level level(context_, depth_, context_.limits.nesting);
  const int line = now().line;
  ExprPtr e;
  if (skip_op("-")) e = node(ExprKind::negate, line, unary(false));
  else if (skip_op("+")) e = node(ExprKind::plus, line, unary(false));
  else e = primary();
  e = postfix(std::move(e));
  return with_filter ? filters(std::move(e)) : std::move(e);
}

ExprPtr Parser::primary() {
  const Token t = now();
  if (t.type == Type::name) {
    take();
    if (t.text == "true" || t.text == "True") return constant(Value::boolean(true), t.line);
    if (t.text == "false" || t.text == "False") return constant(Value::boolean(false), t.line);
    if (t.text == "none" || t.text == "None") return constant(Value::none(), t.line);
    if (t.text == "self" || t.text == "super" || t.text == "lipsum")
      context_.fail("'{}' is not supported", t.text);
    for (MacroCode* macro : macros_) {
      macro->uses_varargs |= t.text == "varargs";
      macro->uses_kwargs |= t.text == "kwargs";
      macro->uses_caller |= t.text == "caller";
    }
    ExprPtr e = make(ExprKind::name, t.line);
    e->name = name_id(t.text);
    e->text = t.text;
    return e;
  }
  if (t.type == Type::string) {
    std::string text;
    while (now().type == Type::string) text += take().text;
    return constant(make_string(context_, std::move(text)), t.line);
  }
  if (t.type == Type::integer) return take(), constant(Value::integer(t.number), t.line);
  if (t.type == Type::real) return take(), constant(Value::floating(t.real), t.line);
  if (skip_op("(")) {
    ExprPtr e = tuple(true, true);
    expect_op(")");
    return e;
  }
  if (t.is("[")) return list();
  if (t.is("{")) return dict();
  unexpected("an expression");
}

ExprPtr Parser::list() {
  ExprPtr e = make(ExprKind::list, take().line);
  while (!now().is("]")) {
    if (!e->items.empty()) expect_op(",");
    if (now().is("]")) break;
    e->items.push_back(expression());
  }
  expect_op("]");
  return finish(std::move(e));
}

ExprPtr Parser::dict() {
  ExprPtr e = make(ExprKind::dict, take().line);
  while (!now().is("}")) {
    if (!e->items.empty()) expect_op(",");
    if (now().is("}")) break;
    e->items.push_back(expression());
    expect_op(":");
    e->items.push_back(expression());
  }
  expect_op("}");
  return finish(std::move(e));
}

ExprPtr Parser::postfix(ExprPtr e) {
  while (true) {
    if (now().is(".") || now().is("[")) {
      e = subscript(std::move(e));
    } else if (now().is("(")) {
      ExprPtr call = make(ExprKind::call, now().line);
      call->items.push_back(std::move(e));
      call_arguments(*call);
      e = finish(std::move(call));
    } else {
      return e;
    }
  }
}

ExprPtr Parser::subscript(ExprPtr e) {
  const Token t = take();
  if (t.is(".")) {
    if (now().type == Type::integer) {
      const Token index = take();
      return node(ExprKind::item, t.line, std::move(e), constant(Value::integer(index.number), t.line));
    }
    ExprPtr attribute = node(ExprKind::attribute, t.line, std::move(e));
    attribute->text = expect_identifier("an attribute");
    return attribute;
  }
  ExprPtr first = now().is(":") ? nullptr : expression();
  if (!now().is(":")) {
    if (now().is(",")) context_.fail("an index of several parts is not supported");
    expect_op("]");
    return node(ExprKind::item, t.line, std::move(e), std::move(first));
  }
  ExprPtr slice = make(ExprKind::slice, t.line);
  slice->items.push_back(std::move(e));
  slice->items.push_back(std::move(first));
  for (int i = 0; i < 2; i++) {
    const bool more = skip_op(":");
    slice->items.push_back(!more || now().is(":") || now().is("]") ? nullptr : expression());
  }
  expect_op("]");
  return finish(std::move(slice));
}

ExprPtr Parser::filters(ExprPtr e) {
  while (true) {
    if (skip_op("|")) {
      e = one_filter(std::move(e));
    } else if (now().is_name("is")) {
      e = test(std::move(e));
    } else if (now().is("(")) {
      ExprPtr call = make(ExprKind::call, now().line);
      call->items.push_back(std::move(e));
      call_arguments(*call);
      e = finish(std::move(call));
    } else {
      return e;
    }
  }
}

ExprPtr Parser::one_filter(ExprPtr e) {
  ExprPtr f = make(ExprKind::filter, now().line);
  f->text = expect_identifier("a filter");
  while (skip_op(".")) f->text += fmt::format(".{}", expect_identifier("a filter"));
  f->filter = find_filter(f->text);
  f->items.push_back(std::move(e));
  if (now().is("(")) call_arguments(*f);
  return finish(std::move(f));
}

ExprPtr Parser::test(ExprPtr e) {
  const int line = take().line;
  const bool negated = skip_name("not");
  ExprPtr t = make(ExprKind::test, line);
  t->text = expect_identifier("a test");
  while (skip_op(".")) t->text += fmt::format(".{}", expect_identifier("a test"));
  t->test = find_test(t->text);
  t->items.push_back(std::move(e));
  const Token& next = now();
  const bool is_value = next.type == Type::string || next.type == Type::integer || next.type == Type::real ||
                        next.is("[") || next.is("{") || next.type == Type::name;
  bool is_word = false;
  for (std::string_view word : {"else", "or", "and", "if", "in", "not", "recursive"})
    is_word |= next.is_name(word);
  if (next.is("(")) {
    call_arguments(*t);
  } else if (is_value && !is_word) {
    if (next.is_name("is")) context_.fail("tests cannot be chained with 'is'");
    t->arguments.push_back(postfix(primary()));
  }
  t = finish(std::move(t));
  return negated ? node(ExprKind::logical_not, line, std::move(t)) : std::move(t);
}

void Parser::call_arguments(Expr& e) {
  expect_op("(");
  bool first = true;
  while (!now().is(")")) {
    if (!first) expect_op(",");
    if (now().is(")")) break;
    first = false;
    if (skip_op("*")) {
      if (e.star || e.star_star) context_.fail("a call takes one '*' and one '**' at most");
      e.star = expression();
    } else if (skip_op("**")) {
      if (e.star_star) context_.fail("a call takes one '*' and one '**' at most");
      e.star_star = expression();
    } else if (now().type == Type::name && ahead().is("=")) {
      std::string name = take().text;
      at_++;
      if (e.named.size() == kMostArguments)
        context_.fail("more than {} named arguments of a call", kMostArguments);
      for (const auto& [other, value] : e.named)
        if (other == name) context_.fail("the argument '{}' is given twice", printable(name));
      e.named.emplace_back(std::move(name), expression());
    } else {
      if (e.star || e.star_star || !e.named.empty())
        context_.fail("an argument without a name follows one with a name");
      e.arguments.push_back(expression());
    }
  }
  expect_op(")");
}

}  // namespace spindle::jinja
