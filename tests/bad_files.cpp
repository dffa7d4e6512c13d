// The generators: rows of ../shared/notes/robustness.md, made of sound files that differ in one thing.
#include "tests/bad_files.h"

#include <fmt/core.h>

#include <cmath>
#include <limits>

#include "models/memory_plan.h"

namespace spindle::test {
namespace {

using When = BadFile::When;
constexpr uint64_t kTwo31 = uint64_t{1} << 31, kTwo32 = uint64_t{1} << 32, kTwo63 = uint64_t{1} << 63;

// A few keys of every kind and two tensors: what G01 to G22 are made of.
GgufWriter small_file() {
  GgufWriter w;
  w.set("general.architecture", "llama");
  w.set("count", uint32_t{7});
  w.set("numbers", std::vector<float>{1, 2, 3});
  w.set("words", std::vector<std::string>{"a", "", "ccc"});
  w.set("flag", true);
  w.add_tensor("token_embd.weight", {4, 2}, std::vector<float>{1, 2, 3, 4, 5, 6, 7, 8});
  w.add_tensor("norm", {3}, std::vector<float>{9, 10, 11});
  return w;
}

GgufWriter one_tensor(uint32_t type, std::vector<uint64_t> dims, const std::string& name = "x") {
  GgufWriter w;
  w.add_tensor(name, type, std::move(dims), Bytes(4096));
  return w;
}

template <class... T>
Bytes raw(T... values) {
  Bytes bytes;
  (GgufWriter::put(bytes, values), ...);
  return bytes;
}

// Collects rows.
class Rows {
 public:
  std::vector<BadFile> list;

  void add(const char* id, const GgufWriter& w, std::string expected, When when = When::opened) {
    add(id, w.finish(), std::move(expected), when);
  }
  void add(const char* id, Bytes bytes, std::string expected, When when = When::opened) {
    list.push_back({id, {std::move(bytes)}, std::move(expected), when});
  }
  // A sound file with one change.
  template <class Change>
  void file(const char* id, std::string expected, Change change) {
    GgufWriter w = small_file();
    change(w);
    add(id, w, std::move(expected));
  }
  template <class Change>
  void model(const char* id, std::string expected, Change change, When when = When::loaded) {
    GgufWriter w = tiny_model();
    change(w);
    add(id, w, std::move(expected), when);
  }
  template <class Change>
  void split(std::string expected, Change change) {
    std::vector<GgufWriter> w = tiny_split();
    change(w);
    list.push_back({"G37", finish(w), std::move(expected), When::opened});
  }
};

void add_heads(Rows& rows) {  // G01 to G05
  const Bytes good = small_file().finish();
  for (ptrdiff_t n : {0, 1, 3, 4, 7, 8, 12, 23})
    rows.add("G01", Bytes(good.begin(), good.begin() + n), "not GGUF");
  rows.file("G02", "magic at byte 0: 'GGML', expected 'GGUF'", [](auto& w) { w.magic = "GGML"; });
  rows.file("G02", "byte-swapped", [](auto& w) { w.magic = "FUGG"; });
  for (const uint32_t version : {0u, 1u, 4u, UINT32_MAX})
    rows.file("G02", fmt::format("version at byte 4: {}, allowed 2 to 3", version),
              [&](auto& w) { w.version = version; });
  for (const uint32_t version : {2u, 3u})
    rows.file("G02", "the file is byte-swapped: big-endian files are not supported",
              [&](auto& w) { w.version = version << 24; });
  for (const auto& [n, expected] :
       {std::pair{40, "exceeds the file"},
        {120, "truncated reading array count at byte 113: 8 bytes needed, 7 left"},
        {230, "name length at byte 207: 17 exceeds the file"},
        {330, "truncated"}})
    rows.add("G03", Bytes(good.begin(), good.begin() + n), expected);
  for (const uint64_t count : {UINT64_MAX, kTwo63, kTwo32, uint64_t{1000}}) {
    const std::string exceeds = fmt::format("{} exceeds the file, allowed 0 to ", count);
    rows.file("G04", "tensor count at byte 8: " + exceeds, [&](auto& w) { w.tensor_count = count; });
    rows.file("G04", "key count at byte 16: " + exceeds, [&](auto& w) { w.key_count = count; });
    GgufWriter text;
    text.set_raw("k", 8, raw(count));
    rows.add("G05", text, "key 'k': value at byte 37: " + exceeds);
    Bytes key = GgufWriter().finish();
    key[16] = std::byte{1};
    for (uint64_t word : {count, uint64_t{0}, uint64_t{0}}) GgufWriter::put(key, word);
    rows.add("G05", key, "key length at byte 24: " + exceeds);
    rows.file("G05", "name length", [&](auto& w) { w.tensor("norm").name_length = count; });
    for (const uint32_t type : {0u, 6u, 7u, 8u, 10u, 12u}) {
      GgufWriter array;
      array.set_raw("k", 9, raw(type, count));
      rows.add("G10", array, "key 'k': array count at byte 41: " + exceeds);
    }
  }
  GgufWriter one_more;
  one_more.set_raw("k", 8, raw(uint64_t{9}, uint64_t{0}));
  rows.add("G05", one_more, "9 exceeds the file, allowed 0 to 8");
}

void add_keys(Rows& rows) {  // G06 to G12
  const auto key = [&](const std::string& name, std::string expected) {
    rows.file("G06", std::move(expected), [&](auto& w) { w.set(name, uint32_t{1}); });
  };
  key("", "bad key of 0 bytes, allowed 1 to 65535");
  key(std::string("a\0b", 3), "bad key 'a\\x00b'");
  key("a\xFF", "bad key 'a\\xFF'");
  key("a\x1B[2J", "bad key 'a\\x1B[2J'");
  key(std::string(1 << 20, 'k'), "bad key of 1048576 bytes");
  rows.file("G07", "key 'count': key at byte ", [](auto& w) { w.set("count", uint32_t{7}); });
  rows.file("G07", "duplicate", [](auto& w) { w.set("flag", "another type"); });
  for (const uint32_t type : {13u, UINT32_MAX, 1u << 31}) {
    GgufWriter scalar, array;
    scalar.set_raw("k", type, raw(uint64_t{0}, uint64_t{0}));
    rows.add("G08", scalar, fmt::format("value type at byte 33: unknown type {}, allowed 0 to 12", type));
    array.set_raw("k", 9, raw(type, uint64_t{1} << 60));
    rows.add("G09", array, fmt::format("array element type at byte 37: unknown type {}", type));
  }
  rows.file("G08", "bool is 2, allowed 0 or 1", [](auto& w) { w.set_raw("k", 7, raw(uint8_t{2})); });
  rows.file("G08", "bool is 255",
            [](auto& w) { w.set_raw("k", 9, raw(uint32_t{7}, uint64_t{2}, uint8_t{1}, uint8_t{255})); });
  Bytes nested;
  for (int depth = 0; depth < 1000; depth++) {
    GgufWriter::put<uint32_t>(nested, 9);
    GgufWriter::put<uint64_t>(nested, 1);
  }
  rows.file("G09", "array of arrays", [&](auto& w) { w.set_raw("k", 9, nested); });
  rows.model("G11", "key 'llama.block_count': value at byte ",
             [](auto& w) { w.replace("llama.block_count", "1"); });
  rows.model("G11", "expected integer, got string", [](auto& w) { w.replace("llama.block_count", "1"); });
  rows.model("G11", "expected float, got u32",
             [](auto& w) { w.replace("llama.attention.layer_norm_rms_epsilon", uint32_t{1}); });
  rows.model("G11", "expected string, got i32", [](auto& w) { w.replace("general.architecture", 1); });
  rows.model("G11", "-1, allowed 0 to", [](auto& w) { w.replace("llama.embedding_length", int32_t{-1}); });
  for (const uint64_t value : {uint64_t{0}, uint64_t{3}, uint64_t{1} << 21, kTwo31, kTwo63})
    rows.file("G12",
              fmt::format("key 'general.alignment': value at byte 236: {}, allowed a power of two from 1 to "
                          "1048576",
                          value),
              [&](auto& w) { w.set("general.alignment", value); });
  rows.file("G12", "expected integer, got string", [](auto& w) { w.set("general.alignment", "32"); });
}

void add_tensors(Rows& rows) {  // G13 to G22
  GgufWriter many;
  for (int i = 0; i < 1'100'000; i++) many.set(std::to_string(i), uint8_t{1});
  rows.add("G13", many, "1100000 are too many, allowed 0 to 1048576");
  const auto name = [&](const std::string& text, std::string expected) {
    rows.add("G14", one_tensor(0, {4}, text), std::move(expected));
  };
  name("", "bad tensor name of 0 bytes, allowed 1 to 64");
  name(std::string(65, 'n'), "bad tensor name of 65 bytes");
  name(std::string("a\0b", 3), "bad tensor name 'a\\x00b'");
  name("a\xC0", "bad tensor name 'a\\xC0'");
  rows.file("G14", "tensor 'norm': name at byte ", [](auto& w) {
    w.add_tensor("norm", {3}, std::vector<float>{1, 2, 3});
  });
  for (const uint32_t n_dims : {0u, 5u, UINT32_MAX})
    rows.file("G15", fmt::format("bad shape: {}, allowed 1 to 4", n_dims), [&](auto& w) {
      w.add_tensor("y", 0, {4, 1, 1, 1, 1}, Bytes(16)).n_dims = n_dims;
    });
  const auto shape = [&](const char* id, uint32_t type, std::vector<uint64_t> dims, std::string expected) {
    rows.add(id, one_tensor(type, std::move(dims)), std::move(expected));
  };
  shape("G16", 0, {0}, "bad shape: dimension 0 is 0, allowed 1 to");
  shape("G16", 0, {4, 0}, "bad shape: dimension 1 is 0");
  shape("G16", 0, {UINT64_MAX}, "bad shape: dimension 0 is -1");
  shape("G16", 0, {4, kTwo63}, "bad shape: dimension 1 is -9223372036854775808");
  shape("G17", 0, {kTwo32, kTwo32}, "overflows");  // 0 when it wraps
  shape("G17", 0, {kTwo31, kTwo31, 4}, "overflows");
  shape("G17", 0, {kTwo31, kTwo31, 2}, "overflows");
  shape("G18", 0, {UINT64_MAX / 4}, "overflows");
  shape("G18", 0, {INT64_MAX / 4 + 1}, "overflows");
  shape("G18", 28, {uint64_t{1} << 61}, "overflows");
  shape("G18", 0, {INT64_MAX / 4}, "bad offset");  // no overflow, only too large
  for (const uint32_t type : {4u, 5u, 31u, 33u, 36u, 38u, 43u, 1000u, 1u << 31})
    shape("G19", type, {32}, "unsupported type");
  shape("G19", UINT32_MAX, {32}, "type at byte 45: unsupported type -1");
  shape("G20", 8, {33}, "bad shape: rows of 33 elements, allowed multiples of 32, the block of q8_0");
  shape("G20", 12, {32, 8}, "multiples of 256, the block of q4_k");
  const auto offset = [&](const char* id, uint64_t at, std::string expected) {
    GgufWriter w;
    w.add_tensor("x", 0, {16}, Bytes(64));
    w.add_tensor("y", 0, {16}, Bytes(64)).offset = at;
    rows.add(id, w, std::move(expected));
  };
  offset("G21", 65, "tensor 'y': offset at byte 82: bad offset: 65 is no multiple of the alignment 32");
  offset("G21", 32, "overlaps tensor 'x', which ends at byte ");
  offset("G21", 0, "overlaps");
  for (const uint64_t at : {uint64_t{96}, uint64_t{128}, uint64_t{1} << 62, UINT64_MAX - 31})
    offset("G22", at, "bad offset");
  GgufWriter gap;
  gap.add_tensor("x", 0, {16}, Bytes(64)).offset = 64;
  gap.add_tensor("y", 0, {16}, Bytes(64)).offset = 128;
  gap.add_tensor("z", 0, {8}, Bytes(96)).offset = 0;  // ends at 32
  GgufWriter fewer;
  for (const char* key : {"a", "b"}) fewer.set(key, std::string(100, 'x'));
  fewer.key_count = 1;
  rows.add("G22", fewer, "bytes behind the header, of a file without tensors");
  rows.add("G22", gap, "bad offset: a gap of 32 bytes behind tensor 'z'");
}

void add_settings(Rows& rows) {  // G26 to G29
  const auto set = [](const char* key, auto value) { return [=](GgufWriter& w) { w.replace(key, value); }; };
  rows.model("G26",
             "key 'general.architecture' is missing: architecture '' is not supported; supported are: ",
             [](auto& w) { w.erase("general.architecture"); });
  rows.model("G26", "architecture 'll\\x0Ama' is not supported; supported are: llama",
             set("general.architecture", "ll\nma"));
  rows.model("G26", "key 'general.type': value at byte ", [](auto& w) { w.set("general.type", "adapter"); });
  rows.model("G26", "found 'mmproj', allowed 'model'", [](auto& w) { w.set("general.type", "mmproj"); });
  const auto bad = [&](const char* id, const std::string& key, auto value, const std::string& expected) {
    rows.model(id, "key 'llama." + key + "': value at byte ",
               [&](auto& w) { w.replace("llama." + key, value); });
    rows.model(id, expected, [&](auto& w) { w.replace("llama." + key, value); });
  };
  bad("G27", "attention.head_count", uint32_t{0}, "found 0, expected 1 to");
  bad("G27", "attention.head_count_kv", uint32_t{0}, "found 0, expected 1 to");
  bad("G27", "attention.head_count_kv", uint32_t{3}, "2 heads cannot be shared evenly among 3");
  bad("G27", "attention.head_count", std::vector<uint32_t>{2, 2}, "found 2 values for 1 layers");
  bad("G27", "block_count", uint32_t{1} << 31, "found 2147483648, expected 1 to");
  bad("G27", "block_count", uint32_t{0}, "found 0, expected 1 to");
  bad("G27", "embedding_length", uint64_t{1} << 40, "found 1099511627776, expected 1 to");
  bad("G27", "context_length", uint32_t{0}, "found 0, expected 1 to");
  bad("G27", "context_length", (uint32_t{1} << 30) + 1, "found 1073741825, expected 1 to 1073741824");
  bad("G27", "feed_forward_length", UINT32_MAX, "found 4294967295, expected 1 to");
  bad("G27", "attention.key_length", uint32_t{7}, "head size 7");
  bad("G27", "rope.dimension_count", uint32_t{16}, "found 16, expected 2 to 8");
  rows.model("G28", "key 'llama.expert_used_count': value at byte ", [](auto& w) {
    w.set("llama.expert_count", uint32_t{2});
    w.set("llama.expert_used_count", uint32_t{3});
  });
  for (const float value : {0.0f, NAN, INFINITY, -1.0f}) {
    bad("G28", "attention.layer_norm_rms_epsilon", value, "expected a positive number");
    bad("G28", "rope.freq_base", value, "expected a positive number");
    if (value != 0) bad("G28", "rope.scaling.factor", value, "expected a positive number");
  }
  rows.model("G29", "tensor 'blk.0.ffn_up.weight' is missing, expected [16, 8]",
             [](auto& w) { w.erase_tensor("blk.0.ffn_up.weight"); });
  rows.model("G29", "tensor 'token_embd.weight' is missing",
             [](auto& w) { w.erase_tensor("token_embd.weight"); });
  rows.model("G29", "expected [16, 8], got [8, 16]", [](auto& w) {
    w.tensor("blk.0.ffn_up.weight").dims = {8, 16};
  });
  rows.model(
      "G29", "tensor 'extra' is not used", [](auto& w) { w.add_tensor("extra", {1}, std::vector<float>{1}); },
      When::warning);
}

void add_tokenizers(Rows& rows) {  // G30 to G36
  const auto set = [](const char* key, auto value) { return [=](GgufWriter& w) { w.replace(key, value); }; };
  rows.model("G30", "6 values, but tokenizer.ggml.tokens has 7",
             set("tokenizer.ggml.scores", std::vector<float>(6)), When::tokenizer);
  rows.model("G30", "the tokenizer has 7 tokens, the embedding 6", [](auto& w) {
    for (const char* name : {"token_embd.weight", "output.weight"}) {
      w.tensor(name).dims = {16, 6};
      w.tensor(name).bytes.resize(16 * 6 * 4);
    }
  });
  rows.model("G31", "token id 7, allowed 0 to 6", set("tokenizer.ggml.bos_token_id", uint32_t{7}),
             When::tokenizer);
  rows.model("G32", "1 duplicate tokens, the first is 'a'",
             set("tokenizer.ggml.tokens",
                 std::vector<std::string>{"<unk>", "<s>", "</s>", "\xE2\x96\x81", "a", "a", "ab"}),
             When::warning);
  rows.model("G33", "bad byte token",
             set("tokenizer.ggml.token_type", std::vector<int32_t>{2, 3, 3, 1, 1, 6, 1}), When::tokenizer);
  for (const auto& [merge, expected] : {std::pair{"ab", "allowed: two parts with a space between"},
                                        {"a c", "bad merge 1: 'a c': 'c' is no token"}})
    rows.model(
        "G35", expected,
        [&](auto& w) {
          w.replace("tokenizer.ggml.model", "gpt2");
          w.set("tokenizer.ggml.pre", "gpt-2");
          w.set("tokenizer.ggml.merges", std::vector<std::string>{"a b", merge});
        },
        When::tokenizer);
  for (const float value : {NAN, INFINITY, -INFINITY})
    rows.model(
        "G36", "non-finite logits",
        [&](auto& w) {
          Bytes& data = w.tensor("blk.0.ffn_down.weight").bytes;
          for (size_t at = 0; at < data.size(); at += 4) std::memcpy(data.data() + at, &value, 4);
        },
        When::run);
}

void add_shards(Rows& rows) {  // G37
  const auto set = [](size_t shard, const char* key, auto value) {
    return [=](std::vector<GgufWriter>& w) { w[shard].replace(key, value); };
  };
  rows.split("shard 2/3: t-00002-of-00003.gguf: key 'split.count': value at byte ",
             set(1, "split.count", uint16_t{4}));
  rows.split("found 4, expected 3", set(1, "split.count", uint16_t{4}));
  rows.split("shard 1/3: t-00001-of-00003.gguf: key 'split.count': value at byte ",
             set(0, "split.count", uint16_t{0}));
  rows.split("shard 3/3: t-00003-of-00003.gguf: key 'split.no': value at byte ",
             set(2, "split.no", uint16_t{1}));
  rows.split("found 1, which is shard 2, expected 2", set(2, "split.no", uint16_t{1}));
  rows.split("shard 2/3: t-00002-of-00003.gguf: key 'split.no' is missing",
             [](auto& w) { w[1].erase("split.no"); });
  rows.split("expected integer, got string", set(1, "split.no", "../t"));
  rows.split("-1, allowed 0 to", set(1, "split.no", int16_t{-1}));
  rows.split("shard 2/3: t-00002-of-00003.gguf: key 'split.no': value", [](auto& w) { w[1] = w[0]; });
  rows.split("shard 2/2: t-00002-of-00002.gguf: key 'split.count'", [](auto& w) {
    w.pop_back();
    w[0].replace("split.count", uint16_t{2});
  });
  rows.split("key 'split.count': value at byte ", [](auto& w) { w.resize(1); });
  rows.split("found 3, but there is one file only", [](auto& w) { w.resize(1); });
  rows.split("duplicate, shard 2 has it",
             [](auto& w) { w[2].add_tensor("blk.0.attn_k.weight", {1}, std::vector<float>{1}); });
  rows.split("shard 1/3: t-00001-of-00003.gguf: key 'split.tensors.count': value at byte ",
             set(0, "split.tensors.count", int32_t{99}));
  rows.split("found 99, but the 3 shards have 12", set(0, "split.tensors.count", int32_t{99}));
  rows.split("shard 2/3: t-00002-of-00003.gguf: not GGUF", [](auto& w) { w[1].magic = "GGML"; });
  rows.split("shard 3/3: t-00003-of-00003.gguf: tensor count at byte 8: 1000 exceeds the file",
             [](auto& w) { w[2].tensor_count = 1000; });
}

}  // namespace

GgufWriter tiny_vocabulary() {
  GgufWriter w;
  w.set("general.architecture", "llama");
  w.set("tokenizer.ggml.model", "llama");
  w.set("tokenizer.ggml.tokens",
        std::vector<std::string>{"<unk>", "<s>", "</s>", "\xE2\x96\x81", "a", "b", "ab"});
  w.set("tokenizer.ggml.scores", std::vector<float>{0, 0, 0, -1, -2, -3, -4});
  w.set("tokenizer.ggml.token_type", std::vector<int32_t>{2, 3, 3, 1, 1, 1, 1});
  w.set("tokenizer.ggml.bos_token_id", uint32_t{1});
  w.set("tokenizer.ggml.eos_token_id", uint32_t{2});
  return w;
}

GgufWriter tiny_model() {
  constexpr uint32_t kDim = 16, kFfn = 8, kKv = 8, kVocab = 7;
  GgufWriter w = tiny_vocabulary();
  const auto set = [&](const std::string& key, auto value) { w.set("llama." + key, value); };
  set("block_count", 1u);
  set("embedding_length", kDim);
  set("context_length", 64u);
  set("attention.head_count", 2u);
  set("attention.head_count_kv", 1u);
  set("attention.key_length", 8u);
  set("attention.layer_norm_rms_epsilon", 1e-5f);
  set("feed_forward_length", kFfn);
  set("rope.dimension_count", 8u);
  set("rope.freq_base", 10000.0f);
  set("rope.scaling.factor", 2.0f);
  float next = 0;
  const auto tensor = [&](const std::string& name, std::vector<uint64_t> dims) {
    size_t n = 1;
    for (uint64_t dim : dims) n *= dim;
    std::vector<float> values(n);
    for (float& v : values) v = std::sin(next += 1) / 4;
    w.add_tensor(name + ".weight", std::move(dims), values);
  };
  tensor("output", {kDim, kVocab});
  tensor("token_embd", {kDim, kVocab});
  tensor("blk.0.attn_norm", {kDim});
  tensor("blk.0.attn_q", {kDim, kDim});
  tensor("blk.0.attn_k", {kDim, kKv});
  tensor("blk.0.attn_v", {kDim, kKv});
  tensor("blk.0.attn_output", {kDim, kDim});
  tensor("blk.0.ffn_norm", {kDim});
  tensor("blk.0.ffn_gate", {kDim, kFfn});
  tensor("blk.0.ffn_up", {kDim, kFfn});
  tensor("blk.0.ffn_down", {kFfn, kDim});
  tensor("output_norm", {kDim});
  return w;
}

std::vector<GgufWriter> tiny_split() {
  const GgufWriter whole = tiny_model();
  std::vector<GgufWriter> shards = {whole, {}, {}};
  shards[0].erase_tensors();
  for (uint16_t i = 0; i < 3; i++) {
    shards[i].set("split.no", i);
    shards[i].set("split.count", uint16_t{3});
    shards[i].set("split.tensors.count", static_cast<int32_t>(whole.tensors().size()));
  }
  for (size_t i = 0; i < whole.tensors().size(); i++) {
    const GgufWriter::Tensor& t = whole.tensors()[i];
    shards[i * 3 / whole.tensors().size()].add_tensor(t.name, t.type, t.dims, t.bytes);
  }
  return shards;
}

Shards finish(const std::vector<GgufWriter>& writers) {
  Shards shards;
  for (const GgufWriter& w : writers) shards.push_back(w.finish());
  return shards;
}

std::vector<InputFile> as_files(const Shards& shards) {
  std::vector<InputFile> files;
  for (size_t i = 0; i < shards.size(); i++)
    files.push_back(InputFile::from_memory(
        shards[i],
        shards.size() == 1 ? "t.gguf" : fmt::format("t-{:05}-of-{:05}.gguf", i + 1, shards.size())));
  return files;
}

std::vector<BadFile> bad_files() {
  Rows rows;
  add_heads(rows);
  add_keys(rows);
  add_tensors(rows);
  add_settings(rows);
  add_tokenizers(rows);
  add_shards(rows);
  return std::move(rows.list);
}

void load_without_device(const Gguf& file) {
  if (file.has("tokenizer.ggml.model")) Tokenizer{file};
  if (file.tensors().empty()) return;
  const Caps caps;
  const MemoryPlan plan(caps, file);
  SessionOptions options;
  options.context = 64;
  plan.need(options);
}

}  // namespace spindle::test
