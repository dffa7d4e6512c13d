// Builds a compute pipeline from a program and its constants.
#include "runtime/kernel.h"

#include <algorithm>
#include <cassert>

#include "runtime/device.h"
#include "runtime/handles.h"
#include "runtime/specialize.h"

namespace spindle {

Kernel::Kernel(Device& device, const KernelSpec& spec)
    : device_(device), spec_(spec), reflection_(reflect(*spec.program)) {
  const VkDevice vkd = device.handles().device;
  require(reflection_.constant_ids.empty() || reflection_.constant_ids.back() < spec.constants.size(),
          "{}: {} specialization constants given, but id {} exists", name(), spec.constants.size(),
          reflection_.constant_ids.empty() ? 0 : reflection_.constant_ids.back());
  require(reflection_.push_constant_bytes <= 128, "{}: {} bytes of parameters, at most 128 are portable",
          name(), reflection_.push_constant_bytes);
  require(reflection_.bindings.size() <= device.caps().max_bindings, "{}: {} bindings, the device allows {}",
          name(), reflection_.bindings.size(), device.caps().max_bindings);
  try {
    std::vector<VkDescriptorSetLayoutBinding> bindings;
    for (const BindingReflection& b : reflection_.bindings)
      bindings.push_back(
          {b.index, VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, 1, VK_SHADER_STAGE_COMPUTE_BIT, nullptr});
    VkDescriptorSetLayoutCreateInfo set{VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO};
    set.bindingCount = static_cast<uint32_t>(bindings.size());
    set.pBindings = bindings.data();
    vk(vkCreateDescriptorSetLayout(vkd, &set, nullptr, &set_layout_), "vkCreateDescriptorSetLayout");

    const VkPushConstantRange push{VK_SHADER_STAGE_COMPUTE_BIT, 0, reflection_.push_constant_bytes};
    VkPipelineLayoutCreateInfo layout{VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO};
    layout.setLayoutCount = 1;
    layout.pSetLayouts = &set_layout_;
    layout.pushConstantRangeCount = push.size ? 1 : 0;
    layout.pPushConstantRanges = &push;
    vk(vkCreatePipelineLayout(vkd, &layout, nullptr, &layout_), "vkCreatePipelineLayout");

    std::span<const uint32_t> code = spec.program->code;
    const std::vector<uint32_t> specialized =
        device.caps().unroll ? specialize(spec) : std::vector<uint32_t>{};
    if (!specialized.empty()) code = specialized;
    VkShaderModuleCreateInfo module_info{VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO};
    module_info.codeSize = code.size_bytes();
    module_info.pCode = code.data();
    VkShaderModule module = VK_NULL_HANDLE;
    vk(vkCreateShaderModule(vkd, &module_info, nullptr, &module), "vkCreateShaderModule");

    std::vector<VkSpecializationMapEntry> entries;
    if (specialized.empty())
      for (uint32_t id : reflection_.constant_ids) entries.push_back({id, id * 4, 4});
    const VkSpecializationInfo constants{static_cast<uint32_t>(entries.size()), entries.data(),
                                         spec.constants.size() * 4, spec.constants.data()};
    VkPipelineShaderStageRequiredSubgroupSizeCreateInfo size{
        VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO};
    size.requiredSubgroupSize = spec.subgroup_size;
    VkComputePipelineCreateInfo create{VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO};
    create.flags = VK_PIPELINE_CREATE_DISPATCH_BASE_BIT;  // any grid may be cut into several submits
    if (device.caps().executable_properties) create.flags |= VK_PIPELINE_CREATE_CAPTURE_STATISTICS_BIT_KHR;
    create.stage = {VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO};
    create.stage.stage = VK_SHADER_STAGE_COMPUTE_BIT;
    create.stage.module = module;
    create.stage.pName = "main";
    create.stage.pSpecializationInfo = &constants;
    // gl_SubgroupSize is the size that the compiler chose only when sizes may vary (Intel compiles for 8, 16
    // or 32), and lanes are numbered without holes only when subgroups are full.
    constexpr uint32_t group_non_uniform = 61;  // SPIR-V capability
    const auto& capabilities = reflection_.capabilities;
    if (!spec.subgroup_size && device.caps().subgroup_control &&
        std::find(capabilities.begin(), capabilities.end(), group_non_uniform) != capabilities.end())
      create.stage.flags |= VK_PIPELINE_SHADER_STAGE_CREATE_ALLOW_VARYING_SUBGROUP_SIZE_BIT |
                            VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT;
    if (spec.subgroup_size && device.caps().subgroup_control) {
      create.stage.pNext = &size;
      create.stage.flags = VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT;
    }
    create.layout = layout_;
    const VkResult made =
        vkCreateComputePipelines(vkd, device.handles().pipeline_cache, 1, &create, nullptr, &pipeline_);
    vkDestroyShaderModule(vkd, module, nullptr);
    vk(made, fmt::format("vkCreateComputePipelines({})", name()).c_str());
  } catch (...) {
    destroy();
    throw;
  }
}

Kernel::~Kernel() { destroy(); }

void Kernel::destroy() {
  const VkDevice vkd = device_.handles().device;
  vkDestroyPipeline(vkd, pipeline_, nullptr);
  vkDestroyPipelineLayout(vkd, layout_, nullptr);
  vkDestroyDescriptorSetLayout(vkd, set_layout_, nullptr);
}

std::string Kernel::statistics() const {
  if (!device_.caps().executable_properties) return "";
  const VkDevice vkd = device_.handles().device;
  const auto properties = reinterpret_cast<PFN_vkGetPipelineExecutablePropertiesKHR>(
      vkGetDeviceProcAddr(vkd, "vkGetPipelineExecutablePropertiesKHR"));
  const auto statistics = reinterpret_cast<PFN_vkGetPipelineExecutableStatisticsKHR>(
      vkGetDeviceProcAddr(vkd, "vkGetPipelineExecutableStatisticsKHR"));
  if (!properties || !statistics) return "";
  VkPipelineInfoKHR info{VK_STRUCTURE_TYPE_PIPELINE_INFO_KHR, nullptr, pipeline_};
  uint32_t n = 0;
  vk(properties(vkd, &info, &n, nullptr), "vkGetPipelineExecutablePropertiesKHR");
  std::vector<VkPipelineExecutablePropertiesKHR> list(n,
                                                      {VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_PROPERTIES_KHR});
  vk(properties(vkd, &info, &n, list.data()), "vkGetPipelineExecutablePropertiesKHR");
  std::string text;
  for (uint32_t i = 0; i < n; i++) {
    text += fmt::format("{}: subgroup size = {}\n", list[i].name, list[i].subgroupSize);
    VkPipelineExecutableInfoKHR which{VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_INFO_KHR, nullptr, pipeline_, i};
    uint32_t k = 0;
    vk(statistics(vkd, &which, &k, nullptr), "vkGetPipelineExecutableStatisticsKHR");
    std::vector<VkPipelineExecutableStatisticKHR> values(
        k, {VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_STATISTIC_KHR});
    vk(statistics(vkd, &which, &k, values.data()), "vkGetPipelineExecutableStatisticsKHR");
    for (const auto& s : values) {
      const bool real = s.format == VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_FLOAT64_KHR;
      text += fmt::format("{}: {} = {}\n", list[i].name, s.name,
                          real ? s.value.f64 : static_cast<double>(s.value.u64));
    }
  }
  return text;
}

}  // namespace spindle
