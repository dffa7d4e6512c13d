// Every kernel a model can use on a device, for compiling them all where nothing can run.
#ifndef SPINDLE_SHADERS_ALL_H
#define SPINDLE_SHADERS_ALL_H
#include "shaders/common/op.h"

namespace spindle {

// Of every operation, in the variants that the device gets, for a range of head sizes and cache types.
std::vector<KernelSpec> all_kernels(const Caps& caps);

}  // namespace spindle
#endif
