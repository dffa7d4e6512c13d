// Text between tags, tags, and what is inside them; the regular expressions of Jinja2's lexer by hand.
#include "models/jinja/lexer.h"

#include <algorithm>
#include <charconv>

#include "models/jinja/unicode.h"
#include "models/utf8.h"

namespace spindle::jinja {
namespace {

using Type = Token::Type;

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool starts_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
         static_cast<unsigned char>(c) >= 0x80;
}

class Lexer {
 public:
  Lexer(Context& context, std::string_view source) : context_(context) {
    // Line ends become \n, and the last one goes.
    source_.reserve(source.size());
    for (size_t i = 0; i < source.size(); i++) {
      if (source[i] == '\r' && i + 1 < source.size() && source[i + 1] == '\n') continue;
      source_ += source[i] == '\r' ? '\n' : source[i];
    }
    if (source_.ends_with('\n')) source_.pop_back();
  }

  std::vector<Token> run() {
    while (at_ < source_.size()) text();
    add(Type::end, "");
    return std::move(tokens_);
  }

 private:
  std::string_view rest() const { return std::string_view(source_).substr(at_); }
  bool looking_at(std::string_view s) const { return rest().starts_with(s); }
  size_t skip_space(size_t at) const {
    while (at < source_.size()) {
      size_t next = at;
      if (!is_space(decode_at(source_, next))) break;
      at = next;
    }
    return at;
  }
  void move_to(size_t at) {
    context_.line += static_cast<int>(std::count(source_.begin() + static_cast<ptrdiff_t>(at_),
                                                 source_.begin() + static_cast<ptrdiff_t>(at), '\n'));
    if (at > at_) line_starting_ = source_[at - 1] == '\n';
    at_ = at;
  }
  Token& add(Type type, std::string text) {
    tokens_.push_back({type, context_.line, std::move(text)});
    return tokens_.back();
  }
  void add_text(std::string_view text) {
    if (!text.empty()) add(Type::text, std::string(text));
  }

  // The text before a tag as its sign leaves it. `line_starting`: the text begins a line.
  static std::string_view trimmed(std::string_view text, char sign, bool is_variable, bool line_starting) {
    if (sign == '-') {
      size_t end = 0;
      for (size_t i = 0; i < text.size();)
        if (!is_space(decode_at(text, i))) end = i;
      return text.substr(0, end);
    }
    if (sign == '+' || is_variable) return text;
    const size_t newline = text.rfind('\n'), line = newline == std::string_view::npos ? 0 : newline + 1;
    if (line == 0 && !line_starting) return text;
    for (size_t i = line; i < text.size();)
      if (!is_space(decode_at(text, i))) return text;
    return text.substr(0, line);
  }

  // At the end of a tag: its length with sign and swallowed whitespace, 0 when `close` is not here.
  size_t tag_end(size_t at, std::string_view close, bool trim_newline) const {
    const std::string_view from = std::string_view(source_).substr(at);
    if (from.starts_with('-') && from.substr(1).starts_with(close))
      return skip_space(at + 1 + close.size()) - at;
    if (trim_newline && from.starts_with('+') && from.substr(1).starts_with(close)) return 1 + close.size();
    if (!from.starts_with(close)) return 0;
    const size_t end = close.size();
    return trim_newline && from.substr(end).starts_with('\n') ? end + 1 : end;
  }

  // {% raw %}: where its text begins, if this is one.
  std::optional<size_t> raw_begin(size_t at) const {
    at = skip_space(at);
    if (!std::string_view(source_).substr(at).starts_with("raw")) return {};
    at = skip_space(at + 3);
    const size_t length = tag_end(at, "%}", false);
    return length ? std::optional(at + length) : std::nullopt;
  }

  void text() {
    size_t open = at_;
    while (true) {
      open = source_.find('{', open);
      if (open == std::string::npos || open + 1 >= source_.size()) {
        open = std::string::npos;
        break;
      }
      if (std::string_view("{%#").find(source_[open + 1]) != std::string_view::npos) break;
      open++;
    }
    if (open == std::string::npos) {
      add_text(rest());
      move_to(source_.size());
      return;
    }
    const char type = source_[open + 1];
    const char sign = open + 2 < source_.size() ? source_[open + 2] : '\0';
    const bool has_sign = sign == '-' || sign == '+';
    add_text(trimmed(rest().substr(0, open - at_), sign, type == '{', line_starting_));
    move_to(open + 2 + has_sign);
    if (type == '#') {
      comment();
    } else if (type == '%') {
      if (const auto begin = raw_begin(at_)) {
        move_to(*begin);
        raw();
        return;
      }
      add(Type::block_begin, "{%");
      inside("%}", Type::block_end);
    } else {
      add(Type::variable_begin, "{{");
      inside("}}", Type::variable_end);
    }
  }

  void comment() {
    const int line = context_.line;
    // The first "#}" ends it, with the sign before it.
    size_t close = source_.find("#}", at_);
    if (close == std::string::npos) {
      context_.line = line;
      context_.fail("a comment '{{#' has no end '#}}'");
    }
    const bool sign = close > at_ && (source_[close - 1] == '-' || source_[close - 1] == '+');
    if (sign) close--;
    move_to(close + tag_end(close, "#}", true));
  }

  void raw() {
    const int line = context_.line;
    for (size_t open = source_.find("{%", at_); open != std::string::npos;
         open = source_.find("{%", open + 2)) {
      size_t at = open + 2;
      const char sign = at < source_.size() ? source_[at] : '\0';
      if (sign == '-' || sign == '+') at++;
      at = skip_space(at);
      if (!std::string_view(source_).substr(at).starts_with("endraw")) continue;
      at = skip_space(at + 6);
      const size_t length = tag_end(at, "%}", true);
      if (!length) continue;
      add_text(trimmed(rest().substr(0, open - at_), sign, false, line_starting_));
      move_to(at + length);
      return;
    }
    context_.line = line;
    context_.fail("'{{% raw %}}' has no '{{% endraw %}}'");
  }

  void inside(std::string_view close, Type end) {
    const int line = context_.line;
    std::string brackets;
    while (at_ < source_.size()) {
      if (brackets.empty()) {
        if (const size_t length = tag_end(at_, close, close == "%}")) {
          add(end, std::string(close));
          move_to(at_ + length);
          return;
        }
      }
      const size_t after_space = skip_space(at_);
      if (after_space > at_) {
        move_to(after_space);
        continue;
      }
      token(brackets);
    }
    context_.line = line;
    context_.fail("a tag has no end '{}'", close);
  }

  void token(std::string& brackets) {
    const char c = source_[at_];
    if (is_digit(c)) return number();
    if (c == '"' || c == '\'') return string(c);
    if (starts_name(c)) {
      size_t end = at_;
      while (end < source_.size() && (starts_name(source_[end]) || is_digit(source_[end]))) end++;
      add(Type::name, source_.substr(at_, end - at_));
      return move_to(end);
    }
    constexpr std::string_view kOps[] = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/",
                                         "*",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                         ">",  "<",  "=",  ".",  ":",  "|",  ",", ";"};
    const auto op = std::ranges::find_if(kOps, [&](std::string_view o) { return looking_at(o); });
    if (op == std::end(kOps)) context_.fail("unexpected character '{}'", printable(rest().substr(0, 1)));
    if (*op == "(" || *op == "[" || *op == "{") brackets += c;
    if (*op == ")" || *op == "]" || *op == "}") {
      const char expected = c == ')' ? '(' : c == ']' ? '[' : '{';
      if (brackets.empty() || brackets.back() != expected) context_.fail("unexpected '{}'", *op);
      brackets.pop_back();
    }
    add(Type::op, std::string(*op));
    move_to(at_ + op->size());
  }

  // Digits with single underscores between them.
  size_t digits(size_t at, std::string& out, std::string_view allowed = "0123456789") const {
    const auto good = [&](size_t i) {
      return i < source_.size() &&
             allowed.find(static_cast<char>(source_[i] | (is_digit(source_[i]) ? 0 : 0x20))) !=
                 std::string_view::npos;
    };
    while (good(at) || (at < source_.size() && source_[at] == '_' && good(at + 1))) {
      if (source_[at] != '_') out += source_[at];
      at++;
    }
    return at;
  }

  void number() {
    std::string text;
    const char second = at_ + 1 < source_.size() ? static_cast<char>(source_[at_ + 1] | 0x20) : '\0';
    const int base = source_[at_] != '0' ? 10
                     : second == 'x'     ? 16
                     : second == 'o'     ? 8
                     : second == 'b'     ? 2
                                         : 10;
    size_t end = base == 10
                     ? digits(at_, text)
                     : digits(at_ + 2, text,
                              std::string_view("0123456789abcdef").substr(0, static_cast<size_t>(base)));
    bool real = false;
    if (base == 10) {
      std::string fraction, exponent;
      if (end + 1 < source_.size() && source_[end] == '.' && is_digit(source_[end + 1]) &&
          !(at_ > 0 && source_[at_ - 1] == '.')) {
        end = digits(end + 1, fraction);
        text += '.';
        text += fraction;
        real = true;
      }
      if (end < source_.size() && (source_[end] | 0x20) == 'e') {
        size_t from = end + 1;
        if (from < source_.size() && (source_[from] == '+' || source_[from] == '-')) from++;
        if (from < source_.size() && is_digit(source_[from])) {
          if (source_[from - 1] == '-') exponent += '-';
          end = digits(from, exponent);
          text += 'e';
          text += exponent;
          real = true;
        }
      }
    }
    Token& t = add(real ? Type::real : Type::integer, text);
    const char* last = text.data() + text.size();
    const auto result = real ? std::from_chars(text.data(), last, t.real)
                             : std::from_chars(text.data(), last, t.number, base);
    if (real && result.ec == std::errc::result_out_of_range)
      context_.fail("the number {} is out of range", text);
    if (result.ec != std::errc() || result.ptr != last)
      context_.fail("the number {} is not one of 64 bits", text);
    if (!real && base == 10 && text.size() > 1 && text[0] == '0' && t.number != 0)
      context_.fail("the number {} begins with a 0", text);
    move_to(end);
  }

  void string(char quote) {
    std::string out;
    size_t at = at_ + 1;
    for (;; at++) {
      if (at >= source_.size()) context_.fail("a string has no end {}", quote);
      const char c = source_[at];
      if (c == quote) break;
      if (c != '\\') {
        out += c;
        continue;
      }
      if (++at >= source_.size()) context_.fail("a string has no end {}", quote);
      escape(at, out);
    }
    add(Type::string, std::move(out));
    move_to(at + 1);
  }

  // Python's escapes; `at` is on the character after the backslash and stays on the last one used.
  void escape(size_t& at, std::string& out) {
    constexpr std::string_view from = "\\'\"abfnrtv", to = "\\'\"\a\b\f\n\r\t\v";
    const char c = source_[at];
    if (c == '\n') return;
    if (const size_t i = from.find(c); i != std::string_view::npos) {
      out += to[i];
      return;
    }
    uint32_t code = 0;
    if (c >= '0' && c <= '7') {
      size_t end = at;
      while (end < at + 3 && end < source_.size() && source_[end] >= '0' && source_[end] <= '7')
        code = code * 8 + static_cast<uint32_t>(source_[end++] - '0');
      at = end - 1;
      return append_utf8(out, code);
    }
    const size_t n = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (c == 'N') context_.fail("the escape \\N in a string is not supported");
    if (n == 0) {  // Python keeps the backslash
      out += '\\';
      out += c;
      return;
    }
    const char* first = source_.data() + at + 1;
    const char* last = source_.data() + std::min(at + 1 + n, source_.size());
    const auto result = std::from_chars(first, last, code, 16);
    if (result.ec != std::errc() || result.ptr != first + n || code > 0x10FFFF ||
        (code >= 0xD800 && code < 0xE000))
      context_.fail("a bad escape \\{} in a string, expected {} hexadecimal digits of a character", c, n);
    append_utf8(out, code);
    at += n;
  }

  Context& context_;
  std::string source_;
  size_t at_ = 0;
  bool line_starting_ = true;
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> tokenize(Context& context, std::string_view source) {
  if (source.size() > context.limits.source_bytes)
    context.fail("the template has {} bytes, allowed are {}", source.size(), context.limits.source_bytes);
  if (!is_utf8(source)) context.fail("the template is not UTF-8");
  return Lexer(context, source).run();
}

}  // namespace spindle::jinja
