// Specializes programs by SPIRV-Tools: SwiftShader keeps arrays that a loop indexes in memory, lane by lane.
// Some kernels made so it compiles for ever (a q2_k product of 1 x 8 outputs), others in a tenth of a second.
#include "runtime/specialize.h"

#ifdef SPINDLE_SPIRV_TOOLS
#include <spirv-tools/optimizer.hpp>

namespace spindle {

bool specialize_built() { return true; }

std::vector<uint32_t> specialize(const KernelSpec& spec) {
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
  return optimizer.Run(from.data(), from.size(), &code, options) ? code : std::vector<uint32_t>{};
}

}  // namespace spindle
#else
namespace spindle {
bool specialize_built() { return false; }
std::vector<uint32_t> specialize(const KernelSpec&) { return {}; }
}  // namespace spindle
#endif
