// Renders many templates for the oracles: JSON lines {"template", "input", "own"} on standard input,
// {"text"} or {"error"} lines out.
#include <fmt/core.h>

#include <iostream>
#include <nlohmann/json.hpp>
#include <string>

#include "models/jinja/template.h"

int main() {
  std::string line;
  while (std::getline(std::cin, line)) {
    const auto job = nlohmann::ordered_json::parse(line);
    nlohmann::ordered_json result;
    try {
      const spindle::jinja::Template t("template", job["template"].get<std::string>());
      result["text"] =
          t.render(job["input"], job.value("own", nlohmann::ordered_json::object()), job.value("now", 0))
              .text;
    } catch (const spindle::Error& e) {
      result = {{"error", e.what()}};
    }
    fmt::print("{}\n", result.dump());
  }
}
