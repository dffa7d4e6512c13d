// Runs the expressions of a pre-tokenizer over code points with PCRE2, as llama.cpp's splitters would.
#include "models/pretokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 32
#include <pcre2.h>

#include <algorithm>
#include <cstdint>
#include <limits>

#include "models/code_points.h"
#include "runtime/error.h"

namespace spindle {
namespace {

struct FreeCode {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
};
struct FreeMatch {
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};
struct FreeContext {
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
};
using Code = std::unique_ptr<pcre2_code, FreeCode>;

std::string message_of(int error) {
  PCRE2_UCHAR buffer[256];
  const int length = pcre2_get_error_message(error, buffer, std::size(buffer));
  std::string text;
  for (int i = 0; i < length; i++) text += static_cast<char>(buffer[i]);
  return text;
}

Code compile(std::string_view expression) {
  const std::u32string pattern = to_code_points(expression).code_points;
  int error = 0;
  PCRE2_SIZE offset = 0;
  Code code(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                          PCRE2_UTF | PCRE2_DOLLAR_ENDONLY | PCRE2_NO_AUTO_CAPTURE, &error, &offset,
                          nullptr));
  require(code != nullptr, "pre-tokenizer: expression '{}' at {}: {}", expression, offset, message_of(error));
  pcre2_jit_compile(code.get(), PCRE2_JIT_COMPLETE);  // where it cannot, matching interprets
  return code;
}

}  // namespace

struct Pretokenizer::Expression {
  Code code;
  Threes threes;
  bool categories;  // asks for \p{..}: characters newer than PCRE's tables are stood in for
};

Pretokenizer::Pretokenizer(const std::vector<PretokenizerStep>& steps) {
  for (const PretokenizerStep& step : steps)
    expressions_.push_back({compile(step.expression), step.threes,
                            step.expression.find("\\p{") != std::string_view::npos ||
                                step.expression.find("\\P{") != std::string_view::npos});
}
Pretokenizer::Pretokenizer(Pretokenizer&&) noexcept = default;
Pretokenizer::~Pretokenizer() = default;

std::vector<size_t> Pretokenizer::split(std::string_view text) const {
  if (text.empty()) return {};
  CodePoints decoded = to_code_points(text);
  std::u32string& plain = decoded.code_points;
  // White space outside ASCII is white space to every expression, and nothing else.
  std::replace_if(plain.begin(), plain.end(), is_wide_space, U'\v');
  std::u32string with_categories(plain.size(), U'\0');
  std::transform(plain.begin(), plain.end(), with_categories.begin(), stand_in);

  const std::unique_ptr<pcre2_match_data, FreeMatch> match(pcre2_match_data_create(1, nullptr));
  const std::unique_ptr<pcre2_match_context, FreeContext> context(pcre2_match_context_create(nullptr));
  require(match && context, ErrorKind::out_of_memory, "out of memory");

  std::vector<size_t> ends = {plain.size()}, next;  // in code points
  for (const Expression& expression : expressions_) {
    const std::u32string& all = expression.categories ? with_categories : plain;
    next.clear();
    const auto cut = [&](size_t at) {
      if (at > (next.empty() ? 0 : next.back())) next.push_back(at);
    };
    size_t begin = 0;
    for (size_t end : ends) {
      const size_t length = end - begin;
      const auto subject = reinterpret_cast<PCRE2_SPTR>(all.data() + begin);
      // Enough for a pass over the piece, not for trying every way through it.
      pcre2_set_match_limit(context.get(), static_cast<uint32_t>(std::min<size_t>(
                                               10000 + 64 * length, std::numeric_limits<uint32_t>::max())));
      for (size_t at = 0; at < length;) {
        constexpr uint32_t kOptions = PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY;
        const auto run = [&](uint32_t options) {
          return pcre2_match(expression.code.get(), subject, length, at, options, match.get(), context.get());
        };
        int result = run(kOptions);
        if (result == PCRE2_ERROR_JIT_STACKLIMIT) result = run(kOptions | PCRE2_NO_JIT);
        if (result == PCRE2_ERROR_NOMATCH) break;
        require(result >= 0, "pre-tokenizer: {} in a piece of {} characters", message_of(result), length);
        const PCRE2_SIZE* const ovector = pcre2_get_ovector_pointer(match.get());
        const size_t first = begin + ovector[0], last = begin + ovector[1];
        if (expression.threes == Threes::no) {
          cut(first);
          cut(last);
        } else {
          for (size_t group = first + (last - first) % 3; group <= last; group += 3)
            if (expression.threes == Threes::before ? group < last : group > first) cut(group);
        }
        at = ovector[1];
      }
      cut(end);
      begin = end;
    }
    std::swap(ends, next);
  }
  for (size_t& end : ends) end = decoded.offsets[end];
  return ends;
}

}  // namespace spindle
