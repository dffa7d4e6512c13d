// A compute pipeline and what its SPIR-V says of itself: bindings, their access, constants, parameter size.
#ifndef SPINDLE_RUNTIME_KERNEL_H
#define SPINDLE_RUNTIME_KERNEL_H
#include <bit>
#include <compare>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "runtime/vulkan.h"

namespace spindle {

class Device;

// A compiled shader as the build made it; one static object for each .comp file.
struct Program {
  const char* name;
  std::span<const uint32_t> code;
  bool unroll = false;  // marked loops are unrolled for a compiler that does not (specialize.h)
};

// A program with its specialization constants (ids 0, 1, 2, ... in order; all of them).
struct KernelSpec {
  const Program* program = nullptr;
  std::vector<uint32_t> constants;
  uint32_t subgroup_size = 0;  // required size; 0: the driver's choice
  auto operator<=>(const KernelSpec&) const = default;
};

inline uint32_t constant(float value) { return std::bit_cast<uint32_t>(value); }

struct BindingReflection {
  uint32_t index = 0;
  bool reads = false, writes = false;
};

struct Reflection {
  std::vector<BindingReflection> bindings;  // sorted by index; storage buffers of set 0
  uint32_t push_constant_bytes = 0;
  std::vector<uint32_t> constant_ids;  // sorted
  std::vector<uint32_t> capabilities;  // SPIR-V numbers
};

// Throws when the module is not what this runtime dispatches (other sets, images, two entry points).
Reflection reflect(const Program& program);

class Kernel {
 public:
  Kernel(Device& device, const KernelSpec& spec);
  ~Kernel();
  Kernel(const Kernel&) = delete;
  Kernel& operator=(const Kernel&) = delete;

  const char* name() const { return spec_.program->name; }
  const KernelSpec& spec() const { return spec_; }
  const Reflection& reflection() const { return reflection_; }
  VkPipeline pipeline() const { return pipeline_; }
  VkPipelineLayout layout() const { return layout_; }
  VkDescriptorSetLayout set_layout() const { return set_layout_; }

  // What the driver's compiler says (registers, spills, ...), one "name = value" a line; empty when unknown.
  std::string statistics() const;

 private:
  void destroy();

  Device& device_;
  KernelSpec spec_;
  Reflection reflection_;
  VkDescriptorSetLayout set_layout_ = VK_NULL_HANDLE;
  VkPipelineLayout layout_ = VK_NULL_HANDLE;
  VkPipeline pipeline_ = VK_NULL_HANDLE;
};

}  // namespace spindle
#endif
