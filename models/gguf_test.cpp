// GGUF: what is written is read back, and every bad file of notes G01 to G25 gives its one error.
#include "models/gguf.h"

#include <doctest/doctest.h>

#include <chrono>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <numeric>

#include "runtime/error.h"
#include "tests/gguf_writer.h"
#include "tests/shared_data.h"

using namespace spindle;

namespace {

using Bytes = std::vector<std::byte>;

// The message of the error, checked to be one clean line of the right kind; empty when the file is fine.
std::string parse_error(const Bytes& bytes) {
  try {
    Gguf::parse(bytes, "t.gguf");
  } catch (const Error& e) {
    const std::string message = e.what();
    CHECK(e.kind() == ErrorKind::model_file);
    CHECK(message.starts_with("t.gguf: "));
    CHECK(message.find("at byte") != std::string::npos);
    CHECK(message.size() < 600);
    for (char c : message) CHECK(static_cast<unsigned char>(c) >= 0x20);
    return message;
  }
  return "";
}
std::string parse_error(const GgufWriter& writer) { return parse_error(writer.finish()); }

bool contains(const std::string& text, std::string_view part) {
  const bool found = text.find(part) != std::string::npos;
  if (!found) MESSAGE("message: ", text);
  return found;
}

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

GgufWriter one_tensor(uint32_t type, std::vector<uint64_t> dims, size_t n_bytes = 4096) {
  GgufWriter w;
  w.add_tensor("x", type, std::move(dims), Bytes(n_bytes));
  return w;
}

Bytes raw(std::initializer_list<uint64_t> words) {
  Bytes bytes;
  for (const uint64_t word : words) GgufWriter::put(bytes, word);
  return bytes;
}

// Of this process alone, so that a busy machine fails no test.
double seconds_of(auto work) {
  const std::clock_t start = std::clock();
  work();
  return static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
}

}  // namespace

TEST_CASE("gguf: metadata and tensors are read back") {
  for (const uint32_t version : {2u, 3u}) {
    GgufWriter w = small_file();
    w.version = version;
    w.set("u8", uint8_t{255});
    w.set("i8", int8_t{-1});
    w.set("u16", uint16_t{65535});
    w.set("i16", int16_t{-2});
    w.set("i32", int32_t{-3});
    w.set("u64", uint64_t{1} << 63);
    w.set("i64", int64_t{-4});
    w.set("f64", 0.1);
    w.set("bools", std::vector<bool>{true, false, true});
    w.set("i16s", std::vector<int16_t>{-1, 5});
    w.set("empty", std::vector<std::string>{});
    Gguf parsed = Gguf::parse(w.finish(), "t.gguf");
    const Gguf file = std::move(parsed);  // what is found points into the new one
    CHECK(file.version() == version);
    CHECK(file.get<std::string>("general.architecture") == "llama");
    CHECK(file.get<uint32_t>("count") == 7);
    CHECK(file.get<int64_t>("u8") == 255);
    CHECK(file.get<int32_t>("i8") == -1);
    CHECK(file.get<uint32_t>("u16") == 65535);
    CHECK(file.get<uint64_t>("u64") == uint64_t{1} << 63);
    CHECK(file.get<double>("f64") == 0.1);
    CHECK(file.get<float>("f64") == 0.1f);
    CHECK(file.get<bool>("flag"));
    CHECK(file.get<std::vector<float>>("numbers") == std::vector<float>{1, 2, 3});
    CHECK(file.get<std::vector<std::string>>("words") == std::vector<std::string>{"a", "", "ccc"});
    CHECK(file.get<std::vector<bool>>("bools") == std::vector<bool>{true, false, true});
    CHECK(file.get<std::vector<int32_t>>("i16s") == std::vector<int32_t>{-1, 5});
    CHECK(file.get<std::vector<std::string>>("empty").empty());
    CHECK(!file.find<uint32_t>("absent"));
    CHECK(file.get_or<uint32_t>("absent", 3) == 3);
    CHECK(file.metadata().size() == 16);
    CHECK(type_name(file.find_entry("i16s")->value) == "array of i16");

    CHECK(file.tensors().size() == 2);
    const GgufTensor& tensor = file.get_tensor("norm");
    CHECK(tensor.dims == std::array<uint64_t, 4>{3, 1, 1, 1});
    CHECK(tensor.elements() == 3);
    std::array<float, 2> last = {};
    file.read_tensor(tensor, std::as_writable_bytes(std::span(last)), 4);
    CHECK(last == std::array<float, 2>{10, 11});
    CHECK(file.find_tensor("absent") == nullptr);
    CHECK_THROWS_WITH_AS(file.get_tensor("absent"), "t.gguf: tensor 'absent' is missing", Error);
  }
}

TEST_CASE("gguf: wrong types and ranges are named (G11)") {
  const Gguf file = Gguf::parse(small_file().finish(), "t.gguf");
  const auto error = [&](auto work) {
    try {
      work();
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  CHECK(contains(error([&] { file.get<uint32_t>("general.architecture"); }), "expected integer, got string"));
  CHECK(contains(error([&] { file.get<uint32_t>("flag"); }), "key 'flag': value at byte "));
  CHECK(contains(error([&] { file.get<bool>("count"); }), "expected bool, got u32"));
  CHECK(contains(error([&] { file.get<float>("count"); }), "expected float, got u32"));
  CHECK(contains(error([&] { file.get<std::string>("words"); }), "expected string, got array of string"));
  CHECK(contains(error([&] { file.get<std::vector<int32_t>>("numbers"); }),
                 "expected array of integer, got array of f32"));
  CHECK(error([&] { file.get<int32_t>("absent"); }) == "t.gguf: key 'absent' is missing");
  GgufWriter w;
  w.set("minus", int32_t{-1});
  w.set("big", uint64_t{1} << 40);
  w.set("list", std::vector<int32_t>{1, -1});
  const Gguf ranges = Gguf::parse(w.finish(), "t.gguf");
  CHECK(contains(error([&] { ranges.get<uint32_t>("minus"); }), "-1, allowed 0 to 4294967295"));
  CHECK(contains(error([&] { ranges.get<int32_t>("big"); }),
                 "1099511627776, allowed -2147483648 to 2147483647"));
  CHECK(contains(error([&] { ranges.get<std::vector<uint32_t>>("list"); }), "-1, allowed 0 to 4294967295"));
}

TEST_CASE("gguf: no GGUF at all (G01, G02)") {
  const Bytes good = small_file().finish();
  for (size_t n = 0; n < 24; n++)
    CHECK(contains(parse_error(Bytes(good.begin(), good.begin() + n)), "not GGUF"));
  GgufWriter w = small_file();
  w.magic = "GGML";
  CHECK(contains(parse_error(w), "not GGUF: magic at byte 0: 'GGML', expected 'GGUF'"));
  w.magic = "FUGG";
  CHECK(contains(parse_error(w), "byte-swapped"));
  w.magic = "GGUF";
  for (const uint32_t version : {0u, 1u, 4u, 0xFFFFFFFFu}) {
    w.version = version;
    CHECK(contains(parse_error(w), fmt::format("version at byte 4: {}, allowed 2 to 3", version)));
  }
  w.version = 3u << 24;
  CHECK(contains(parse_error(w), "byte-swapped"));
}

TEST_CASE("gguf: cut at every byte (G03)") {
  const Bytes good = small_file().finish();
  CHECK(parse_error(good) == "");
  for (size_t n = 0; n < good.size(); n++) {
    const std::string message = parse_error(Bytes(good.begin(), good.begin() + static_cast<ptrdiff_t>(n)));
    const bool said = message.find("truncated") != std::string::npos ||
                      message.find("exceeds the file") != std::string::npos;
    CHECK_MESSAGE(said, "cut at ", n, ": ", message);
  }
}

TEST_CASE("gguf: every single flipped bit gives an error or a file") {
  const Bytes good = small_file().finish();
  const double seconds = seconds_of([&] {
    for (size_t bit = 0; bit < good.size() * 8; bit++) {
      Bytes bad = good;
      bad[bit / 8] ^= static_cast<std::byte>(1 << (bit % 8));
      if (!parse_error(bad).empty()) continue;
      const Gguf file = Gguf::parse(std::move(bad), "t.gguf");
      for (const GgufTensor& tensor : file.tensors()) {
        Bytes data(tensor.bytes);
        file.read_tensor(tensor, data);
      }
    }
  });
  CHECK(seconds < 10);
}

TEST_CASE("gguf: counts and lengths beyond the file (G04, G05, G10)") {
  for (const uint64_t count : {UINT64_MAX, uint64_t{1} << 63, uint64_t{1} << 32, uint64_t{1000}}) {
    GgufWriter tensors = small_file(), keys = small_file();
    tensors.tensor_count = count;
    CHECK(contains(parse_error(tensors),
                   fmt::format("tensor count at byte 8: {} exceeds the file, allowed 0 to ", count)));
    keys.key_count = count;
    CHECK(contains(parse_error(keys), fmt::format("key count at byte 16: {} exceeds the file", count)));
    GgufWriter text;
    text.set_raw("k", 8, raw({count}));
    CHECK(contains(parse_error(text),
                   fmt::format("key 'k': value at byte 37: {} exceeds the file, allowed 0 to 0", count)));
    for (const uint32_t type : {0u, 6u, 7u, 8u, 10u, 12u}) {
      Bytes value;
      GgufWriter::put(value, type);
      GgufWriter::put(value, count);
      GgufWriter array;
      array.set_raw("k", 9, value);
      CHECK(contains(parse_error(array),
                     fmt::format("key 'k': array count at byte 41: {} exceeds the file", count)));
    }
    Bytes bytes = GgufWriter().finish();
    bytes[16] = std::byte{1};
    const Bytes key = raw({count, 0, 0});
    bytes.insert(bytes.end(), key.begin(), key.end());
    CHECK(contains(parse_error(bytes),
                   fmt::format("key length at byte 24: {} exceeds the file, allowed 0 to 16", count)));
  }
  GgufWriter text;
  Bytes value = raw({9});  // one more than there is
  value.resize(16);
  text.set_raw("k", 8, value);
  CHECK(contains(parse_error(text), "9 exceeds the file, allowed 0 to 8"));
  GgufWriter name = one_tensor(0, {4});
  name.add_tensor("y", 0, {4}, Bytes(16)).name_length = UINT64_MAX;
  CHECK(contains(parse_error(name), "name length"));
}

TEST_CASE("gguf: bad keys (G06, G07)") {
  const auto error_of_key = [](const std::string& key) {
    GgufWriter w;
    w.set(key, uint32_t{1});
    return parse_error(w);
  };
  CHECK(contains(error_of_key(""), "bad key of 0 bytes, allowed 1 to 65535"));
  CHECK(contains(error_of_key(std::string("a\0b", 3)), "bad key 'a\\x00b'"));
  CHECK(contains(error_of_key("a\xFF"), "bad key 'a\\xFF'"));
  CHECK(contains(error_of_key("a\x1B[2J"), "bad key 'a\\x1B[2J'"));
  CHECK(contains(error_of_key(std::string(1 << 20, 'k')), "bad key of 1048576 bytes"));
  CHECK(error_of_key(std::string(65535, 'k')) == "");
  CHECK(error_of_key("schlüssel") == "");
  GgufWriter w = small_file();
  w.set("count", uint32_t{7});
  CHECK(contains(parse_error(w), "key 'count': key at byte "));
  CHECK(contains(parse_error(w), "duplicate"));
}

TEST_CASE("gguf: bad value types (G08, G09)") {
  for (const uint32_t type : {13u, 0xFFFFFFFFu, 1u << 31}) {
    GgufWriter scalar, array;
    scalar.set_raw("k", type, raw({0, 0}));
    CHECK(contains(parse_error(scalar),
                   fmt::format("value type at byte 33: unknown type {}, allowed 0 to 12", type)));
    Bytes value;
    GgufWriter::put(value, type);
    GgufWriter::put(value, uint64_t{1} << 60);
    array.set_raw("k", 9, value);
    std::string message;
    CHECK(seconds_of([&] { message = parse_error(array); }) < 0.01);
    CHECK(contains(message, fmt::format("array element type at byte 37: unknown type {}", type)));
  }
  GgufWriter bad_bool, nested;
  bad_bool.set_raw("k", 7, Bytes(1, std::byte{2}));
  CHECK(contains(parse_error(bad_bool), "bool is 2, allowed 0 or 1"));
  Bytes value;
  for (int depth = 0; depth < 1000; depth++) {
    GgufWriter::put<uint32_t>(value, 9);
    GgufWriter::put<uint64_t>(value, 1);
  }
  nested.set_raw("k", 9, value);
  CHECK(contains(parse_error(nested), "array of arrays"));
}

TEST_CASE("gguf: alignment (G12)") {
  for (const uint64_t value :
       {uint64_t{0}, uint64_t{3}, uint64_t{1} << 21, uint64_t{1} << 31, uint64_t{1} << 63}) {
    GgufWriter w = small_file();
    w.set("general.alignment", value);
    CHECK(contains(
        parse_error(w),
        fmt::format(
            "key 'general.alignment': value at byte 236: {}, allowed a power of two from 1 to 1048576",
            value)));
  }
  GgufWriter text = small_file();
  text.set("general.alignment", "32");
  CHECK(contains(parse_error(text), "expected integer, got string"));
  for (const uint32_t value : {8u, 64u, 4096u}) {
    GgufWriter w = small_file();
    w.set("general.alignment", value);
    w.alignment = value;
    const Gguf file = Gguf::parse(w.finish(), "t.gguf");
    std::array<float, 3> norm = {};
    file.read_tensor(file.get_tensor("norm"), std::as_writable_bytes(std::span(norm)));
    CHECK(norm == std::array<float, 3>{9, 10, 11});
  }
}

TEST_CASE("gguf: a million keys or tensors in linear time (G13)") {
  GgufWriter keys, tensors;
  for (int i = 0; i < 1'000'000; i++) keys.set(std::to_string(i), uint8_t{1});
  for (int i = 0; i < 200'000; i++) tensors.add_tensor(std::to_string(i), 24, {1}, Bytes(1));
  const Bytes key_bytes = keys.finish(), tensor_bytes = tensors.finish();
  const double key_seconds = seconds_of([&] { CHECK(parse_error(key_bytes) == ""); });
  const double tensor_seconds = seconds_of([&] { CHECK(parse_error(tensor_bytes) == ""); });
  MESSAGE("1,000,000 keys: ", key_seconds, " s; 200,000 tensors: ", tensor_seconds, " s");
#ifdef __SANITIZE_ADDRESS__
  constexpr double kMost = 20;
#else
  constexpr double kMost = 1;
#endif
  CHECK(key_seconds < kMost);
  CHECK(tensor_seconds < kMost);
  GgufWriter many;
  for (int i = 0; i < 1'100'000; i++) many.set(std::to_string(i), uint8_t{1});
  CHECK(contains(parse_error(many), "1100000 are too many, allowed 0 to 1048576"));
}

TEST_CASE("gguf: bad tensor names (G14)") {
  const auto error_of_name = [](const std::string& name) {
    GgufWriter w;
    w.add_tensor(name, 0, {4}, Bytes(16));
    return parse_error(w);
  };
  CHECK(error_of_name(std::string(64, 'n')) == "");
  CHECK(contains(error_of_name(""), "bad tensor name of 0 bytes, allowed 1 to 64"));
  CHECK(contains(error_of_name(std::string(65, 'n')), "bad tensor name of 65 bytes"));
  CHECK(contains(error_of_name(std::string("a\0b", 3)), "bad tensor name 'a\\x00b'"));
  CHECK(contains(error_of_name("a\xC0"), "bad tensor name 'a\\xC0'"));
  GgufWriter w = small_file();
  w.add_tensor("norm", {3}, std::vector<float>{1, 2, 3});
  CHECK(contains(parse_error(w), "tensor 'norm': name at byte "));
  CHECK(contains(parse_error(w), "duplicate"));
}

TEST_CASE("gguf: bad shapes (G15 to G18, G20)") {
  for (const uint32_t n_dims : {0u, 5u, 0xFFFFFFFFu}) {
    GgufWriter w = one_tensor(0, {4});
    w.add_tensor("y", 0, {4, 1, 1, 1, 1}, Bytes(16)).n_dims = n_dims;
    CHECK(contains(parse_error(w), fmt::format("bad shape: {}, allowed 1 to 4", n_dims)));
  }
  CHECK(contains(parse_error(one_tensor(0, {0})), "bad shape: dimension 0 is 0, allowed 1 to"));
  CHECK(contains(parse_error(one_tensor(0, {4, 0})), "bad shape: dimension 1 is 0"));
  CHECK(contains(parse_error(one_tensor(0, {UINT64_MAX})), "bad shape: dimension 0 is -1"));
  CHECK(contains(parse_error(one_tensor(0, {4, uint64_t{1} << 63})),
                 "bad shape: dimension 1 is -9223372036854775808"));
  const uint64_t two31 = uint64_t{1} << 31, two32 = uint64_t{1} << 32;
  CHECK(contains(parse_error(one_tensor(0, {two32, two32})), "overflows"));  // 0 when it wraps
  CHECK(contains(parse_error(one_tensor(0, {two31, two31, 4})), "overflows"));
  CHECK(contains(parse_error(one_tensor(0, {two31, two31, 2})), "overflows"));
  CHECK(contains(parse_error(one_tensor(0, {UINT64_MAX / 4})), "overflows"));
  CHECK(contains(parse_error(one_tensor(0, {INT64_MAX / 4 + 1})), "overflows"));
  CHECK(contains(parse_error(one_tensor(28, {uint64_t{1} << 61})), "overflows"));
  CHECK(contains(parse_error(one_tensor(0, {INT64_MAX / 4})), "bad offset"));  // no overflow, only too large
  CHECK(contains(parse_error(one_tensor(8, {33})),
                 "bad shape: rows of 33 elements, allowed multiples of 32, the block of q8_0"));
  CHECK(contains(parse_error(one_tensor(12, {32, 8})), "multiples of 256, the block of q4_k"));
  CHECK(parse_error(one_tensor(8, {32, 2}, 68)) == "");
}

TEST_CASE("gguf: bad tensor types (G19)") {
  for (const uint32_t type : {4u, 5u, 31u, 33u, 36u, 38u, 43u, 1000u, 1u << 31})
    CHECK(contains(parse_error(one_tensor(type, {32})), "unsupported type"));
  CHECK(contains(parse_error(one_tensor(0xFFFFFFFF, {32})), "type at byte 45: unsupported type -1"));
  for (uint32_t type = 0; type < 43; type++)
    if (const GgufTensorType* t = find_gguf_tensor_type(type))
      CHECK(parse_error(one_tensor(type, {t->block_elements}, t->block_bytes)) == "");
  size_t n_supported = 0;
  for (uint32_t number = 0; number < 43; number++) {  // the two tables agree
    const std::optional<DType> type = find_dtype_by_gguf(number);
    if (!type) continue;
    n_supported++;
    const GgufTensorType* t = find_gguf_tensor_type(number);
    REQUIRE(t != nullptr);
    CHECK(t->name == info(*type).name);
    CHECK(t->block_elements == info(*type).block_elements);
    CHECK(t->block_bytes == info(*type).block_bytes);
    CHECK(find_dtype(t->name) == type);
  }
  CHECK(n_supported == 16);
  CHECK(contains(parse_error(one_tensor(4, {32})),
                 "unsupported type 4, no type that is in use; supported are: f32, f16, q4_0, q8_0, bf16"));
}

TEST_CASE("gguf: bad offsets (G21, G22)") {
  const auto error_at = [](uint64_t offset) {
    GgufWriter w;
    w.add_tensor("x", 0, {16}, Bytes(64));
    w.add_tensor("y", 0, {16}, Bytes(64)).offset = offset;
    return parse_error(w);
  };
  CHECK(error_at(64) == "");
  CHECK(contains(error_at(65),
                 "tensor 'y': offset at byte 82: bad offset: 65 is no multiple of the alignment 32"));
  CHECK(contains(error_at(32), "overlaps tensor 'x', which ends at byte "));
  CHECK(contains(error_at(0), "overlaps"));
  for (const uint64_t offset : {uint64_t{96}, uint64_t{128}, uint64_t{1} << 62, UINT64_MAX - 31})
    CHECK(contains(error_at(offset), "bad offset"));
}

TEST_CASE("gguf: a file on disk, and one that shrinks while it is read (G24)") {
  const std::filesystem::path path =
      std::filesystem::temp_directory_path() /
      fmt::format("spindle-gguf-test-{}", std::chrono::steady_clock::now().time_since_epoch().count());
  const Bytes bytes = small_file().finish();
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  const Gguf file = Gguf::open(path.string());
  const GgufTensor& tensor = file.get_tensor("token_embd.weight");
  std::vector<float> values(8);
  file.read_tensor(tensor, std::as_writable_bytes(std::span(values)));
  CHECK(values == std::vector<float>{1, 2, 3, 4, 5, 6, 7, 8});
  std::filesystem::resize_file(path, bytes.size() - 60);
  std::string message;
  try {
    file.read_tensor(tensor, std::as_writable_bytes(std::span(values)));
  } catch (const Error& e) {
    message = e.what();
  }
  CHECK(contains(message, "file changed while in use"));
  std::filesystem::remove(path);
}

TEST_CASE("gguf: the shared files are read, and agree with how they were made") {
  const auto folder = shared_or_skip("golden");
  if (!folder) return;
  for (const auto& entry : std::filesystem::directory_iterator(*folder)) {
    if (entry.path().extension() != ".gguf") continue;
    const Gguf file = Gguf::open(entry.path().string());
    CHECK(file.has("general.architecture"));
    CHECK(!file.tensors().empty());
    for (const GgufTensor& tensor : file.tensors()) {
      Bytes data(tensor.bytes);
      file.read_tensor(tensor, data);
    }
  }
}
