// Text as Unicode code points; white space and newer characters after the Unicode character database.
#include "models/code_points.h"

#include <algorithm>
#include <iterator>

#include "models/utf8.h"

namespace spindle {
namespace {

struct NewRange {
  char32_t first, last;
  char kind;  // the first letter of the general category; H: a letter of a CJK block that expressions name
};

// What versions 15.0 and 15.1 of the Unicode character database added (general categories); no older
// character changed its class. llama.cpp's tables end there as well.
constexpr NewRange kNewRanges[] = {
    {0xCF3, 0xCF3, 'M'},     {0xECE, 0xECE, 'M'},     {0x2FFC, 0x2FFF, 'S'},   {0x31EF, 0x31EF, 'S'},
    {0x10EFD, 0x10EFF, 'M'}, {0x1123F, 0x11240, 'L'}, {0x11241, 0x11241, 'M'}, {0x11B00, 0x11B09, 'P'},
    {0x11F00, 0x11F01, 'M'}, {0x11F02, 0x11F02, 'L'}, {0x11F03, 0x11F03, 'M'}, {0x11F04, 0x11F10, 'L'},
    {0x11F12, 0x11F33, 'L'}, {0x11F34, 0x11F3A, 'M'}, {0x11F3E, 0x11F42, 'M'}, {0x11F43, 0x11F4F, 'P'},
    {0x11F50, 0x11F59, 'N'}, {0x1342F, 0x1342F, 'L'}, {0x13440, 0x13440, 'M'}, {0x13441, 0x13446, 'L'},
    {0x13447, 0x13455, 'M'}, {0x1B132, 0x1B132, 'L'}, {0x1B155, 0x1B155, 'L'}, {0x1D2C0, 0x1D2D3, 'N'},
    {0x1DF25, 0x1DF2A, 'L'}, {0x1E030, 0x1E06D, 'L'}, {0x1E08F, 0x1E08F, 'M'}, {0x1E4D0, 0x1E4EB, 'L'},
    {0x1E4EC, 0x1E4EF, 'M'}, {0x1E4F0, 0x1E4F9, 'N'}, {0x1F6DC, 0x1F6DC, 'S'}, {0x1F774, 0x1F776, 'S'},
    {0x1F77B, 0x1F77F, 'S'}, {0x1F7D9, 0x1F7D9, 'S'}, {0x1FA75, 0x1FA77, 'S'}, {0x1FA87, 0x1FA88, 'S'},
    {0x1FAAD, 0x1FAAF, 'S'}, {0x1FABB, 0x1FABD, 'S'}, {0x1FABF, 0x1FABF, 'S'}, {0x1FACE, 0x1FACF, 'S'},
    {0x1FADA, 0x1FADB, 'S'}, {0x1FAE8, 0x1FAE8, 'S'}, {0x1FAF7, 0x1FAF8, 'S'}, {0x2B739, 0x2B739, 'H'},
    {0x2EBF0, 0x2EE5D, 'L'}, {0x31350, 0x323AF, 'L'}};

// Old characters of each class that no expression names, and one of that block.
constexpr char32_t kLetter = 0xAA, kMark = 0x300, kNumber = 0xB2, kPunctuation = 0xA1, kSymbol = 0xA9,
                   kHan = 0x2B738;

}  // namespace

CodePoints to_code_points(std::string_view text) {
  CodePoints out;
  out.code_points.reserve(text.size());
  out.offsets.reserve(text.size() + 1);
  for (size_t at = 0; at < text.size();) {
    out.offsets.push_back(at);
    const Utf8Step step = utf8_step(text.substr(at));
    if (step.kind != Utf8Step::Kind::valid) {
      out.code_points.push_back(U'\uFFFD');
      at++;
      continue;
    }
    const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[at + i]); };
    constexpr unsigned char kFirstBits[] = {0, 0x7F, 0x1F, 0x0F, 0x07};
    char32_t c = byte(0) & kFirstBits[step.bytes];
    for (size_t i = 1; i < step.bytes; i++) c = c << 6 | (byte(i) & 0x3F);
    out.code_points.push_back(c);
    at += step.bytes;
  }
  out.offsets.push_back(text.size());
  return out;
}

bool is_wide_space(char32_t c) {
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
         c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

char32_t stand_in(char32_t c) {
  if (c < kNewRanges[0].first) return c;
  const auto range = std::partition_point(std::begin(kNewRanges), std::end(kNewRanges),
                                          [&](const NewRange& r) { return r.last < c; });
  if (range == std::end(kNewRanges) || c < range->first) return c;
  switch (range->kind) {
    case 'H':
      return kHan;
    case 'L':
      return kLetter;
    case 'M':
      return kMark;
    case 'N':
      return kNumber;
    case 'P':
      return kPunctuation;
    default:
      return kSymbol;
  }
}

}  // namespace spindle
