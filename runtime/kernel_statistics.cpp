// Each driver's names for registers, occupancy, spills, scratch and instructions.
#include "runtime/kernel_statistics.h"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <string_view>

namespace spindle {
namespace {

using Field = std::optional<double> KernelStatistics::*;

// Mesa: RADV, NVK, turnip (Qualcomm), honeykrisp (Apple), ANV (Intel, which does not say how many registers).
const std::map<std::string_view, Field> kNames = {
    {"subgroup size", &KernelStatistics::subgroup_size},
    {"VGPRs", &KernelStatistics::registers},
    {"Number of GPRs", &KernelStatistics::registers},
    {"Registers used", &KernelStatistics::registers},
    {"GPRs", &KernelStatistics::registers},
    {"Subgroups per SIMD", &KernelStatistics::occupancy},
    {"Max warps/SM", &KernelStatistics::occupancy},
    {"Max Waves Per Core", &KernelStatistics::occupancy},
    {"Spilled SGPRs", &KernelStatistics::spills},
    {"Spilled VGPRs", &KernelStatistics::spills},
    {"Spills to memory", &KernelStatistics::spills},
    {"STP Count", &KernelStatistics::spills},
    {"Spill Count", &KernelStatistics::spills},
    {"Spills", &KernelStatistics::spills},
    {"Scratch size", &KernelStatistics::scratch_bytes},
    {"SLM size", &KernelStatistics::scratch_bytes},
    {"Scratch Memory Size", &KernelStatistics::scratch_bytes},
    {"Scratch", &KernelStatistics::scratch_bytes},
    {"Instructions", &KernelStatistics::instructions},
    {"Instruction count", &KernelStatistics::instructions},
    {"Instruction Count", &KernelStatistics::instructions},
};

}  // namespace

KernelStatistics summarize_statistics(const std::string& text) {
  KernelStatistics s;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view line = std::string_view(text).substr(at, end - at);
    const size_t colon = line.find(": "), equals = line.rfind(" = ");
    at = end + 1;
    if (colon == std::string_view::npos || equals == std::string_view::npos || equals < colon + 2) continue;
    const auto name = kNames.find(line.substr(colon + 2, equals - colon - 2));
    if (name == kNames.end()) continue;
    std::optional<double>& value = s.*name->second;
    value = std::max(value.value_or(0), std::strtod(std::string(line.substr(equals + 3)).c_str(), nullptr));
  }
  return s;
}

}  // namespace spindle
