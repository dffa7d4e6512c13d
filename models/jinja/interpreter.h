// Walks over a template's tree and writes the text.
#ifndef SPINDLE_MODELS_JINJA_INTERPRETER_H
#define SPINDLE_MODELS_JINJA_INTERPRETER_H
#include <ctime>
#include <functional>

#include "models/jinja/ast.h"
#include "models/jinja/builtins.h"

namespace spindle::jinja {

// The variables of a loop's round, a macro or a block; what is not there is looked up in the parent.
struct Frame : Object {
  Frame* parent = nullptr;
  std::vector<std::pair<int, Value>> variables;
};

class Interpreter {
 public:
  Interpreter(Context& context, const Ast& ast, std::time_t now);

  Context& context() { return context_; }
  std::time_t now() const { return now_; }
  void set_variable(std::string_view name, Value value);
  Marked run();

  Value call(Value callee, Args& args);
  Value get_attribute(Value object, const std::string& name);
  Value get_item(Value object, Value key);
  Value apply_filter(std::string_view name, Value input, Args& args);
  bool apply_test(std::string_view name, Value value, Args& args);
  // A macro's or a caller's body with its arguments.
  Value call_macro(const MacroCode& code, Frame* home, Args& args);
  Value run_loop(const Stmt& s, Value items, Frame* home, int depth);  // its text; for recursive loops

 private:
  enum class Flow : uint8_t { on, leave, next };
  Flow run(const Body& body);
  Flow run(const Stmt& s);
  Flow loop(const Stmt& s, const std::vector<Value>& items, int depth);
  std::vector<Value> loop_items(const Stmt& s, Value items);
  void assign(const Expr& target, Value value);
  void set(int name, Value value);
  Value get(const Expr& name);
  void write(Value v);
  Value captured(const Body& body);  // run in a frame of its own
  template <class Work>
  Value capture(Frame* frame, Work&& work);

  Value evaluate(const Expr& e);
  bool evaluate_comparison(const Expr& e);
  Value evaluate_call(const Expr& e);
  Value evaluate_filter(const Expr& e, const Value* input);
  Value evaluate_slice(const Expr& e);
  void collect(const Expr& e, Args& args);

  Context& context_;
  const Ast& ast_;
  std::time_t now_;
  std::vector<std::optional<Value>> globals_;     // by name
  int caller_ = -1, kwargs_ = -1, varargs_ = -1;  // names that macros set; -1: the template has it not
  Frame* frame_;
  Marked* out_ = nullptr;
  int depth_ = 0;
};

Value binary(Context& context, Op op, Value a, Value b);
[[noreturn]] void fail_undefined(Context& context, Value v);

}  // namespace spindle::jinja
#endif
