// One rendering's limits, memory and place: everything that a template builds is counted here.
#ifndef SPINDLE_MODELS_JINJA_CONTEXT_H
#define SPINDLE_MODELS_JINJA_CONTEXT_H
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/error.h"

namespace spindle::jinja {

struct Limits {
  size_t source_bytes = 512 << 10;
  uint64_t steps = 10'000'000;
  size_t memory_bytes = 128 << 20;  // of all strings and values that one rendering builds
  size_t output_bytes = 64 << 20;
  int nesting = 200;    // of statements and expressions in the source
  int recursion = 800;  // of expressions, statements and calls while rendering
};

struct Span {
  size_t begin, end;  // bytes
  bool operator==(const Span&) const = default;
};

// Text that knows which of its bytes came from outside the template: messages, tools, documents.
struct Marked {
  std::string text;
  std::vector<Span> input;  // in order, apart from each other

  void append(std::string_view more, bool is_input = false);
  void append(const Marked& more, size_t begin, size_t end);
  void append(const Marked& more) { append(more, 0, more.text.size()); }
};

struct Object {
  virtual ~Object() = default;
};

class Context {
 public:
  // `stop` is asked now and then while there is work; true ends it with ErrorKind::interrupted.
  Context(std::string name, const Limits& limits, std::function<bool()> stop = {})
      : limits(limits), name_(std::move(name)), stop_(std::move(stop)) {}

  template <class T, class... A>
  T* make(A&&... arguments) {
    charge(sizeof(T) + 32);
    auto object = std::make_unique<T>(std::forward<A>(arguments)...);
    T* raw = object.get();
    objects_.push_back(std::move(object));
    return raw;
  }
  void charge(size_t bytes) {
    memory_ += bytes;
    if (memory_ > limits.memory_bytes)
      fail("more than {} MiB of strings and values", limits.memory_bytes >> 20);
  }
  void work(uint64_t steps = 1) {
    steps_ += steps;
    if (steps_ > limits.steps) fail("more than {} steps: does a loop not end?", limits.steps);
    if (steps_ < next_question_) return;
    next_question_ = steps_ + 4096;
    if (stop_ && stop_()) throw Error(ErrorKind::interrupted, fmt::format("{}: stopped", name_));
  }
  // What a pass over so many bytes costs.
  void work_bytes(size_t bytes) { work(bytes / 64 + 1); }

  template <class... A>
  [[noreturn]] void fail(fmt::format_string<A...> format, A&&... arguments) const {
    throw Error(ErrorKind::model_file, fmt::format("{}, line {}: {}", name_, line,
                                                   fmt::format(format, std::forward<A>(arguments)...)));
  }
  const std::string& name() const { return name_; }

  const Limits limits;
  int line = 1;

 private:
  std::string name_;
  size_t memory_ = 0;
  uint64_t steps_ = 0, next_question_ = 0;
  std::function<bool()> stop_;
  std::vector<std::unique_ptr<Object>> objects_;
};

// Counts a level of recursion as long as it lives.
class Level {
 public:
  Level(const Context& context, int& depth, int most) : depth_(depth) {
    if (++depth_ > most) {
      depth_--;
      context.fail("nested more than {} levels deep", most);
    }
  }
  ~Level() { depth_--; }
  Level(const Level&) = delete;

 private:
  int& depth_;
};

}  // namespace spindle::jinja
#endif
