// `spindle attention` as people run it.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "tests/command_line.h"

using namespace spindle::test;

namespace {

struct Npy {
  std::string header;
  std::vector<float> values;
};
Npy read_npy(const std::string& path) {
  const std::string bytes = read_file(path);
  REQUIRE(bytes.size() > 10);
  const size_t n = static_cast<unsigned char>(bytes[8]) + 256u * static_cast<unsigned char>(bytes[9]);
  Npy a{bytes.substr(10, n), std::vector<float>((bytes.size() - 10 - n) / 4)};
  CHECK((10 + n) % 64 == 0);
  std::memcpy(a.values.data(), bytes.data() + 10 + n, a.values.size() * 4);
  return a;
}

}  // namespace

TEST_CASE("spindle attention writes arrays, pictures, tables and captures that agree") {
  const Folder folder("attention");
  const std::string prompt = "-p 'It was the best of times, it was the worst of times.' -n 5";
  const Output first = spindle_command(
      fmt::format("attention {} --layer 1 --head 2 --npy '{}' --png '{}' --capture '{}' --size 40x30", prompt,
                  folder / "a.npy", folder / "a.png", folder / "a.capture"));
  REQUIRE_MESSAGE(first.code == 0, first.err);
  CHECK(first.err.find("KiB a token") != std::string::npos);
  CHECK(read_npy(folder / "a.npy").header.find("(30, 40, )") != std::string::npos);
  const std::string png = read_file(folder / "a.png");
  CHECK(png.substr(1, 3) == "PNG");
  CHECK(png[19] == 40);
  CHECK(png[23] == 30);

  const Output whole =
      spindle_command(fmt::format("attention {} --layer 1 --head -1 --npy '{}'", prompt, folder / "b.npy"));
  REQUIRE_MESSAGE(whole.code == 0, whole.err);
  const Npy all = read_npy(folder / "b.npy");
  const auto opened = [&](const std::string& more) {
    const Output o =
        spindle_command(fmt::format("attention --open '{}' --layer 1 {}", folder / "a.capture", more));
    CHECK_MESSAGE(o.code == 0, o.err);
    return o.out;
  };
  opened(fmt::format("--head -1 --npy '{}'", folder / "c.npy"));
  CHECK(read_file(folder / "c.npy") == read_file(folder / "b.npy"));
  const auto json = nlohmann::json::parse(opened("--head 2 --json"));
  const size_t n = json["width"];
  CHECK(json["height"] == n);
  CHECK(json["tokens"].size() == n);
  for (size_t i = 0; i < n; i++) {
    double sum = 0;
    for (size_t j = 0; j < n; j++) {
      const double p = json["values"][i][j];
      CHECK(p == doctest::Approx(all.values[(2 * n + i) * n + j]));
      CHECK((j <= i || p == 0));
      sum += p;
    }
    CHECK(sum == doctest::Approx(1).epsilon(1e-4));
  }
  const std::string csv = opened("--head 2 --csv --queries 3:5 --keys :4 --hide-sinks=2");
  CHECK(csv.starts_with("0,0,"));
  CHECK(std::ranges::count(csv, '\n') == 2);
  const auto heads = nlohmann::json::parse(opened("--heads --json"));
  double entropy = 0;
  for (size_t i = 0; i < n; i++)
    for (size_t j = 0; j <= i; j++) {
      const double p = all.values[(2 * n + i) * n + j];
      if (p > 0) entropy -= p * std::log(p) / static_cast<double>(n);
    }
  CHECK(heads[2]["entropy"].get<double>() == doctest::Approx(entropy).epsilon(1e-3));
  CHECK(heads[2]["mass"].get<double>() == doctest::Approx(1).epsilon(1e-4));
  CHECK(opened("--heads").find("entropy") != std::string::npos);
  const Output same =
      spindle_command(fmt::format("attention --open '{0}' --compare '{0}' --layer 1 --png '{1}'",
                                  folder / "a.capture", folder / "d.png"));
  CHECK_MESSAGE(same.err.find("largest 0,") != std::string::npos, same.err);
}

TEST_CASE("spindle attention says what is wrong in one line") {
  const Folder folder("attention-errors");
  const auto fails = [&](const std::string& arguments, int code, const std::string& part) {
    const Output o = spindle_command("attention " + arguments);
    CHECK_MESSAGE(o.code == code, o.err);
    CHECK_MESSAGE(o.err.find(part) != std::string::npos, o.err);
    CHECK(o.out.empty());
  };
  fails("-p x", 2, "say what is wanted");
  fails("--csv", 2, "the prompt is empty");
  fails("-p hello --csv --layer 99", 2, "--layer 99");
  fails("-p hello --csv --head 99", 2, "--head 99");
  fails("-p hello --csv --queries 5:2", 2, "--queries 5:2");
  fails("-p hello --csv --size 0x3", 2, "--size 0x3");
  fails("-p hello --csv --head -1", 2, "only --npy");
  fails("-p hello --csv --context-shift sinks -c 64", 2, "--context-shift");
  fails("--open /nowhere --csv", 3, "/nowhere");
  fails(fmt::format("--open '{}' --csv", SPINDLE_EXECUTABLE), 3, "not a capture");
  fails(fmt::format("-p hello --png '{}'", folder / "no/such/folder.png"), 1, "No such file");
}
