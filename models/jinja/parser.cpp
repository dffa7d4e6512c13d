// Statements: what stands in {% %}, and the text and outputs between.
#include "models/jinja/parser.h"

#include <algorithm>

#include "models/jinja/builtins.h"
#include "models/jinja/parser_state.h"
#include "models/utf8.h"

namespace spindle::jinja {

using Type = Token::Type;

Ast parse(Context& context, std::string_view source) {
  context.line = 1;
  std::vector<Token> tokens = tokenize(context, source);
  context.line = 1;
  return Parser(context, std::move(tokens)).run();
}

Ast Parser::run() {
  ast_.body = body({}, false);
  return std::move(ast_);
}

void Parser::unexpected(std::string_view wanted) const {
  context_.line = now().line;
  const Token& t = now();
  if (t.type == Type::end) context_.fail("the template ends where {} is expected", wanted);
  context_.fail("found '{}' where {} is expected", printable(t.text), wanted);
}

void Parser::expect_op(std::string_view op) {
  if (!now().is(op)) unexpected(fmt::format("'{}'", op));
  at_++;
}

void Parser::expect_name(std::string_view word) {
  if (!now().is_name(word)) unexpected(fmt::format("'{}'", word));
  at_++;
}

std::string Parser::expect_identifier(std::string_view what) {
  if (now().type != Type::name) unexpected(what);
  return take().text;
}

void Parser::expect_block_end() {
  if (now().type != Type::block_end) unexpected("'%}'");
  at_++;
}

int Parser::name_id(const std::string& name) {
  const auto [place, is_new] = ids_.try_emplace(name, static_cast<int>(ast_.names.size()));
  if (is_new) ast_.names.push_back(name);
  return place->second;
}

// `in_tag`: its own tag is still open.
Body Parser::body(Words ends, bool in_tag) {
  const Level level(context_, depth_, context_.limits.nesting);
  const int line = now().line;
  if (in_tag) expect_block_end();
  Body list;
  while (true) {
    switch (now().type) {
      case Type::end:
        if (ends.size() == 0) return list;
        context_.line = line;
        context_.fail("the tag that begins here has no '{{% {} %}}'", *(ends.end() - 1));
      case Type::text: {
        auto s = std::make_unique<Stmt>(StmtKind::text, now().line);
        s->value = make_string(context_, take().text);
        list.push_back(std::move(s));
        break;
      }
      case Type::variable_begin:
        list.push_back(output());
        break;
      case Type::block_begin: {
        at_++;
        if (now().type != Type::name) unexpected("the name of a tag");
        if (std::ranges::find(ends, now().text) != ends.end()) return list;
        auto s = statement();
        expect_block_end();
        list.push_back(std::move(s));
        break;
      }
      default:
        unexpected("text or a tag");
    }
  }
}

std::unique_ptr<Stmt> Parser::output() {
  auto s = std::make_unique<Stmt>(StmtKind::output, take().line);
  s->expr = tuple(true, false);
  if (now().type != Type::variable_end) unexpected("'}}'");
  at_++;
  return s;
}

std::unique_ptr<Stmt> Parser::statement() {
  const Token tag = take();
  const std::string& t = tag.text;
  if (t == "if") return conditional();
  if (t == "for") return loop();
  if (t == "set") return assignment();
  if (t == "macro") return macro();
  if (t == "call") return call();
  if (t == "filter") return filter();
  if (t == "with") return with();
  if (t == "generation") {
    auto s = std::make_unique<Stmt>(StmtKind::scope, tag.line);
    s->body = body({"endgeneration"});
    end_tag("endgeneration");
    return s;
  }
  if (t == "break" || t == "continue") {
    if (loops_ == 0) context_.fail("'{}' outside a loop", t);
    return std::make_unique<Stmt>(t == "break" ? StmtKind::leave : StmtKind::next, tag.line);
  }
  if (t == "print") {
    auto s = std::make_unique<Stmt>(StmtKind::output, tag.line);
    s->expr = tuple(true, false);
    return s;
  }
  if (t.starts_with("end") || t == "else" || t == "elif") context_.fail("the tag '{}' closes nothing", t);
  context_.fail("the tag '{}' is not supported", printable(t));
}

void Parser::end_tag(std::string_view word) { expect_name(word); }

std::unique_ptr<Stmt> Parser::conditional() {
  auto s = std::make_unique<Stmt>(StmtKind::conditional, context_.line);
  while (true) {
    ExprPtr condition = tuple(false, false);
    Body then = body({"elif", "else", "endif"});
    s->branches.emplace_back(std::move(condition), std::move(then));
    if (skip_name("elif")) continue;
    if (skip_name("else")) s->orelse = body({"endif"});
    end_tag("endif");
    return s;
  }
}

std::unique_ptr<Stmt> Parser::loop() {
  auto s = std::make_unique<Stmt>(StmtKind::loop, context_.line);
  s->target = target(false);
  expect_name("in");
  s->expr = tuple(false, false, {"recursive", "if"});
  if (skip_name("if")) s->test = expression();
  s->recursive = skip_name("recursive");
  s->name = name_id("loop");
  loops_++;
  s->body = body({"else", "endfor"});
  loops_--;
  if (skip_name("else")) s->orelse = body({"endfor"});
  end_tag("endfor");
  return s;
}

// Names, tuples of them, or namespace.attribute.
ExprPtr Parser::target(bool with_namespace) {
  const int line = now().line;
  std::vector<ExprPtr> parts;
  bool is_tuple = false;
  while (true) {
    if (skip_op("(")) {
      ExprPtr inner = target(with_namespace);
      expect_op(")");
      parts.push_back(std::move(inner));
    } else {
      if (now().type != Type::name) unexpected("a variable to assign to");
      ExprPtr name = make(ExprKind::name, now().line);
      name->text = take().text;
      for (std::string_view constant : {"true", "false", "none", "True", "False", "None"})
        if (name->text == constant) context_.fail("'{}' cannot be assigned to", constant);
      name->name = name_id(name->text);
      if (with_namespace && skip_op(".")) {
        ExprPtr attribute = node(ExprKind::attribute, line, std::move(name));
        attribute->text = expect_identifier("an attribute of a namespace");
        name = std::move(attribute);
      }
      parts.push_back(std::move(name));
    }
    if (!skip_op(",")) break;
    is_tuple = true;
    if (now().type != Type::name && !now().is("(")) break;
    if (now().is_name("in")) break;
  }
  if (!is_tuple) return std::move(parts[0]);
  ExprPtr all = make(ExprKind::tuple, line);
  all->items = std::move(parts);
  return finish(std::move(all));
}

std::unique_ptr<Stmt> Parser::assignment() {
  auto s = std::make_unique<Stmt>(StmtKind::assign, context_.line);
  s->target = target(true);
  if (skip_op("=")) {
    s->expr = tuple(true, false);
    return s;
  }
  s->kind = StmtKind::assign_block;
  if (skip_op("|")) {
    s->expr = one_filter(nullptr);
    while (skip_op("|")) s->expr = one_filter(std::move(s->expr));
  }
  s->body = body({"endset"});
  end_tag("endset");
  return s;
}

void Parser::signature(MacroCode& code) {
  expect_op("(");
  while (!now().is(")")) {
    if (!code.parameters.empty()) expect_op(",");
    code.parameter_names.push_back(expect_identifier("a parameter"));
    if (code.parameter_names.back() == "caller") context_.fail("a parameter 'caller' is not supported");
    code.parameters.push_back(name_id(code.parameter_names.back()));
    if (code.parameters.size() > kMostArguments) context_.fail("more than {} parameters", kMostArguments);
    if (skip_op("=")) code.defaults.push_back(expression());
    else if (!code.defaults.empty()) context_.fail("a parameter without default follows one with a default");
  }
  expect_op(")");
}

void Parser::macro_body(MacroCode& code, std::string_view end) {
  const int loops = std::exchange(loops_, 0);
  macros_.push_back(&code);
  code.body = body({end});
  macros_.pop_back();
  loops_ = loops;
  end_tag(end);
}

std::unique_ptr<Stmt> Parser::macro() {
  auto s = std::make_unique<Stmt>(StmtKind::macro, context_.line);
  s->macro = std::make_unique<MacroCode>();
  s->macro->name = expect_identifier("the name of the macro");
  s->name = name_id(s->macro->name);
  signature(*s->macro);
  macro_body(*s->macro, "endmacro");
  return s;
}

std::unique_ptr<Stmt> Parser::call() {
  auto s = std::make_unique<Stmt>(StmtKind::call, context_.line);
  s->macro = std::make_unique<MacroCode>();
  s->macro->name = "caller";
  if (now().is("(")) signature(*s->macro);
  s->expr = expression();
  if (s->expr->kind != ExprKind::call) context_.fail("the tag 'call' wants a call");
  macro_body(*s->macro, "endcall");
  return s;
}

std::unique_ptr<Stmt> Parser::filter() {
  auto s = std::make_unique<Stmt>(StmtKind::filter, context_.line);
  s->expr = one_filter(nullptr);
  while (skip_op("|")) s->expr = one_filter(std::move(s->expr));
  s->body = body({"endfilter"});
  end_tag("endfilter");
  return s;
}

std::unique_ptr<Stmt> Parser::with() {
  auto s = std::make_unique<Stmt>(StmtKind::with, context_.line);
  while (now().type != Type::block_end) {
    if (!s->assignments.empty()) expect_op(",");
    ExprPtr to = make(ExprKind::name, now().line);
    to->text = expect_identifier("a variable");
    to->name = name_id(to->text);
    expect_op("=");
    ExprPtr value = expression();
    s->assignments.emplace_back(std::move(to), std::move(value));
  }
  s->body = body({"endwith"});
  end_tag("endwith");
  return s;
}

}  // namespace spindle::jinja
