// What a driver's compiler says of a kernel, in one vocabulary for all of them.
#ifndef SPINDLE_RUNTIME_KERNEL_STATISTICS_H
#define SPINDLE_RUNTIME_KERNEL_STATISTICS_H
#include <optional>
#include <string>

namespace spindle {

// Empty: this compiler does not say.
struct KernelStatistics {
  std::optional<double> registers;  // vector registers of a lane; Qualcomm: of four words
  std::optional<double> occupancy;  // subgroups in flight: AMD per SIMD, NVIDIA per SM, Qualcomm per core
  std::optional<double> spills;  // registers, or instructions, that spill; to memory where two kinds are told
  std::optional<double> scratch_bytes;
  std::optional<double> instructions;
  std::optional<double> subgroup_size;

  bool spilled() const { return spills.value_or(0) > 0 || scratch_bytes.value_or(0) > 0; }
};

// From Kernel::statistics(): "executable: name = value" a line. Where a compiler made several executables of
// one kernel, the largest value of each.
KernelStatistics summarize_statistics(const std::string& text);

}  // namespace spindle
#endif
