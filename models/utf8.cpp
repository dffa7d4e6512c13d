// UTF-8: which byte sequences are characters, after table 3-7 of the Unicode standard.
#include "models/utf8.h"

#include <fmt/core.h>

#include <algorithm>

namespace spindle {

Utf8Step utf8_step(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return {Utf8Step::Kind::valid, 1};
  size_t length = 0;
  unsigned char low = 0x80, high = 0xBF;  // what the second byte may be
  if (first >= 0xC2 && first <= 0xDF) {
    length = 2;
  } else if (first >= 0xE0 && first <= 0xEF) {
    length = 3;
    if (first == 0xE0) low = 0xA0;
    if (first == 0xED) high = 0x9F;
  } else if (first >= 0xF0 && first <= 0xF4) {
    length = 4;
    if (first == 0xF0) low = 0x90;
    if (first == 0xF4) high = 0x8F;
  } else {
    return {Utf8Step::Kind::invalid, 1};
  }
  for (size_t i = 1; i < length; i++) {
    if (i == text.size()) return {Utf8Step::Kind::incomplete, i};
    if (byte(i) < low || byte(i) > high) return {Utf8Step::Kind::invalid, i};
    low = 0x80;
    high = 0xBF;
  }
  return {Utf8Step::Kind::valid, length};
}

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const Utf8Step step = utf8_step(text);
    if (step.kind != Utf8Step::Kind::valid) return false;
    text.remove_prefix(step.bytes);
  }
  return true;
}

// What changes the direction of text around it, so that a line reads as something else: U+200E, U+200F,
// U+202A to U+202E, U+2066 to U+2069 (Unicode's annex 9).
static bool turns(std::string_view character) {
  if (character.size() != 3 || !character.starts_with('\xE2')) return false;
  const auto second = static_cast<unsigned char>(character[1]),
             third = static_cast<unsigned char>(character[2]);
  return second == 0x80 ? third == 0x8E || third == 0x8F || (third >= 0xAA && third <= 0xAE)
                        : second == 0x81 && third >= 0xA6 && third <= 0xA9;
}

std::string printable(std::string_view text, size_t most) {
  std::string out;
  size_t at = 0;
  while (at < text.size()) {
    if (at >= most) return out + fmt::format("... ({} bytes)", text.size());
    const Utf8Step step = utf8_step(text.substr(at));
    const std::string_view part = text.substr(at, step.bytes);
    const auto first = static_cast<unsigned char>(part[0]);
    // C1 controls are C2 80 to C2 9F: a terminal may obey them as well.
    const bool control = first < 0x20 || first == 0x7F ||
                         (first == 0xC2 && part.size() == 2 && static_cast<unsigned char>(part[1]) < 0xA0);
    if (step.kind == Utf8Step::Kind::valid && !control && !turns(part)) out += part;
    else
      for (char c : part) out += fmt::format("\\x{:02X}", static_cast<unsigned char>(c));
    at += step.bytes;
  }
  return out;
}

}  // namespace spindle
