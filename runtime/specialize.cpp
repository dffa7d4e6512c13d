// Specializes programs by SPIRV-Tools: SwiftShader keeps arrays that a loop indexes in memory, lane by lane.
// Up to some 12,000 words it compiles in tenths of a second, most often; 13,000 of attention take it 30
// seconds, others minutes and all memory.
#include "runtime/specialize.h"

#ifdef SPINDLE_SPIRV_TOOLS
#include <spirv-tools/optimizer.hpp>

namespace spindle {

constexpr size_t kMostWords = 12000;

bool specialize_built() { return true; }

std::vector<uint32_t> specialize(const KernelSpec& spec) {
  if (!spec.program->unroll) return {};
  std::unordered_map<uint32_t, std::vector<uint32_t>> values;
  for (uint32_t i = 0; i < spec.constants.size(); i++) values[i] = {spec.constants[i]};
  spvtools::Optimizer optimizer(SPV_ENV_VULKAN_1_2);
  optimizer.RegisterPass(spvtools::CreateSetSpecConstantDefaultValuePass(values));
  optimizer.RegisterPass(spvtools::CreateFreezeSpecConstantValuePass());
  optimizer.RegisterPass(spvtools::CreateFoldSpecConstantOpAndCompositePass());
  optimizer.RegisterPerformancePasses();  // unrolls the loops that the shader marks
  std::vector<uint32_t> code;
  spvtools::OptimizerOptions options;
  options.set_run_validator(false);  // of our own making, and seen by the validation layer
  const auto& from = spec.program->code;
  const bool made = optimizer.Run(from.data(), from.size(), &code, options);
  return made && code.size() <= kMostWords ? code : std::vector<uint32_t>{};
}

}  // namespace spindle
#else
namespace spindle {
bool specialize_built() { return false; }
std::vector<uint32_t> specialize(const KernelSpec&) { return {}; }
}  // namespace spindle
#endif
