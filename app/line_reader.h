// Lines of the user: with history and editing on a terminal where libedit is there, plain otherwise.
#ifndef SPINDLE_APP_LINE_READER_H
#define SPINDLE_APP_LINE_READER_H
#include <memory>
#include <string>

namespace spindle {

class LineReader {
 public:
  enum class Result { line, end, interrupted };

  LineReader();
  ~LineReader();
  // The next line without its end. The prompt is shown on standard error, on a terminal only.
  Result read(const std::string& prompt, std::string& line);
  bool is_terminal() const { return terminal_; }

 private:
  struct Editor;
  std::unique_ptr<Editor> editor_;  // null: plain
  std::string pending_;
  bool terminal_, ended_ = false;
};

}  // namespace spindle
#endif
