// The parser's two halves, expressions and statements; only they include this.
#ifndef SPINDLE_MODELS_JINJA_PARSER_STATE_H
#define SPINDLE_MODELS_JINJA_PARSER_STATE_H
#include <initializer_list>
#include <unordered_map>

#include "models/jinja/parser.h"

namespace spindle::jinja {

class Parser {
 public:
  Parser(Context& context, std::vector<Token> tokens) : context_(context), tokens_(std::move(tokens)) {}
  Ast run();

 private:
  using Words = std::initializer_list<std::string_view>;

  const Token& now() const { return tokens_[at_]; }
  const Token& ahead() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  Token take() {
    context_.line = now().line;
    return at_ + 1 < tokens_.size() ? tokens_[at_++] : tokens_[at_];
  }
  bool skip_op(std::string_view op) { return now().is(op) && (at_++, true); }
  bool skip_name(std::string_view word) { return now().is_name(word) && (at_++, true); }
  void expect_op(std::string_view op);
  void expect_name(std::string_view word);
  std::string expect_identifier(std::string_view what);
  void expect_block_end();
  [[noreturn]] void unexpected(std::string_view wanted) const;
  int name_id(const std::string& name);

  // parser.cpp: statements.
  Body body(Words ends, bool in_tag = true);  // stops at a tag whose name is one of them, on that name
  std::unique_ptr<Stmt> statement();
  std::unique_ptr<Stmt> output();
  std::unique_ptr<Stmt> conditional();
  std::unique_ptr<Stmt> loop();
  std::unique_ptr<Stmt> assignment();
  std::unique_ptr<Stmt> macro();
  std::unique_ptr<Stmt> call();
  std::unique_ptr<Stmt> filter();
  std::unique_ptr<Stmt> with();
  void signature(MacroCode& code);
  void macro_body(MacroCode& code, std::string_view end);
  void end_tag(std::string_view word);
  ExprPtr target(bool with_namespace);

  // parser_expression.cpp.
  ExprPtr make(ExprKind kind, int line) { return std::make_unique<Expr>(kind, line); }
  ExprPtr finish(ExprPtr e);  // measures its depth
  ExprPtr node(ExprKind kind, int line, ExprPtr a, ExprPtr b = nullptr);
  ExprPtr constant(Value value, int line);
  ExprPtr expression(bool with_condition = true);
  ExprPtr tuple(bool with_condition, bool parentheses, Words ends = {});
  bool at_tuple_end(Words ends) const;
  ExprPtr disjunction();
  ExprPtr conjunction();
  ExprPtr negation();
  ExprPtr comparison();
  ExprPtr sum();
  ExprPtr concatenation();
  ExprPtr product();
  ExprPtr power();
  ExprPtr unary(bool with_filter = true);
  ExprPtr primary();
  ExprPtr list();
  ExprPtr dict();
  ExprPtr postfix(ExprPtr e);
  ExprPtr subscript(ExprPtr e);
  ExprPtr filters(ExprPtr e);
  ExprPtr one_filter(ExprPtr e);  // behind its '|'
  ExprPtr test(ExprPtr e);
  void call_arguments(Expr& e);

  Context& context_;
  std::vector<Token> tokens_;
  size_t at_ = 0;
  int depth_ = 0, loops_ = 0;
  Ast ast_;
  std::unordered_map<std::string, int> ids_;
  std::vector<MacroCode*> macros_;  // that we are in
};

}  // namespace spindle::jinja
#endif
