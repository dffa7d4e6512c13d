// `spindle chat` on a terminal of its own: editing of lines, Ctrl-C, Ctrl-D, and how the terminal is left.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <chrono>
#include <string>
#include <vector>

namespace {

class Terminal {
 public:
  explicit Terminal(const std::vector<std::string>& arguments) {
    std::vector<char*> argv = {const_cast<char*>(SPINDLE_EXECUTABLE)};
    for (const std::string& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
    argv.push_back(nullptr);
    winsize size{};
    size.ws_row = 24;
    size.ws_col = 80;
    process_ = forkpty(&terminal_, nullptr, nullptr, &size);
    if (process_ != 0) return;
    for (int number : {SIGINT, SIGQUIT, SIGTERM, SIGHUP})
      ::signal(number, SIG_DFL);  // shells may ignore some
    setenv("TERM", "xterm", 1);
    execv(SPINDLE_EXECUTABLE, argv.data());
    _exit(127);
  }
  ~Terminal() {
    if (process_ > 0) {
      kill(process_, SIGKILL);
      waitpid(process_, nullptr, 0);
    }
    close(terminal_);
  }
  Terminal(const Terminal&) = delete;

  void send(const std::string& text) const { CHECK(write(terminal_, text.data(), text.size()) > 0); }
  // Reads until the words have come after what was waited for before.
  bool wait_for(const std::string& words) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::minutes(2);
    while (std::chrono::steady_clock::now() < end) {
      if (const size_t at = seen_.find(words, from_); at != seen_.npos)
        return from_ = at + words.size(), true;
      pollfd ready{terminal_, POLLIN, 0};
      if (poll(&ready, 1, 100) <= 0) continue;
      char buffer[4096];
      const ssize_t n = read(terminal_, buffer, sizeof buffer);
      if (n <= 0) break;  // the program has ended
      seen_.append(buffer, static_cast<size_t>(n));
    }
    return false;
  }
  // The program takes keys once it shows its prompt.
  bool wait_for_prompt(const std::string& after) { return wait_for(after) && wait_for("> "); }
  // As waitpid has it; what the program still writes is read. -1: it does not end.
  int wait() {
    wait_for("never written\1");
    int status = 0;
    for (int i = 0; i < 100 && waitpid(process_, &status, WNOHANG) == 0; i++) {
      if (i == 99) return -1;  // and the destructor kills it
      usleep(100'000);
    }
    process_ = -1;
    return status;
  }
  void signal(int number) const { kill(process_, number); }
  bool shows_and_edits_lines() const {
    termios t{};
    return tcgetattr(terminal_, &t) == 0 && (t.c_lflag & ICANON) && (t.c_lflag & ECHO);
  }
  const std::string& seen() const { return seen_; }

 private:
  pid_t process_ = -1;
  int terminal_ = -1;
  std::string seen_;
  size_t from_ = 0;
};

const std::vector<std::string> kChat = {"chat", "--chat-template", "chatml", "-n", "4", "--seed", "1"};

}  // namespace

TEST_CASE("on a terminal the key Up brings the last message back, and Ctrl-D ends the chat") {
  Terminal t(kChat);
  REQUIRE_MESSAGE(t.wait_for_prompt("/help lists"), t.seen());
  t.send("Hello\r");
  CHECK(t.wait_for_prompt(" positions"));
  t.send("\x1b[A");
  CHECK(t.wait_for("Hello"));
  t.send("\r");
  CHECK_MESSAGE(t.wait_for_prompt(" positions"), t.seen());
  t.send("\x10");  // Ctrl-P
  CHECK(t.wait_for("Hello"));
  t.send("\x15\x04");  // without that line, the end
  const int status = t.wait();
  CHECK_MESSAGE((WIFEXITED(status) && WEXITSTATUS(status) == 0), t.seen());
  CHECK(t.shows_and_edits_lines());
}

TEST_CASE("on a terminal Ctrl-C twice at the prompt ends the chat") {
  Terminal t(kChat);
  REQUIRE(t.wait_for_prompt("/help lists"));
  t.send("\x03");
  CHECK(t.wait_for("Ctrl-C again within 2 seconds ends"));
  t.send("\x03");
  const int status = t.wait();
  CHECK_MESSAGE((WIFEXITED(status) && WEXITSTATUS(status) == 130), t.seen());
  CHECK(t.shows_and_edits_lines());
}

TEST_CASE("a chat that is ended from outside leaves the terminal as it was") {
  for (int number : {SIGTERM, SIGQUIT}) {
    Terminal t(kChat);
    REQUIRE(t.wait_for_prompt("/help lists"));
    t.signal(number);
    const int status = t.wait();
    CHECK((WIFSIGNALED(status) && WTERMSIG(status) == number));
    CHECK(t.shows_and_edits_lines());
  }
}
