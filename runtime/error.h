// The one error type: what went wrong, and of which kind, so that main can turn it into an exit code.
#ifndef SPINDLE_RUNTIME_ERROR_H
#define SPINDLE_RUNTIME_ERROR_H
#include <fmt/core.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace spindle {

// The value is the process's exit code.
enum class ErrorKind {
  runtime = 1,
  usage = 2,
  model_file = 3,
  no_device = 4,
  out_of_memory = 5,
  interrupted = 130
};

class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
  ErrorKind kind() const { return kind_; }

 private:
  ErrorKind kind_;
};

template <class... Args>
[[noreturn]] void fail(ErrorKind kind, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(kind, fmt::format(format, std::forward<Args>(args)...));
}

// For the world (files, devices, memory, the user's words); our own mistakes are asserts.
template <class... Args>
void require(bool condition, ErrorKind kind, fmt::format_string<Args...> format, Args&&... args) {
  if (!condition) [[unlikely]]
    fail(kind, format, std::forward<Args>(args)...);
}
template <class... Args>
void require(bool condition, fmt::format_string<Args...> format, Args&&... args) {
  if (!condition) [[unlikely]]
    fail(ErrorKind::runtime, format, std::forward<Args>(args)...);
}

}  // namespace spindle
#endif
