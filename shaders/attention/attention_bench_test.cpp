// Time of attention by pattern and cache: it follows the keys that rows see.
#include "shaders/attention/attention_test.h"

using namespace spindle;
using namespace spindle::test;

TEST_CASE("attention patterns bench" * doctest::skip(!bench())) {
  Stream stream(device());
  AttentionShape plain{.n_heads = 32, .scale = 0.088f};
  const auto run = [&](AttentionWorld& w, Phase phase, uint32_t first, uint32_t n, const std::string& what) {
    const uint32_t depth = first + n;
    const auto at = positions(0, first, n);
    Tensors t(stream);
    const uint32_t versions = w.shape.n_queries(), width = w.shape.n_heads * 128;
    const Tensor y = t.f32(n, width),
                 q = t.f32(n * versions, width, random_values(size_t{n} * versions * width, 1)),
                 rows = AttentionWorld::rows(t, at);
    const auto words = attention_scratch_bytes(stream.caps(), phase, n, w.cache, w.shape, depth) / 4;
    const Tensor scratch = t.u32(1, static_cast<uint32_t>(words));
    print_bench(stream, what, [&] {
      attention(stream, phase, y, {}, q, rows, w.pages(), w.segments(), w.cache, w.shape, depth, scratch,
                w.table());
    });
  };
  for (const auto& [name, passes] : std::vector<std::pair<std::string, std::vector<KeyPass>>>{
           {"all keys", {}},
           {"window 1024", pattern::window(1024)},
           {"sinks 4 + 1024", pattern::sinks(4, 1024)},
           {"dual chunk 1024", pattern::dual_chunk(1024)},
           {"longformer 1024 + 64", pattern::longformer(1024, 64, false)},
           {"groups 2048", pattern::shifted_groups(2048)},
           {"bigbird 64", pattern::bigbird(64, 2, 3, 3)},
           {"dilated 1024/1 8192/8", pattern::dilated({{1024, 1}, {8192, 8}})}}) {
    plain.passes = passes;
    AttentionWorld w(stream, CacheShape{8, 128, 64, DType::f16, DType::f16}, plain, {8192});
    w.lay_out(64, {});
    run(w, Phase::decode, 8191, 1, fmt::format("decode 8192 keys, {}", name));
    run(w, Phase::prefill, 8192 - 64, 64, fmt::format("prefill 64 x 8192, {}", name));
  }
  // At depth a window costs what its keys cost.
  for (const auto& [keys, passes] : std::vector<std::pair<uint32_t, std::vector<KeyPass>>>{
           {65536, {}}, {65536, pattern::window(1024)}, {65536, pattern::sinks(4, 1024)}, {1024, {}}}) {
    AttentionWorld w(stream, CacheShape{1, 128, 64, DType::f16, DType::f16}, {4, 0.088f, passes}, {keys});
    w.lay_out(64, {});
    run(w, Phase::decode, keys - 1, 1,
        fmt::format("decode 4/1x128, {} keys, {} passes", keys, passes.size()));
  }
  // Time grows with the keys, for every cache.
  for (DType type : {DType::f16, DType::q8_0, DType::q4_0})
    for (uint32_t keys = 1024; keys <= 65536; keys *= 4) {
      AttentionWorld w(stream, CacheShape{1, 128, 64, type, type}, {4, 0.088f}, {keys});
      w.lay_out(64, {});
      run(w, Phase::decode, keys - 1, 1, fmt::format("decode 4/1x128 {}, {} keys", info(type).name, keys));
      run(w, Phase::prefill, keys - 64, 64, fmt::format("prefill 64 x {} keys, {}", keys, info(type).name));
    }
  plain.passes = {};
  for (DType type : {DType::f16, DType::q8_0, DType::q4_0}) {
    AttentionWorld w(stream, CacheShape{8, 128, 64, type, type}, plain, {4096});
    w.lay_out(64, {});
    run(w, Phase::decode, 4095, 1, fmt::format("decode 4096 keys, {}", info(type).name));
    run(w, Phase::prefill, 4096 - 64, 64, fmt::format("prefill 64 x 4096, {}", info(type).name));
  }
}
