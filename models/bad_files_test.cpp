// Bad files: each of ../shared/notes/robustness.md G01 to G37 gives its error, every cut and flipped bit too.
#include <doctest/doctest.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <ctime>
#include <filesystem>
#include <map>

#include "models/session.h"
#include "runtime/error.h"
#include "tests/bad_files.h"
#include "tests/command_line.h"
#include "tests/device.h"
#include "tests/reference_model.h"

using namespace spindle;
using namespace spindle::test;

namespace {

using When = BadFile::When;

// One clean line that names the file; fails the test where it is not.
void check_line(const std::string& message, std::string_view file = "t") {
  CHECK_MESSAGE(message.find(file) != std::string::npos, message);
  const size_t key = message.find(".gguf: key ");  // the file and the key are named once
  if (key != std::string::npos)
    CHECK_MESSAGE(message.find(".gguf: key ", key + 1) == std::string::npos, message);
  CHECK(message.size() < 600);
  for (char c : message) CHECK(static_cast<unsigned char>(c) >= 0x20);
}

// What opening, loading and running say: the error, or the warnings.
std::string message_of(const BadFile& bad, ErrorKind& kind) {
  try {
    Gguf file = Gguf::parse(as_files(bad.shards));
    if (bad.when == When::opened) return "";
    const Model model(device(), std::move(file));
    if (bad.when == When::tokenizer) model.tokenizer();
    if (bad.when == When::run) {
      Session session(model, {});
      session.prefill(session.open(), random_ids(5, model.config().vocab_size, 1));
    }
    std::string warnings;
    for (const std::string& w : model.warnings()) warnings += w + "; ";
    return bad.when == When::warning ? warnings : "";
  } catch (const Error& e) {
    kind = e.kind();
    return e.what();
  }
}

// Of this process alone, so that a busy machine fails no test.
double seconds_of(auto work) {
  const std::clock_t start = std::clock();
  work();
  return static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
}

constexpr double kMostSeconds = 1;  // with sanitizers too

// How many of the entries and tensors differ; a file whose lists have another length differs everywhere.
size_t n_differences(const Gguf& a, const Gguf& b) {
  if (a.metadata().size() != b.metadata().size() || a.tensors().size() != b.tensors().size()) return SIZE_MAX;
  size_t n = 0;
  for (size_t i = 0; i < a.metadata().size(); i++)
    n += a.metadata()[i].key != b.metadata()[i].key || a.metadata()[i].value != b.metadata()[i].value;
  for (size_t i = 0; i < a.tensors().size(); i++) {
    const GgufTensor &x = a.tensors()[i], &y = b.tensors()[i];
    n += x.name != y.name || x.type != y.type || x.dims != y.dims || x.n_dims != y.n_dims ||
         x.offset != y.offset || x.bytes != y.bytes;
  }
  return n;
}

struct Counts {
  size_t cases = 0, errors = 0, same = 0, one_field = 0;
  double slowest = 0;
};

// Opens and loads what a damage left; nothing else than an error, the same header, or one changed field.
void try_damaged(const Gguf& good, const Shards& shards, Counts& counts, const std::string& what) {
  counts.cases++;
  std::string message;
  size_t differences = 0;
  const double seconds = seconds_of([&] {
    try {
      const Gguf file = Gguf::parse(as_files(shards));
      load_without_device(file);
      for (const GgufTensor& t : file.tensors()) {
        std::vector<std::byte> data(t.bytes);
        file.read_tensor(t, data);
      }
      differences = n_differences(good, file);
    } catch (const Error& e) {
      message = e.what();
      if (message.empty() || e.kind() != ErrorKind::model_file) differences = SIZE_MAX;
    }
  });
  counts.slowest = std::max(counts.slowest, seconds);
  if (!message.empty()) counts.errors++;
  else if (differences == 0) counts.same++;
  else counts.one_field++;
  if (differences > 1) CHECK_MESSAGE(differences <= 1, what, ": ", message);
}

std::vector<std::pair<std::string, Shards>> three_files() {
  return {{"a model", {tiny_model().finish()}},
          {"a vocabulary", {tiny_vocabulary().finish()}},
          {"a split model", finish(tiny_split())}};
}

}  // namespace

TEST_CASE("bad files: each gives its error (G01 to G37)") {
  std::map<std::string, int> rows;
  double slowest = 0;
  std::string slowest_row;
  {  // compiles the kernels that every file needs
    const Model sound(device(), Gguf::parse(as_files({tiny_model().finish()})));
    Session session(sound, {});
    session.prefill(session.open(), random_ids(5, sound.config().vocab_size, 1));
  }
  for (const BadFile& bad : bad_files()) {
    rows[bad.id]++;
    CAPTURE(bad.id);
    CAPTURE(bad.expected);
    ErrorKind kind = ErrorKind::interrupted;  // none
    std::string message;
    const double seconds = seconds_of([&] { message = message_of(bad, kind); });
    if (seconds > slowest) slowest_row = bad.id;
    slowest = std::max(slowest, seconds);
    CHECK(seconds < kMostSeconds);
    CHECK_MESSAGE(message.find(bad.expected) != std::string::npos, message);
    CHECK(kind == (bad.when == When::warning ? ErrorKind::interrupted
                   : bad.when == When::run   ? ErrorKind::runtime
                                             : ErrorKind::model_file));
    if (bad.when == When::opened || bad.when == When::loaded) check_line(message);
  }
  std::string list;
  int all = 0;
  for (const auto& [id, n] : rows) {
    list += fmt::format(" {}:{}", id, n);
    all += n;
  }
  fmt::print("  {} bad files of {} rows, the slowest {:.3f} s of {}:{}\n", all, rows.size(), slowest,
             slowest_row, list);
}

TEST_CASE("bad files: the sound ones they are made of load and run") {
  for (const auto& [name, shards] : three_files()) {
    CAPTURE(name);
    const Gguf file = Gguf::parse(as_files(shards));
    CHECK_NOTHROW(load_without_device(file));
    CHECK(file.n_shards() == shards.size());
  }
  std::vector<std::vector<float>> logits;
  for (const Shards& shards : {Shards{tiny_model().finish()}, finish(tiny_split())}) {
    const Model model(device(), Gguf::parse(as_files(shards)));
    CHECK(model.tokenizer().decode(model.tokenizer().encode("ab")) == "ab");
    Session session(model, {});
    session.prefill(session.open({.temperature = 0}), std::vector<int>{1, 3, 6});
    logits.push_back(session.last_logits());
  }
  CHECK(logits[0] == logits[1]);  // split or whole
}

TEST_CASE("bad files: cut at every byte (G03)") {
  Counts counts;
  for (const auto& [name, shards] : three_files()) {
    const Gguf good = Gguf::parse(as_files(shards));
    for (size_t s = 0; s < shards.size(); s++)
      for (size_t n = 0; n < shards[s].size(); n++) {
        if (quick() && n % 13 != 0) continue;
        Shards cut = shards;
        cut[s].resize(n);
        const size_t errors = counts.errors;
        try_damaged(good, cut, counts, fmt::format("{}, file {} cut at {}", name, s, n));
        CHECK_MESSAGE(counts.errors == errors + 1, name, ", file ", s, " cut at ", n, " loads");
      }
  }
  fmt::print("  {} files cut short, the slowest {:.3f} s\n", counts.cases, counts.slowest);
  CHECK(counts.slowest < kMostSeconds);
}

TEST_CASE("bad files: every flipped bit gives an error, the same model or one changed field") {
  Counts counts;
  for (const auto& [name, shards] : three_files()) {
    const Gguf good = Gguf::parse(as_files(shards));
    Shards bad = shards;
    for (size_t s = 0; s < shards.size(); s++)
      for (size_t bit = 0; bit < shards[s].size() * 8; bit++) {
        if (quick() && bit % 61 != 0) continue;
        const auto mask = static_cast<std::byte>(1 << (bit % 8));
        bad[s][bit / 8] ^= mask;
        try_damaged(good, bad, counts, fmt::format("{}, file {}, bit {}", name, s, bit));
        bad[s][bit / 8] ^= mask;
      }
  }
  fmt::print(
      "  {} flipped bits: {} errors, {} the same but for tensor data, {} one changed field, the slowest "
      "{:.3f} s\n",
      counts.cases, counts.errors, counts.same, counts.one_field, counts.slowest);
  CHECK(counts.slowest < kMostSeconds);
  CHECK(counts.errors > counts.cases / 20);
}

TEST_CASE("bad files: models with a flipped bit run or say why not") {
  const Shards good = {tiny_model().finish()};
  size_t n_run = 0, n_errors = 0;
  const size_t step = quick() ? 4001 : 401;
  for (size_t bit = 0; bit < good[0].size() * 8; bit += step) {
    Shards bad = good;
    bad[0][bit / 8] ^= static_cast<std::byte>(1 << (bit % 8));
    try {
      const Model model(device(), Gguf::parse(as_files(bad)));
      Session session(model, {.context = 8});
      const int slot = session.open({.temperature = 0});
      session.prefill(slot, std::vector<int>{1, 3, 4});
      session.generate({&slot, 1}, 3, [](int, int) { return true; });
      n_run++;
    } catch (const Error& e) {
      CHECK(std::string(e.what()).size() > 10);
      n_errors++;
    }
  }
  fmt::print("  {} models with a flipped bit ran, {} said why not\n", n_run, n_errors);
  CHECK(n_run > 0);
}

TEST_CASE("bad files: on disk, split or shrinking (G24, G37)") {
  const Folder folder("bad-files");
  const Shards shards = finish(tiny_split());
  const auto name = [](size_t i, size_t n = 3) { return fmt::format("m-{:05}-of-{:05}.gguf", i, n); };
  for (size_t i = 0; i < 3; i++) folder.write(name(i + 1), shards[i]);
  const auto error_of = [](const std::string& path) -> std::string {
    try {
      Gguf::open(path);
    } catch (const Error& e) {
      CHECK(e.kind() == ErrorKind::model_file);
      check_line(e.what(), "");
      return e.what();
    }
    return "";
  };
  const auto says = [&](const std::string& path, const std::string& words) {
    const std::string message = error_of(path);
    CHECK_MESSAGE(message.find(words) != std::string::npos, message);
  };
  for (size_t i = 0; i < 3; i++) {  // any shard opens them all
    const Gguf file = Gguf::open(folder / name(i + 1));
    CHECK(file.n_shards() == 3);
    CHECK(file.file() == folder / name(1));
    CHECK(file.tensors().size() == 12);
    CHECK(file.file_of(file.get_tensor("output_norm.weight")) == folder / name(3));
  }
  std::filesystem::create_directory(folder / "other");
  CHECK(error_of(folder / ("other/../" + name(2))) == "");
  for (size_t i = 0; i < 3; i++)  // links, as download caches make them: the siblings are the links' siblings
    std::filesystem::create_symlink("../" + name(i + 1), folder / ("other/" + name(i + 1)));
  CHECK(error_of(folder / ("other/" + name(3))) == "");
  folder.write("renamed.gguf", shards[0]);
  says(folder / "renamed.gguf", "found 3: the name must end in -00001-of-00003.gguf");
  folder.write(name(1, 4), shards[0]);
  says(folder / name(1, 4), "found 3: the name must end in");
  folder.write(name(2), shards[2]);  // one twice, the other missing
  says(folder / name(1), "shard 2/3: " + folder / name(2) + ": key 'split.no': value at byte ");
  std::filesystem::remove(folder / name(2));
  says(folder / name(3), "shard 2/3: " + folder / name(2) + ": cannot be opened");
  std::filesystem::create_directory(folder / name(2));
  says(folder / name(1), "not a regular file: a directory");

  const Bytes whole = tiny_model().finish();
  const std::string path = folder.write("shrinks.gguf", whole);
  const Gguf file = Gguf::open(path);
  const GgufTensor& tensor = file.get_tensor("output_norm.weight");
  std::vector<std::byte> data(tensor.bytes);
  CHECK_NOTHROW(file.read_tensor(tensor, data));
  std::filesystem::resize_file(path, whole.size() - 60);
  CHECK_THROWS_WITH_AS(file.read_tensor(tensor, data), doctest::Contains("file changed while in use"), Error);
  folder.write("touched.gguf", whole);
  const Gguf touched = Gguf::open(folder / "touched.gguf");
  std::filesystem::last_write_time(folder / "touched.gguf",
                                   std::filesystem::file_time_type::min() + std::chrono::hours(1'000'000));
  CHECK_THROWS_WITH_AS(touched.read_tensor(tensor, data),
                       doctest::Contains("it was written to since it was opened"), Error);
}

TEST_CASE("bad files: what is no regular file (G25)") {
  const Folder folder("no-files");
  const auto says = [](const std::string& path, const std::string& words) {
    const double seconds =
        seconds_of([&] { CHECK_THROWS_WITH_AS(Gguf::open(path), doctest::Contains(words.c_str()), Error); });
    CHECK(seconds < 0.1);
  };
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  says(folder / "pipe", "not a regular file: a pipe");  // and nobody waits for a writer
  says(folder / "", "not a regular file: a directory");
  says("/dev/null", "not a regular file: a device");
  says(folder / "absent", "cannot be opened: No such file or directory");
  says(folder / std::string(300, 'n'), "cannot be opened: File name too long");
  std::filesystem::create_symlink("absent", folder / "dangling");
  says(folder / "dangling", "not a regular file: a link to something absent");
  std::filesystem::create_symlink("loop", folder / "loop");
  says(folder / "loop", "cannot be opened: Too many levels of symbolic links");
  folder.write("secret", tiny_model().finish());
  std::filesystem::permissions(folder / "secret", std::filesystem::perms::none);
  if (::geteuid() != 0) says(folder / "secret", "cannot be opened: Permission denied");
  folder.write("empty", {});
  says(folder / "empty", "not GGUF");
}
