// The little that templates need to know about characters, as Python's str has it.
#ifndef SPINDLE_MODELS_JINJA_UNICODE_H
#define SPINDLE_MODELS_JINJA_UNICODE_H
#include <cstdint>
#include <string>
#include <string_view>

namespace spindle::jinja {

size_t count_code_points(std::string_view utf8);
char32_t decode_at(std::string_view utf8, size_t& at);  // of sound UTF-8; moves past the character
void append_utf8(std::string& out, char32_t c);

bool is_space(char32_t c);       // str.isspace
bool is_line_break(char32_t c);  // str.splitlines
bool is_printable(char32_t c);   // repr
// Case of Latin, Greek, Cyrillic and Armenian letters up to U+058F; beyond, `known_case` is false for letters
// that may have one.
char32_t to_lower(char32_t c);
void append_upper(std::string& out, char32_t c);  // maybe more than one character
bool is_lower(char32_t c);
bool is_upper(char32_t c);
bool known_case(char32_t c);

}  // namespace spindle::jinja
#endif
