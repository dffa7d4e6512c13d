// What `spindle bench` measures and prints.
#ifndef SPINDLE_APP_BENCH_H
#define SPINDLE_APP_BENCH_H
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "app/command.h"
#include "shaders/device_limits/device_limits.h"

namespace spindle {

struct BenchFlags {
  DeviceFlags device;
  std::string model, output = "md";
  std::vector<uint32_t> prompt{512}, generate{128}, depth{0}, batch{2048}, ubatch{512};
  std::vector<std::string> k_type{"f16"}, v_type{"f16"};
  uint32_t repetitions = 5, sequences = 1;
  bool operations = false, limits = false, tune = false;
  std::string op, shape, pattern, phase;
  std::vector<std::string> types;
};

// Rows of named values; what people read is the chosen columns, what programs read is all of them.
class BenchTable {
 public:
  using Row = nlohmann::ordered_json;
  struct Column {
    std::string key, title;
    bool right = true;
    bool hidden = false;  // of csv and json alone
  };
  explicit BenchTable(std::vector<Column> columns) : columns_(std::move(columns)) {}
  // Values by key; one for `key + " text"` is shown in md instead of the value.
  void add(Row row) { rows_.push_back(std::move(row)); }
  bool empty() const { return rows_.empty(); }
  std::string text(const std::string& format) const;  // md, csv or json

 private:
  std::vector<Column> columns_;
  std::vector<Row> rows_;
};

// Seconds of all processors that this process has used: on a CPU device, what the work cost whoever else ran.
double cpu_seconds();

void bench_limits(Device& device, const BenchFlags& flags);
void bench_model(Device& device, const BenchFlags& flags);
void bench_operation(Device& device, const BenchFlags& flags);
// Tries tiles of matrix products and keeps the best for this device.
void bench_tune(Device& device, const BenchFlags& flags);
// One row an operation, with its share of what the device can do.
BenchTable operations_table();
BenchTable::Row operation_row(const std::string& name, const std::string& what, uint32_t n, double ns,
                              Work work, const DeviceLimits& limits);
inline constexpr const char* kBenchOperations = "matmul, attention, rms_norm, activation, add, quantize_rows";

}  // namespace spindle
#endif
