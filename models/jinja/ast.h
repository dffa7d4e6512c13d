// What the parser makes of a template's source and the interpreter walks over.
#ifndef SPINDLE_MODELS_JINJA_AST_H
#define SPINDLE_MODELS_JINJA_AST_H
#include <memory>
#include <string>
#include <vector>

#include "models/jinja/value.h"

namespace spindle::jinja {

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

enum class ExprKind : uint8_t {
  constant,   // value
  name,       // name
  list,       // items
  tuple,      // items
  dict,       // items: key, value, key, value, ...
  attribute,  // items[0].text; as a target: namespace.name
  item,       // items[0][items[1]]
  slice,      // items[0][items[1]:items[2]:items[3]], parts may be null
  call,       // items[0](arguments)
  filter,     // items[0] | text(arguments); items[0] is null in front of a block
  test,       // items[0] is text(arguments)
  negate,
  plus,
  logical_not,
  logical_and,
  logical_or,
  binary,      // items[0] op items[1]
  comparison,  // items[0] ops[0] items[1] ops[1] items[2] ...
  condition    // items[0] if items[1] else items[2], which may be null
};

enum class Op : uint8_t {
  add,
  subtract,
  multiply,
  divide,
  floor_divide,
  modulo,
  power,
  concatenate,
  equal,
  not_equal,
  less,
  less_equal,
  greater,
  greater_equal,
  in,
  not_in
};

struct Expr {
  Expr(ExprKind k, int l) : kind(k), line(l) {}
  ExprKind kind;
  Op op = Op::add;
  int line;
  int depth = 1;  // levels of expressions from here on
  int name = -1;
  Value value;
  std::string text;
  std::vector<ExprPtr> items;
  std::vector<Op> ops;
  // Of calls, filters and tests.
  std::vector<ExprPtr> arguments;
  std::vector<std::pair<std::string, ExprPtr>> named;
  ExprPtr star, star_star;
  Function filter = nullptr;  // null: not known, an error when it is reached
  Predicate test = nullptr;
};

struct Stmt;
using Body = std::vector<std::unique_ptr<Stmt>>;

// A macro, or the body of a call block.
struct MacroCode {
  std::string name;
  std::vector<int> parameters;
  std::vector<std::string> parameter_names;
  std::vector<ExprPtr> defaults;  // of the last parameters
  Body body;
  bool uses_varargs = false, uses_kwargs = false, uses_caller = false;
};

enum class StmtKind : uint8_t {
  text,          // value
  output,        // expr
  conditional,   // branches, orelse
  loop,          // for target in expr if test: body, orelse
  assign,        // target = expr
  assign_block,  // target = body, through expr if there is one
  macro,         // macro, name
  call,          // expr with macro as its caller
  filter,        // body through expr
  with,          // assignments, body
  scope,         // body: the generation tag of transformers
  leave,         // break
  next           // continue
};

struct Stmt {
  Stmt(StmtKind k, int l) : kind(k), line(l) {}
  StmtKind kind;
  int line;
  bool recursive = false;
  int name = -1;
  Value value;
  ExprPtr target, expr, test;
  Body body, orelse;
  std::vector<std::pair<ExprPtr, Body>> branches;
  std::vector<std::pair<ExprPtr, ExprPtr>> assignments;
  std::unique_ptr<MacroCode> macro;
};

struct Ast {
  Body body;
  std::vector<std::string> names;  // of variables, by number
};

}  // namespace spindle::jinja
#endif
