// UTF-8: one strict step at a time, and text made safe for an error message.
#ifndef SPINDLE_MODELS_UTF8_H
#define SPINDLE_MODELS_UTF8_H
#include <cstddef>
#include <string>
#include <string_view>

namespace spindle {

struct Utf8Step {
  enum class Kind { valid, invalid, incomplete };
  Kind kind;
  size_t bytes;  // of the character, or of the longest part that could have begun one (at least 1)
};

// The character at the start of `text`, which is not empty. `incomplete`: the text ends inside it.
// No overlong forms, no surrogates, nothing above U+10FFFF (Unicode 15, table 3-7).
Utf8Step utf8_step(std::string_view text);

bool is_utf8(std::string_view text);

// Quotes control characters and bad bytes as \xHH and cuts after `most` bytes: for messages.
std::string printable(std::string_view text, size_t most = 80);

inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";  // U+FFFD

}  // namespace spindle
#endif
