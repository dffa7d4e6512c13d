// Text as Unicode code points, and what expressions have to know about them beyond PCRE's tables.
#ifndef SPINDLE_MODELS_CODE_POINTS_H
#define SPINDLE_MODELS_CODE_POINTS_H
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace spindle {

struct CodePoints {
  std::u32string code_points;   // U+FFFD for every byte that is not UTF-8
  std::vector<size_t> offsets;  // of each in the text, and the size of the text
};
CodePoints to_code_points(std::string_view text);

// White space outside ASCII: the White_Space property.
bool is_wide_space(char32_t c);

// Characters of Unicode 15, of which PCRE2 10.42 does not know (it has version 14): an older one of the same
// class (letter, mark, number, punctuation, symbol) stands in for them, so that text is cut alike everywhere.
char32_t stand_in(char32_t c);

}  // namespace spindle
#endif
