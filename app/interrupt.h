// Ctrl-C: the first one asks to stop, a second within 2 seconds ends the program with exit code 130. However
// the program is ended, a terminal is left as it was.
#ifndef SPINDLE_APP_INTERRUPT_H
#define SPINDLE_APP_INTERRUPT_H

namespace spindle {

// From main: until something catches it, Ctrl-C ends the program.
void install_interrupts();

// While one lives, the first Ctrl-C only sets a flag.
class CatchInterrupts {
 public:
  CatchInterrupts();
  ~CatchInterrupts();
  CatchInterrupts(const CatchInterrupts&) = delete;

  static bool requested();
  static bool take();  // requested, and forgets it
};

}  // namespace spindle
#endif
