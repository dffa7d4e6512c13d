// read(2) rather than streams: Ctrl-C has to end the waiting.
#include "app/line_reader.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "app/interrupt.h"
#include "models/utf8.h"
#include "runtime/error.h"
#ifdef SPINDLE_LIBEDIT
#include <histedit.h>

#include <cwchar>
#endif

namespace spindle {

#ifdef SPINDLE_LIBEDIT
struct LineReader::Editor {
  EditLine* edit;
  History* history;
  HistEvent event{};
  std::string prompt;

  Editor() : edit(el_init("spindle", stdin, stderr, stderr)), history(history_init()) {
    require(edit && history, "the editor of lines does not start");
    history_(H_SETSIZE, 1000);
    el_set(edit, EL_CLIENTDATA, this);
    el_set(edit, EL_SIGNAL, 0);
    el_set(
        edit, EL_PROMPT, +[](EditLine* e) {
          Editor* self = nullptr;
          el_get(e, EL_CLIENTDATA, &self);
          return self->prompt.data();
        });
    el_set(edit, EL_EDITOR, "emacs");
    el_set(edit, EL_HIST, ::history, history);
    el_set(edit, EL_GETCFN, &get_character);
  }
  ~Editor() {
    ::history_end(history);
    el_end(edit);
  }
  void history_(int what, int n) { ::history(history, &event, what, n); }
  void remember(const std::string& line) { ::history(history, &event, H_ENTER, line.c_str()); }

  // The library's own reader starts again after a signal.
  static int get_character(EditLine*, wchar_t* out) {
    std::string bytes;
    while (true) {
      char c = 0;
      const ssize_t n = ::read(STDIN_FILENO, &c, 1);
      if (n == 0) return 0;
      if (n < 0) {
        if (errno == EINTR && !CatchInterrupts::requested()) continue;
        return -1;
      }
      bytes += c;
      const Utf8Step step = utf8_step(bytes);
      if (step.kind == Utf8Step::Kind::incomplete) continue;
      std::mbstate_t state{};
      if (step.kind == Utf8Step::Kind::invalid ||
          std::mbrtowc(out, bytes.data(), bytes.size(), &state) > bytes.size())
        *out = L'?';
      return 1;
    }
  }
};
#else
struct LineReader::Editor {};
#endif

LineReader::LineReader() : terminal_(isatty(STDIN_FILENO) && isatty(STDERR_FILENO)) {
#ifdef SPINDLE_LIBEDIT
  if (terminal_) editor_ = std::make_unique<Editor>();
#endif
}

LineReader::~LineReader() = default;

LineReader::Result LineReader::read(const std::string& prompt, std::string& line) {
#ifdef SPINDLE_LIBEDIT
  if (editor_) {
    editor_->prompt = prompt;
    int n = 0;
    const char* text = el_gets(editor_->edit, &n);
    if (!text || n <= 0) return CatchInterrupts::requested() ? Result::interrupted : Result::end;
    line = text;
    if (line.ends_with('\n')) line.pop_back();
    if (!line.empty()) editor_->remember(line);
    return Result::line;
  }
#endif
  if (terminal_) {
    std::fputs(prompt.c_str(), stderr);
    std::fflush(stderr);
  }
  for (size_t searched = 0;;) {
    const size_t end = pending_.find('\n', searched);
    if (end != std::string::npos || (ended_ && !pending_.empty())) {
      line = pending_.substr(0, end);
      pending_.erase(0, end == std::string::npos ? end : end + 1);
      if (line.ends_with('\r')) line.pop_back();
      return Result::line;
    }
    if (ended_) return Result::end;
    searched = pending_.size();
    char buffer[65536];
    const ssize_t n = ::read(STDIN_FILENO, buffer, sizeof buffer);
    if (n > 0) pending_.append(buffer, static_cast<size_t>(n));
    else if (n == 0) ended_ = true;
    else if (errno == EINTR && CatchInterrupts::requested()) return Result::interrupted;
    else require(errno == EINTR, "standard input cannot be read");
  }
}

}  // namespace spindle
