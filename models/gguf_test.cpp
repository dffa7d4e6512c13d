// GGUF: what is written is read back, of every type, and a million keys take no time. Bad files:
// bad_files_test.cpp.
#include "models/gguf.h"

#include <doctest/doctest.h>

#include <chrono>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <limits>

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

TEST_CASE("gguf: what is just allowed is read") {
  const auto error_of_key = [](const std::string& key) {
    GgufWriter w;
    w.set(key, uint32_t{1});
    return parse_error(w);
  };
  CHECK(error_of_key(std::string(65535, 'k')) == "");
  CHECK(error_of_key("schlüssel") == "");
  GgufWriter name;
  name.add_tensor(std::string(64, 'n'), 0, {4}, Bytes(16));
  CHECK(parse_error(name) == "");
  CHECK(parse_error(one_tensor(8, {32, 2}, 68)) == "");
  CHECK(parse_error(GgufWriter()) == "");
  for (const uint32_t value : {8u, 64u, 4096u}) {
    GgufWriter w = small_file();
    w.set("general.alignment", value);
    w.alignment = value;
    const Gguf file = Gguf::parse(w.finish(), "t.gguf");
    std::array<float, 3> norm = {};
    file.read_tensor(file.get_tensor("norm"), std::as_writable_bytes(std::span(norm)));
    CHECK(norm == std::array<float, 3>{9, 10, 11});
  }
  GgufWriter order;  // tensors may lie in another order than they are listed
  order.add_tensor("x", 0, {16}, Bytes(64)).offset = 64;
  order.add_tensor("y", 0, {16}, Bytes(64)).offset = 0;
  CHECK(parse_error(order) == "");
}

TEST_CASE("gguf: every tensor type of the format is read, and ours have the sizes it gives") {
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

template <class T>
void check_type(uint32_t version, std::string_view name, const std::vector<T>& values) {
  GgufWriter w;
  w.version = version;
  w.set("array", values);
  w.set("none", std::vector<T>());
  for (size_t i = 0; i < values.size(); i++) w.set(std::to_string(i), static_cast<T>(values[i]));
  const Gguf file = Gguf::parse(w.finish(), "t.gguf");
  CHECK(type_name(file.find_entry("0")->value) == name);
  CHECK(type_name(file.find_entry("array")->value) == fmt::format("array of {}", name));
  CHECK(std::get<std::vector<T>>(file.find_entry("array")->value) == values);
  CHECK(std::get<std::vector<T>>(file.find_entry("none")->value).empty());
  for (size_t i = 0; i < values.size(); i++)
    CHECK(std::get<T>(file.find_entry(std::to_string(i))->value) == static_cast<T>(values[i]));
}
template <class T>
void check_number(uint32_t version, std::string_view name) {
  using Limits = std::numeric_limits<T>;
  check_type<T>(version, name, {Limits::lowest(), T{0}, T{1}, Limits::max()});
}

TEST_CASE("gguf: every type of metadata, alone and in arrays, at its limits") {
  for (const uint32_t version : {2u, 3u}) {
    check_number<uint8_t>(version, "u8");
    check_number<int8_t>(version, "i8");
    check_number<uint16_t>(version, "u16");
    check_number<int16_t>(version, "i16");
    check_number<uint32_t>(version, "u32");
    check_number<int32_t>(version, "i32");
    check_number<uint64_t>(version, "u64");
    check_number<int64_t>(version, "i64");
    check_number<float>(version, "f32");
    check_number<double>(version, "f64");
    check_type<bool>(version, "bool", {true, false, true});
    check_type<std::string>(version, "string", {"", "a", std::string(100'000, 'x'), std::string("\0b", 2)});
  }
}

TEST_CASE("gguf: a million keys or tensors in linear time (G13)") {
#ifdef __SANITIZE_ADDRESS__
  constexpr double kMost = 20;
#else
  constexpr double kMost = 1;
#endif
  const auto seconds_for = [](int n_keys, int n_tensors) {
    GgufWriter w;
    for (int i = 0; i < n_keys; i++) w.set(std::to_string(i), uint8_t{1});
    for (int i = 0; i < n_tensors; i++) w.add_tensor(std::to_string(i), 24, {32}, Bytes(32));
    const Bytes bytes = w.finish();
    double best = 1e9;
    for (int i = 0; i < 5; i++) best = std::min(best, seconds_of([&] { CHECK(parse_error(bytes) == ""); }));
    return best;
  };
  const double few_keys = seconds_for(250'000, 0), keys = seconds_for(1'000'000, 0);
  const double few_tensors = seconds_for(0, 250'000), tensors = seconds_for(0, 1'000'000);
  fmt::print("  250,000 and 1,000,000 keys: {:.3f} and {:.3f} s; tensors: {:.3f} and {:.3f} s\n", few_keys,
             keys, few_tensors, tensors);
  CHECK(keys < kMost);
  CHECK(tensors < kMost);
  // Four times as many, four times the time, up to 6 where caches are too small; squared it is 16.
  CHECK(keys < 10 * few_keys + 0.02);
  CHECK(tensors < 10 * few_tensors + 0.02);
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
