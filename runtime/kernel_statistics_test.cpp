// The compilers' own words, as their drivers print them.
#include "runtime/kernel_statistics.h"

#include <doctest/doctest.h>

using namespace spindle;

TEST_CASE("statistics of every compiler mean the same") {
  const KernelStatistics amd = summarize_statistics(
      "Compute Shader: subgroup size = 64\nCompute Shader: SGPRs = 128\nCompute Shader: VGPRs = 112\n"
      "Compute Shader: Spilled SGPRs = 3\nCompute Shader: Spilled VGPRs = 0\nCompute Shader: Scratch size = "
      "0\n"
      "Compute Shader: Subgroups per SIMD = 8\nCompute Shader: Instructions = 1065\n"
      "Compute Shader: Pre-Sched VGPRs = 9\n");
  CHECK(amd.registers == 112);
  CHECK(amd.occupancy == 8);
  CHECK(amd.spills == 3);
  CHECK(amd.scratch_bytes == 0);
  CHECK(amd.instructions == 1065);
  CHECK(amd.subgroup_size == 64);
  CHECK(amd.spilled());

  const KernelStatistics nvidia = summarize_statistics(
      "compute: Instruction count = 63\ncompute: Max warps/SM = 48\ncompute: Spills to memory = 0\n"
      "compute: Spills to reg = 7\ncompute: Number of GPRs = 24\ncompute: SLM size = 0\n");
  CHECK(nvidia.registers == 24);
  CHECK(nvidia.occupancy == 48);
  CHECK(nvidia.instructions == 63);
  CHECK_FALSE(nvidia.spilled());

  const KernelStatistics qualcomm = summarize_statistics(
      "CS: Max Waves Per Core = 16\nCS: Instruction Count = 104\nCS: Registers used = 5\n"
      "CS: Half-registers used = 0\nCS: STP Count = 2\nCS: Preamble Instruction Count = 19\n");
  CHECK(qualcomm.registers == 5);
  CHECK(qualcomm.instructions == 104);
  CHECK(qualcomm.spilled());

  const KernelStatistics apple = summarize_statistics(
      "compute: Instructions = 56\ncompute: GPRs = 23\ncompute: Scratch = 16\ncompute: Spills = 0\n");
  CHECK(apple.registers == 23);
  CHECK(apple.spilled());

  // Two executables of one kernel: Intel's compiler keeps what it made for 8 and for 16 lanes.
  const KernelStatistics intel = summarize_statistics(
      "SIMD8 compute: subgroup size = 8\nSIMD8 compute: Spill Count = 0\nSIMD8 compute: Scratch Memory Size "
      "= 0\n"
      "SIMD16 compute: subgroup size = 16\nSIMD16 compute: Spill Count = 9\n"
      "SIMD16 compute: Scratch Memory Size = 1024\n");
  CHECK_FALSE(intel.registers.has_value());
  CHECK(intel.subgroup_size == 16);
  CHECK(intel.spills == 9);
  CHECK(intel.scratch_bytes == 1024);

  CHECK_FALSE(summarize_statistics("").instructions.has_value());
  CHECK_FALSE(summarize_statistics("nothing of the kind\na: b\n = 3\n").spilled());
}
