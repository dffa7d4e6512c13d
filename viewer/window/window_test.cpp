// The window's frames without a window: the same bits each time, and a scripted session through every panel.
#include <doctest/doctest.h>
#include <fmt/core.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <numbers>
#include <set>

#include "tests/device.h"

using namespace spindle;

#ifdef SPINDLE_VIEWER
namespace {

struct Folder {
  std::filesystem::path path =
      std::filesystem::temp_directory_path() / fmt::format("spindle-window-{}", ::getpid());
  Folder() { std::filesystem::create_directories(path); }
  ~Folder() { std::filesystem::remove_all(path); }
};

struct Output {
  int code = 0;
  std::string err;
};

std::string take(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

Output viewer(const Folder& folder, const std::string& arguments) {
  const auto log = folder.path / "log";
  const int status = std::system(
      fmt::format("'{}' --headless {} >'{}' 2>&1", SPINDLE_VIEWER, arguments, log.string()).c_str());
  return {WIFEXITED(status) ? WEXITSTATUS(status) : 128, take(log)};
}

Output play(const Folder& folder, const std::string& script, const std::string& out,
            const std::string& more = "") {
  std::ofstream(folder.path / "script") << script;
  return viewer(folder, fmt::format("--script '{0}/script' --out '{0}/{1}' --size 1120x640 -c 128 {2}",
                                    folder.path.string(), out, more));
}

constexpr const char* kSession = R"(
screenshot first
generate 8 Once upon a time there was a ship, and the captain of the ship
screenshot map
hover map 0.4 0.7
screenshot hover
wheel 5
screenshot zoom
click map 0.5 0.6
click map.pairs
hover nothing
screenshot pairs
click map.save
click map.save.npy
click map.save
click map.save.json
panel tokens
click token.5
screenshot tokens
panel heads
screenshot heads
panel rotary
set method linear
save rotary.wavelengths csv
save rotary.wavelengths svg
save rotary.decay png
screenshot rotary
click rotary.compare
wait
screenshot compared
panel bias
screenshot bias
panel cache
screenshot cache
panel time
screenshot time
panel captures
screenshot captures
key t
screenshot light
set scale 2
screenshot twice
)";

}  // namespace

TEST_CASE("window: a scripted session shows every panel, the same each time") {
  const Folder folder;
  for (const char* out : {"a", "b"}) {
    const Output o = play(folder, kSession, out);
    CAPTURE(o.err);
    REQUIRE(o.code == 0);
  }
  std::set<std::string> pictures;
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path / "a")) {
    const std::string a = take(entry.path()), b = take(folder.path / "b" / entry.path().filename());
    CAPTURE(entry.path().filename().string());
    CHECK(a.size() > 300);
    CHECK((a == b));
    if (entry.path().extension() == ".png") CHECK(pictures.insert(a).second);  // no two alike
    files++;
  }
  CHECK(files == 20);

  CHECK(take(folder.path / "a" / "map.npy").starts_with("\x93NUMPY"));
  CHECK(take(folder.path / "a" / "map.json").ends_with("]]}\n"));

  // The first curve is the model's own: 2 pi base^(2 t / n) of 64 elements.
  std::ifstream csv(folder.path / "a" / "rotary.wavelengths.csv");
  std::string line;
  std::getline(csv, line);
  CHECK(line == "series,pair of elements,2π / frequency (positions)");
  for (int t = 0; t < 32; t++) {
    std::getline(csv, line);
    const double value = std::atof(line.substr(line.rfind(',') + 1).c_str());
    CHECK(value == doctest::Approx(2 * std::numbers::pi * std::pow(10000, t / 32.0)).epsilon(1e-6));
  }
  CHECK(take(folder.path / "a" / "rotary.wavelengths.svg").starts_with("<svg "));
}

struct Times {
  int n = 0, above = 0;
  double all = 0, clock = 0, half = 0, most = 0, longest = 0, bound = 0;
};

Times times_of(const std::string& err, const char* what) {
  const size_t name = err.find(what);
  REQUIRE(name != std::string::npos);
  Times t;
  REQUIRE(std::sscanf(err.c_str() + err.rfind('\n', name) + 1,
                      "%d %*[a-z ] %lf ms, %lf by the clock: half of them within %lf, 99 of 100 within "
                      "%lf, 999 of 1000 within %*f, all within %lf; %d above %lf",
                      &t.n, &t.all, &t.clock, &t.half, &t.most, &t.longest, &t.above, &t.bound) == 8);
  return t;
}

TEST_CASE("window: a map's pieces are timed as long as they take, beside what is drawn") {
  const Folder folder;
  const char *pieces = "pieces of maps", *frames = "frames drawn";
  double share = 0;  // of the clock's time; a busy machine stretches that, and only that
  for (int i = 0; i < 3 && share < 0.2; i++) {
    const Output o = play(folder, kSession, "t", "--times");
    CAPTURE(o.err);
    REQUIRE(o.code == 0);
    for (const char* what : {pieces, frames}) {
      const Times t = times_of(o.err, what);
      CHECK(t.n > 10);
      CHECK(t.all <= t.clock);
      CHECK(t.half <= t.most);
      CHECK(t.most <= t.longest);
      CHECK(t.above < t.n);
      CHECK((t.above > 0 || t.longest <= t.bound));
      if (what == pieces) share = std::max(share, t.all / t.clock);
    }
  }
  CHECK(share > 0.2);  // a submit costs something, too
}

TEST_CASE("window: what cannot be shown is said in one line") {
  const Folder folder;
  const auto check = [&](const Output& o, int code, const char* words) {
    CAPTURE(o.err);
    CHECK(o.code == code);
    CHECK(o.err.find(words) != std::string::npos);
  };
  check(play(folder, "panel nowhere\n", "c"), 2, "script:1: there is no 'panel.nowhere' on screen");
  check(play(folder, "\nset theme green\n", "c"), 2, "script:2: 'green': allowed are dark, light");
  check(play(folder, "fly\n", "c"), 2, "'fly': commands are");
  check(viewer(folder, "--screenshot x.png --size 10x10"), 2, "--size 10x10");
  check(viewer(folder, ""), 2, "--headless: say what to do");
  std::ofstream(folder.path / "bad") << "no capture";
  check(viewer(folder, fmt::format("--screenshot '{0}/x.png' --capture '{0}/bad'", folder.path.string())), 3,
        "bad");
  std::ofstream(folder.path / "file") << "no folder";
  check(viewer(folder, fmt::format("--script '{0}/script' --out '{0}/file/x'", folder.path.string())), 2,
        "file/x: the folder cannot be made");
  check(viewer(folder, fmt::format("--screenshot '{0}/file/x.png'", folder.path.string())), 2,
        "file: the folder cannot be made");
}
#else
TEST_CASE("window: a scripted session shows every panel, the same each time") {
  MESSAGE("SKIPPED spindle-viewer: Dear ImGui, GLFW or stb is not installed");
}
#endif
