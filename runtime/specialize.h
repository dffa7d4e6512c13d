// A program with its constants set and its loops unrolled, for drivers whose compilers do neither.
#ifndef SPINDLE_RUNTIME_SPECIALIZE_H
#define SPINDLE_RUNTIME_SPECIALIZE_H
#include "runtime/kernel.h"

namespace spindle {

// Whether this program was built with SPIRV-Tools' optimizer.
bool specialize_built();
// SPIR-V of the same results, without specialization constants; empty for programs that do not ask for it,
// where it would be too long for such compilers, the optimizer finds a fault or was not there when this was
// built.
std::vector<uint32_t> specialize(const KernelSpec& spec);

}  // namespace spindle
#endif
