// Test data that lies beside the project, not in it: tests that want it skip, loudly, where it is absent.
#ifndef SPINDLE_TESTS_SHARED_DATA_H
#define SPINDLE_TESTS_SHARED_DATA_H
#include <fmt/core.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>

namespace spindle {

// $SPINDLE_SHARED/relative, else ../shared/relative beside the sources.
inline std::optional<std::filesystem::path> find_shared(const std::string& relative) {
  const char* set = std::getenv("SPINDLE_SHARED");
  const std::filesystem::path root =
      set != nullptr && *set != '\0'
          ? std::filesystem::path(set)
          : std::filesystem::path(SPINDLE_SOURCE_DIR).lexically_normal() / ".." / "shared";
  std::error_code ignored;
  const std::filesystem::path path = root / relative;
  if (!std::filesystem::exists(path, ignored)) return std::nullopt;
  return path;
}

// The same, and says so when there is nothing: const auto path = shared_or_skip("..."); if (!path) return;
inline std::optional<std::filesystem::path> shared_or_skip(const std::string& relative) {
  std::optional<std::filesystem::path> path = find_shared(relative);
  if (!path) fmt::print(stderr, "SKIPPED: ../shared/{} is absent\n", relative);
  return path;
}

}  // namespace spindle
#endif
