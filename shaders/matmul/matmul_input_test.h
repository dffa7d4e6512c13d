// What tests of operations that write packed rows share.
#ifndef SPINDLE_SHADERS_MATMUL_INPUT_TEST_H
#define SPINDLE_SHADERS_MATMUL_INPUT_TEST_H
#include <functional>

#include "shaders/matmul/half_rows.h"
#include "shaders/matmul/matmul_input.h"
#include "shaders/matmul/quantize_rows.h"
#include "tests/compare.h"
#include "tests/device.h"

namespace spindle::test {

// Room for rows in each packing that k allows.
inline std::vector<MatmulInput> packings(Stream& stream, Tensors& t, uint32_t rows, uint32_t k) {
  std::vector<MatmulInput> list(1);
  list[0].halves = t.u32(rows, HALF_WORDS(k));
  if (k % QUANTIZED_BLOCK == 0) list.emplace_back().quantized = t.u32(rows, QUANTIZED_WORDS(k));
  for (const MatmulInput& input : list) stream.fill(input.packed(), 0xabababab);  // where nobody writes
  return list;
}

// write() must pack rows, with f32 beside or without, to the bits of pack_rows() after writing f32 alone.
inline void check_packings(Stream& stream, uint32_t rows, uint32_t k,
                           const std::function<void(const MatmulInput& y)>& write, const std::string& what) {
  Tensors t(stream);
  const Tensor f32 = t.f32(rows, k);
  write(f32);
  const std::vector<MatmulInput> expected = packings(stream, t, rows, k);
  for (const MatmulInput& input : expected) pack_rows(stream, input, f32);
  for (const bool beside : {false, true}) {
    std::vector<MatmulInput> got = packings(stream, t, rows, k);
    for (MatmulInput& input : got) {
      if (beside) input.x = t.f32(rows, k);
      write(input);
    }
    stream.run();
    for (size_t i = 0; i < got.size(); i++) {
      const std::string which = fmt::format("{} [{}, {}] {}{}", what, rows, k, i ? "quantised" : "as halves",
                                            beside ? " beside f32" : "");
      CHECK_MESSAGE(t.read_u32(got[i].packed()) == t.read_u32(expected[i].packed()), which);
      if (beside) CHECK_MESSAGE(t.read(got[i].x) == t.read(f32), which);
    }
  }
}

}  // namespace spindle::test
#endif
