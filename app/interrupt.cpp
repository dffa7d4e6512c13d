// The handler does nothing that a signal handler may not.
#include "app/interrupt.h"

#include <signal.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>

#include "runtime/error.h"

namespace spindle {
namespace {

constexpr int64_t kTwiceNs = 2'000'000'000;

std::atomic<bool> caught{false}, wanted{false};
std::atomic<int64_t> last_ns{-kTwiceNs};
termios terminal;  // as it was: an editor of lines may have changed it
bool has_terminal = false;

void restore_terminal() {
  // In the background this would stop the program.
  if (has_terminal && tcgetpgrp(STDIN_FILENO) == getpgrp()) tcsetattr(STDIN_FILENO, TCSANOW, &terminal);
}

// Ends as without a handler, but for the terminal.
void on_end(int signal) {
  restore_terminal();
  raise(signal);  // SA_RESETHAND: comes when this returns, and ends the program
}

void on_interrupt(int) {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  const int64_t now = int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec;
  if (!caught || now - last_ns < kTwiceNs) {
    restore_terminal();
    if (caught && isatty(STDERR_FILENO)) (void)!write(STDERR_FILENO, "\n", 1);
    _exit(static_cast<int>(ErrorKind::interrupted));
  }
  last_ns = now;
  wanted = true;
}

}  // namespace

void install_interrupts() {
  static_assert(std::atomic<int64_t>::is_always_lock_free && std::atomic<bool>::is_always_lock_free);
  has_terminal = isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &terminal) == 0;
  struct sigaction action {};
  action.sa_handler = on_interrupt;  // without SA_RESTART: a read for the next line ends
  sigaction(SIGINT, &action, nullptr);
  if (!has_terminal) return;
  for (int signal : {SIGTERM, SIGHUP, SIGQUIT}) {
    struct sigaction before {};
    struct sigaction end {};
    end.sa_handler = on_end;
    end.sa_flags = static_cast<int>(SA_RESETHAND);
    sigaction(signal, nullptr, &before);
    if (before.sa_handler == SIG_DFL) sigaction(signal, &end, nullptr);  // nohup ignores one
  }
}

CatchInterrupts::CatchInterrupts() {
  wanted = false;
  caught = true;
}
CatchInterrupts::~CatchInterrupts() { caught = false; }
bool CatchInterrupts::requested() { return wanted; }
bool CatchInterrupts::take() { return wanted.exchange(false); }

}  // namespace spindle
