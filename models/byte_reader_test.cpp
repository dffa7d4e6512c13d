// The bounded reader: every overrun is an error that names file, field and byte; files that change; UTF-8.
#include "models/byte_reader.h"

#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "models/utf8.h"
#include "runtime/error.h"
#include "tests/gguf_writer.h"

using namespace spindle;

namespace {

template <class Work>
std::string error_of(Work work) {
  try {
    work();
  } catch (const Error& e) {
    CHECK(e.kind() == ErrorKind::model_file);
    return e.what();
  }
  return "";
}

struct TemporaryFolder {
  std::filesystem::path path;
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "spindle-test-XXXXXX").string();
    REQUIRE(mkdtemp(name.data()) != nullptr);
    path = name;
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path); }
};

void write_file(const std::filesystem::path& path, std::span<const std::byte> bytes) {
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

}  // namespace

TEST_CASE("byte reader: arithmetic that cannot wrap") {
  static_assert(checked_add(UINT64_MAX - 1, 1) == UINT64_MAX);
  static_assert(!checked_add(UINT64_MAX, 1));
  static_assert(checked_mul(1ull << 32, (1ull << 32) - 1) == 0xFFFFFFFF00000000);
  static_assert(!checked_mul(1ull << 32, 1ull << 32));  // would be 0
  static_assert(align_up(0, 32) == 0 && align_up(1, 32) == 32 && align_up(32, 32) == 32);
  static_assert(!align_up(UINT64_MAX - 3, 32));
}

TEST_CASE("byte reader: values, strings, arrays and overruns") {
  std::vector<std::byte> bytes;
  GgufWriter::put<uint32_t>(bytes, 0x01020304);
  GgufWriter::put_string(bytes, "hello");
  GgufWriter::put<float>(bytes, 1.5f);
  GgufWriter::put<uint8_t>(bytes, 2);
  ByteReader reader(bytes, "a.bin");
  CHECK(reader.read<uint32_t>("version") == 0x01020304);
  CHECK(reader.string("name") == "hello");
  CHECK(reader.array<float>("scales", 1) == std::vector<float>{1.5f});
  CHECK(reader.position() == 21);
  CHECK(error_of([&] { reader.read<uint32_t>("count"); }) ==
        "a.bin: truncated reading count at byte 21: 4 bytes needed, 1 left");
  reader.set_context("key", "x\ny");
  CHECK(error_of([&] { reader.read_bool("value"); }) ==
        "a.bin: key 'x\\x0Ay': value at byte 21: bool is 2, allowed 0 or 1");
  CHECK(reader.remaining() == 0);
  reader.skip(0, "nothing");
  CHECK(error_of([&] { reader.skip(UINT64_MAX, "padding"); }).find("truncated reading padding") !=
        std::string::npos);
  CHECK(error_of([&] {
          reader.array<uint64_t>("list", UINT64_MAX);
        }).find("exceeds the file, allowed 0 to 0") != std::string::npos);
}

TEST_CASE("byte reader: a file through the window equals the same bytes in memory") {
  std::vector<std::byte> bytes;
  for (uint32_t i = 0; i < 200'000; i++) GgufWriter::put(bytes, i * 2654435761u);
  const InputFile file = InputFile::from_memory(bytes, "m");
  for (const size_t step : {1, 7, 4096, 150'000, 300'000}) {
    ByteReader reader(file);
    std::vector<std::byte> all;
    while (reader.remaining() > 0) {
      std::vector<std::byte> part(std::min<uint64_t>(step, reader.remaining()));
      reader.read_bytes(part, "part");
      all.insert(all.end(), part.begin(), part.end());
    }
    CHECK(all == bytes);
  }
  ByteReader reader(file);
  reader.skip(400'002, "front");
  CHECK(reader.read<uint16_t>("x") == ((100'000u * 2654435761u) >> 16));
  ByteReader bounded(file, 100);
  bounded.skip(100, "front");
  CHECK(error_of([&] { bounded.read<uint8_t>("x"); }) ==
        "m: x at byte 100: 1 bytes from here, allowed up to byte 100");
}

TEST_CASE("input file: only regular files open (G25)") {
  const TemporaryFolder folder;
  const auto open_error = [](const std::filesystem::path& path) {
    return error_of([&] { InputFile::open(path.string()); });
  };
  CHECK(open_error(folder.path).find("not a regular file: a directory") != std::string::npos);
  CHECK(open_error("/dev/null").find("not a regular file: a device") != std::string::npos);
  CHECK(open_error(folder.path / "absent").find("cannot be opened: No such file") != std::string::npos);
  REQUIRE(mkfifo((folder.path / "fifo").c_str(), 0600) == 0);
  CHECK(open_error(folder.path / "fifo").find("not a regular file: a pipe") != std::string::npos);
  std::filesystem::create_symlink("absent", folder.path / "link");
  CHECK(open_error(folder.path / "link").find("not a regular file: a link to something absent") !=
        std::string::npos);
  std::filesystem::create_symlink("loop", folder.path / "loop");
  CHECK(open_error(folder.path / "loop").find("cannot be opened") != std::string::npos);
  write_file(folder.path / "secret", {});
  chmod((folder.path / "secret").c_str(), 0);
  if (geteuid() != 0)
    CHECK(open_error(folder.path / "secret").find("Permission denied") != std::string::npos);
}

TEST_CASE("input file: a change while in use is an error (G24)") {
  const TemporaryFolder folder;
  const std::filesystem::path path = folder.path / "file";
  const std::vector<std::byte> bytes(1000, std::byte{1});
  std::vector<std::byte> out(1000);
  const auto error_after = [&](auto change) {
    write_file(path, bytes);
    const InputFile file = InputFile::open(path.string());
    file.read(0, out);
    CHECK(out == bytes);
    change();
    return error_of([&] { file.read(0, out); });
  };
  CHECK(error_after([&] {
          std::filesystem::resize_file(path, 500);
        }).find("file changed while in use: it ends at byte 500") != std::string::npos);
  CHECK(error_after([&] { std::filesystem::resize_file(path, 2000); }).find("file changed while in use") !=
        std::string::npos);
  CHECK(error_after([&] {
          const auto later = std::filesystem::last_write_time(path) + std::chrono::seconds(2);
          std::filesystem::last_write_time(path, later);
        }).find("file changed while in use") != std::string::npos);
  CHECK(error_after([&] { std::filesystem::remove(path); }) == "");  // still there for whoever has it open
}

TEST_CASE("utf-8: valid, invalid and unfinished characters") {
  const auto step = [](std::string_view text) {
    const Utf8Step s = utf8_step(text);
    const char* names[] = {"valid", "invalid", "incomplete"};
    return fmt::format("{} {}", names[static_cast<int>(s.kind)], s.bytes);
  };
  CHECK(step("a") == "valid 1");
  CHECK(step("\xC3\xA9x") == "valid 2");
  CHECK(step("\xF0\x9F\xA6\x99") == "valid 4");
  CHECK(step("\xF0\x9F\xA6") == "incomplete 3");
  CHECK(step("\xF0\x9F\xA6x") == "invalid 3");
  CHECK(step("\xC0\x80") == "invalid 1");          // overlong
  CHECK(step("\xE0\x80\x80") == "invalid 1");      // overlong
  CHECK(step("\xED\xA0\x80") == "invalid 1");      // surrogate
  CHECK(step("\xF4\x90\x80\x80") == "invalid 1");  // above U+10FFFF
  CHECK(step("\x80") == "invalid 1");
  CHECK(step("\xFF") == "invalid 1");
  CHECK(is_utf8("Führer 🦙"));
  CHECK(!is_utf8("F\xC3"));
  CHECK(printable("a\nb\xFF\x7Fé\xC2\x9B") == "a\\x0Ab\\xFF\\x7Fé\\xC2\\x9B");
  CHECK(printable("a\u202Eb\u2069\u200E\u200B") == "a\\xE2\\x80\\xAEb\\xE2\\x81\\xA9\\xE2\\x80\\x8E\u200B");
  CHECK(printable(std::string(200, 'x')) == std::string(80, 'x') + "... (200 bytes)");
}
