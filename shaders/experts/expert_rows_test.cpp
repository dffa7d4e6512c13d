// Rows by expert against the reference: every pair once, in order, in tiles of one expert.
#include "shaders/experts/expert_rows.h"

#include <doctest/doctest.h>
#include <fmt/core.h>

#include <array>

#include "tests/device.h"

using namespace spindle;
using namespace spindle::test;

namespace {

void check(const std::vector<uint32_t>& ids, uint32_t rows, uint32_t experts, uint32_t tile_rows) {
  Stream stream(device());
  Tensors t(stream);
  const auto pairs = static_cast<uint32_t>(ids.size());
  const auto words = static_cast<uint32_t>(expert_rows_scratch_bytes(pairs, experts) / 4);
  const Tensor scratch = t.u32(1, words, std::vector<uint32_t>(words, 0xdeadbeef));
  const ExpertRows got = expert_rows(stream, t.u32(rows, pairs / rows, ids), experts, tile_rows, scratch);
  stream.run();
  std::vector<uint32_t> order(pairs);
  const auto tiles = reference::expert_rows(order, ids, experts, tile_rows);
  const std::string what = fmt::format("{} pairs, {} experts, tiles of {}", pairs, experts, tile_rows);
  CHECK_MESSAGE(t.read_u32(got.order) == order, what);
  std::vector<std::array<uint32_t, 3>> found;
  const std::vector<uint32_t> all = t.read_u32(got.tiles);
  for (size_t i = 0; i < all.size(); i += 4)
    if (all[i + 1] != all[i + 2]) found.push_back({all[i], all[i + 1], all[i + 2]});
  CHECK_MESSAGE(found == tiles, what);
}

}  // namespace

TEST_CASE("expert_rows equals its reference") {
  for (uint32_t experts : {1u, 4u, 60u, 128u, 512u})
    for (uint32_t rows : {2u, 7u, 64u, 300u})
      for (uint32_t tile_rows : {2u, 4u, 24u, 32u}) {
        if (quick() && (experts > 100 || rows > 100)) continue;
        std::mt19937 engine(experts + rows);
        std::vector<uint32_t> any, one, last, each;
        for (uint32_t i = 0; i < rows * 3; i++) {
          any.push_back(engine() % experts);
          one.push_back(experts / 2);
          last.push_back(experts - 1);
          each.push_back(experts - 1 - i % experts);
        }
        for (const auto& ids : {any, one, last, each}) check(ids, rows, experts, tile_rows);
      }
}

TEST_CASE("expert_rows bench" * doctest::skip(!bench())) {
  Stream stream(device());
  Tensors t(stream);
  std::vector<uint32_t> ids(4096);
  std::mt19937 engine(1);
  for (uint32_t& id : ids) id = engine() % 128;
  const Tensor of = t.u32(512, 8, ids),
               scratch = t.u32(1, static_cast<uint32_t>(expert_rows_scratch_bytes(4096, 128) / 4));
  print_bench(stream, "512 rows, 8 of 128", [&] { expert_rows(stream, of, 128, 16, scratch); });
}
