// Tables of `spindle bench`: markdown as llama-bench prints it, csv and json.
#include <sys/resource.h>

#include <algorithm>

#include "app/bench.h"

namespace spindle {
namespace {

std::string plain(const nlohmann::ordered_json& value) {
  if (value.is_null()) return "";
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number_float()) return fmt::format("{:.6g}", value.get<double>());
  return value.dump();
}

std::string csv_cell(const nlohmann::ordered_json& value) {
  std::string quoted = "\"";
  for (char c : plain(value)) quoted += c == '"' ? "\"\"" : std::string(1, c);
  return quoted + "\"";
}

}  // namespace

std::string BenchTable::text(const std::string& format) const {
  if (format == "json") {
    nlohmann::ordered_json list = nlohmann::ordered_json::array();
    for (Row row : rows_) {
      for (const Column& c : columns_) row.erase(c.key + " text");
      list.push_back(row);
    }
    return list.dump(2) + "\n";
  }
  std::string out;
  if (format == "csv") {
    for (size_t i = 0; i < columns_.size(); i++) out += fmt::format("{}{}", i ? "," : "", columns_[i].key);
    out += "\n";
    for (const Row& row : rows_) {
      for (size_t i = 0; i < columns_.size(); i++)
        out += fmt::format("{}{}", i ? "," : "", csv_cell(row.value(columns_[i].key, Row())));
      out += "\n";
    }
    return out;
  }
  std::vector<std::vector<std::string>> cells(rows_.size() + 1);
  std::vector<const Column*> shown;
  for (const Column& c : columns_)
    if (!c.hidden) shown.push_back(&c);
  for (const Column* c : shown) {
    cells[0].push_back(c->title);
    for (size_t r = 0; r < rows_.size(); r++) {
      const std::string key = rows_[r].contains(c->key + " text") ? c->key + " text" : c->key;
      cells[r + 1].push_back(plain(rows_[r].value(key, Row())));
    }
  }
  for (size_t r = 0; r < cells.size(); r++) {
    std::string rule;
    for (size_t i = 0; i < shown.size(); i++) {
      size_t width = 3;  // in characters: ± is two bytes
      const auto length = [](const std::string& s) {
        return static_cast<size_t>(std::ranges::count_if(s, [](char ch) { return (ch & 0xc0) != 0x80; }));
      };
      for (const auto& line : cells) width = std::max(width, length(line[i]));
      const std::string pad(width - length(cells[r][i]), ' ');
      out += fmt::format("| {}{}{} ", shown[i]->right ? pad : "", cells[r][i], shown[i]->right ? "" : pad);
      rule += fmt::format("| {}{} ", std::string(width - 1, '-'), shown[i]->right ? ":" : "-");
    }
    out += "|\n";
    if (r == 0) out += rule + "|\n";
  }
  return out;
}

double cpu_seconds() {
  rusage u{};
  getrusage(RUSAGE_SELF, &u);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
  };
  return seconds(u.ru_utime) + seconds(u.ru_stime);
}

BenchTable operations_table() {
  return BenchTable({{"operation", "operation", false},
                     {"what", "what", false},
                     {"n", "n"},
                     {"ns", "time, us"},
                     {"bytes", "MB"},
                     {"operations", "MFLOP"},
                     {"bytes_per_s", "GB/s"},
                     {"of_copy", "of copy"},
                     {"flops", "GFLOP/s"},
                     {"of_multiply", "of multiply"}});
}

// ns and work: of one of the n.
BenchTable::Row operation_row(const std::string& name, const std::string& what, uint32_t n, double ns,
                              Work work, const DeviceLimits& limits) {
  BenchTable::Row row;
  const double bytes_rate = work.bytes / ns * 1e9, rate = work.operations / ns * 1e9;
  const auto put = [&](const char* key, double value, std::string text) {
    row[key] = value;
    row[fmt::format("{} text", key)] = std::move(text);
  };
  row["operation"] = name;
  row["what"] = what;
  row["n"] = n;
  put("ns", ns, fmt::format("{:.1f}", ns * 1e-3));
  put("bytes", work.bytes, fmt::format("{:.3f}", work.bytes * 1e-6));
  put("operations", work.operations, fmt::format("{:.3f}", work.operations * 1e-6));
  put("bytes_per_s", bytes_rate, fmt::format("{:.2f}", bytes_rate * 1e-9));
  put("of_copy", bytes_rate / limits.copy, fmt::format("{:.1f}%", bytes_rate / limits.copy * 100));
  put("flops", rate, fmt::format("{:.2f}", rate * 1e-9));
  put("of_multiply", rate / limits.multiply, fmt::format("{:.1f}%", rate / limits.multiply * 100));
  return row;
}

}  // namespace spindle
