// The viewer's two pipelines, the font's image, and one draw call for each of ImGui's commands.
#include "viewer/window/painter.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "runtime/device.h"
#include "runtime/handles.h"

namespace spindle {
namespace {

constexpr uint32_t kVertexCode[] =
#include "viewer/window/shading/draw.vert.inc"
    ;
constexpr uint32_t kDrawCode[] =
#include "viewer/window/shading/draw.frag.inc"
    ;
constexpr uint32_t kPictureCode[] =
#include "viewer/window/shading/picture.frag.inc"
    ;

struct Parameters {  // as viewer/window/shading/draw.glsl
  float scale[2], shift[2];
  uint32_t first_vertex, first_index, width, height;
  float low, high;
  uint32_t mode, missing_colour;
};
constexpr VkShaderStageFlags kStages = VK_SHADER_STAGE_VERTEX_BIT | VK_SHADER_STAGE_FRAGMENT_BIT;
static_assert(sizeof(ImDrawVert) == 20 && sizeof(ImDrawIdx) == 2);

VkShaderModule module_of(VkDevice device, std::span<const uint32_t> code) {
  VkShaderModuleCreateInfo create{VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO};
  create.codeSize = code.size_bytes();
  create.pCode = code.data();
  VkShaderModule made;
  vk(vkCreateShaderModule(device, &create, nullptr, &made), "vkCreateShaderModule");
  return made;
}

VkDescriptorSetLayout layout_of(VkDevice device, std::initializer_list<VkDescriptorSetLayoutBinding> list) {
  VkDescriptorSetLayoutCreateInfo create{VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO};
  create.bindingCount = static_cast<uint32_t>(list.size());
  create.pBindings = list.begin();
  VkDescriptorSetLayout made;
  vk(vkCreateDescriptorSetLayout(device, &create, nullptr, &made), "vkCreateDescriptorSetLayout");
  return made;
}

// Grows by half, so that a frame seldom allocates.
void ensure(Device& device, Buffer& buffer, uint64_t bytes, const char* purpose) {
  if (buffer && buffer.bytes() >= bytes) return;
  buffer = Buffer(device, bytes + bytes / 2 + 65536, Memory::shared, purpose);
}

}  // namespace

Picture::Picture(Device& device, uint32_t width, uint32_t height)
    : width_(width),
      height_(height),
      buffer_(device, 4 * (512 + uint64_t{width} * height), Memory::shared, "a heat map") {
  std::fill_n(words(), 512, 0.0f);
}

void Picture::set_colours(Colours map) {
  for (uint32_t i = 0; i < 256; i++) {
    const Rgb c = colour(map, i / 255.0);
    const uint32_t rgba = 0xff000000u | uint32_t{c[2]} << 16 | uint32_t{c[1]} << 8 | c[0];
    std::memcpy(words() + i, &rgba, 4);
  }
}

void Picture::rank() {
  std::vector<float> sorted;
  sorted.reserve(values().size());
  for (float x : values())
    if (!std::isnan(x)) sorted.push_back(x);
  if (sorted.empty()) return;
  std::ranges::sort(sorted);
  for (size_t i = 0; i < 256; i++) words()[256 + i] = sorted[i * (sorted.size() - 1) / 255];
}

Painter::Painter(Device& device, VkFormat format, VkImageLayout final_layout) : device_(device) {
  device.draws = true;
  const VkDevice vkd = device.handles().device;
  VkAttachmentDescription colour{};
  colour.format = format;
  colour.samples = VK_SAMPLE_COUNT_1_BIT;
  colour.loadOp = VK_ATTACHMENT_LOAD_OP_CLEAR;
  colour.storeOp = VK_ATTACHMENT_STORE_OP_STORE;
  colour.stencilLoadOp = VK_ATTACHMENT_LOAD_OP_DONT_CARE;
  colour.stencilStoreOp = VK_ATTACHMENT_STORE_OP_DONT_CARE;
  colour.initialLayout = VK_IMAGE_LAYOUT_UNDEFINED;
  colour.finalLayout = final_layout;
  const VkAttachmentReference reference{0, VK_IMAGE_LAYOUT_COLOR_ATTACHMENT_OPTIMAL};
  VkSubpassDescription subpass{};
  subpass.pipelineBindPoint = VK_PIPELINE_BIND_POINT_GRAPHICS;
  subpass.colorAttachmentCount = 1;
  subpass.pColorAttachments = &reference;
  // Waits for the image to be there (acquired, or no longer copied from), and lets copies see the result.
  VkSubpassDependency around[2] = {};
  around[0].srcSubpass = VK_SUBPASS_EXTERNAL;
  around[0].srcStageMask = VK_PIPELINE_STAGE_COLOR_ATTACHMENT_OUTPUT_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT;
  around[0].srcAccessMask = VK_ACCESS_COLOR_ATTACHMENT_WRITE_BIT | VK_ACCESS_TRANSFER_READ_BIT;
  around[0].dstStageMask = VK_PIPELINE_STAGE_COLOR_ATTACHMENT_OUTPUT_BIT;
  around[0].dstAccessMask = VK_ACCESS_COLOR_ATTACHMENT_WRITE_BIT | VK_ACCESS_COLOR_ATTACHMENT_READ_BIT;
  around[1].dstSubpass = VK_SUBPASS_EXTERNAL;
  around[1].srcStageMask = VK_PIPELINE_STAGE_COLOR_ATTACHMENT_OUTPUT_BIT;
  around[1].srcAccessMask = VK_ACCESS_COLOR_ATTACHMENT_WRITE_BIT;
  around[1].dstStageMask = VK_PIPELINE_STAGE_COLOR_ATTACHMENT_OUTPUT_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT;
  around[1].dstAccessMask = VK_ACCESS_TRANSFER_READ_BIT;
  VkRenderPassCreateInfo create{VK_STRUCTURE_TYPE_RENDER_PASS_CREATE_INFO};
  create.attachmentCount = create.subpassCount = 1;
  create.pAttachments = &colour;
  create.pSubpasses = &subpass;
  create.dependencyCount = 2;
  create.pDependencies = around;
  vk(vkCreateRenderPass(vkd, &create, nullptr, &pass_), "vkCreateRenderPass");

  VkSamplerCreateInfo sampler{VK_STRUCTURE_TYPE_SAMPLER_CREATE_INFO};
  sampler.magFilter = sampler.minFilter = VK_FILTER_LINEAR;
  sampler.addressModeU = sampler.addressModeV = sampler.addressModeW = VK_SAMPLER_ADDRESS_MODE_CLAMP_TO_EDGE;
  vk(vkCreateSampler(vkd, &sampler, nullptr, &sampler_), "vkCreateSampler");
  geometry_layout_ = layout_of(
      vkd, {{0, VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, 1, VK_SHADER_STAGE_VERTEX_BIT, nullptr},
            {1, VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, 1, VK_SHADER_STAGE_VERTEX_BIT, nullptr},
            {2, VK_DESCRIPTOR_TYPE_COMBINED_IMAGE_SAMPLER, 1, VK_SHADER_STAGE_FRAGMENT_BIT, nullptr}});
  picture_layout_ =
      layout_of(vkd, {{0, VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, 1, VK_SHADER_STAGE_FRAGMENT_BIT, nullptr}});
  make_pipelines();
  if (device.caps().timestamps) {
    VkQueryPoolCreateInfo queries{VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO};
    queries.queryType = VK_QUERY_TYPE_TIMESTAMP;
    queries.queryCount = 2 * kFrames;
    vk(vkCreateQueryPool(vkd, &queries, nullptr, &queries_), "vkCreateQueryPool");
  }
  take_fonts();
}

void Painter::make_pipelines() {
  const VkDevice vkd = device_.handles().device;
  const VkDescriptorSetLayout sets[] = {geometry_layout_, picture_layout_};
  const VkPushConstantRange range{kStages, 0, sizeof(Parameters)};
  VkPipelineLayoutCreateInfo layout{VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO};
  layout.setLayoutCount = 2;
  layout.pSetLayouts = sets;
  layout.pushConstantRangeCount = 1;
  layout.pPushConstantRanges = &range;
  vk(vkCreatePipelineLayout(vkd, &layout, nullptr, &layout_), "vkCreatePipelineLayout");

  const VkPipelineVertexInputStateCreateInfo input{VK_STRUCTURE_TYPE_PIPELINE_VERTEX_INPUT_STATE_CREATE_INFO};
  VkPipelineInputAssemblyStateCreateInfo assembly{
      VK_STRUCTURE_TYPE_PIPELINE_INPUT_ASSEMBLY_STATE_CREATE_INFO};
  assembly.topology = VK_PRIMITIVE_TOPOLOGY_TRIANGLE_LIST;
  VkPipelineViewportStateCreateInfo viewport{VK_STRUCTURE_TYPE_PIPELINE_VIEWPORT_STATE_CREATE_INFO};
  viewport.viewportCount = viewport.scissorCount = 1;
  VkPipelineRasterizationStateCreateInfo raster{VK_STRUCTURE_TYPE_PIPELINE_RASTERIZATION_STATE_CREATE_INFO};
  raster.lineWidth = 1;
  VkPipelineMultisampleStateCreateInfo samples{VK_STRUCTURE_TYPE_PIPELINE_MULTISAMPLE_STATE_CREATE_INFO};
  samples.rasterizationSamples = VK_SAMPLE_COUNT_1_BIT;
  VkPipelineColorBlendAttachmentState blend{};
  blend.blendEnable = VK_TRUE;
  blend.srcColorBlendFactor = VK_BLEND_FACTOR_SRC_ALPHA;
  blend.dstColorBlendFactor = VK_BLEND_FACTOR_ONE_MINUS_SRC_ALPHA;
  blend.srcAlphaBlendFactor = VK_BLEND_FACTOR_ONE;
  blend.dstAlphaBlendFactor = VK_BLEND_FACTOR_ONE_MINUS_SRC_ALPHA;
  blend.colorWriteMask = 0xf;
  VkPipelineColorBlendStateCreateInfo blending{VK_STRUCTURE_TYPE_PIPELINE_COLOR_BLEND_STATE_CREATE_INFO};
  blending.attachmentCount = 1;
  blending.pAttachments = &blend;
  const VkDynamicState states[] = {VK_DYNAMIC_STATE_VIEWPORT, VK_DYNAMIC_STATE_SCISSOR};
  VkPipelineDynamicStateCreateInfo dynamic{VK_STRUCTURE_TYPE_PIPELINE_DYNAMIC_STATE_CREATE_INFO};
  dynamic.dynamicStateCount = 2;
  dynamic.pDynamicStates = states;

  const VkShaderModule vertex = module_of(vkd, kVertexCode);
  const auto make = [&](std::span<const uint32_t> code, VkPipeline& made) {
    const VkShaderModule fragment = module_of(vkd, code);
    VkPipelineShaderStageCreateInfo stages[2] = {{VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO},
                                                 {VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO}};
    stages[0].stage = VK_SHADER_STAGE_VERTEX_BIT;
    stages[0].module = vertex;
    stages[1].stage = VK_SHADER_STAGE_FRAGMENT_BIT;
    stages[1].module = fragment;
    stages[0].pName = stages[1].pName = "main";
    VkGraphicsPipelineCreateInfo create{VK_STRUCTURE_TYPE_GRAPHICS_PIPELINE_CREATE_INFO};
    create.stageCount = 2;
    create.pStages = stages;
    create.pVertexInputState = &input;
    create.pInputAssemblyState = &assembly;
    create.pViewportState = &viewport;
    create.pRasterizationState = &raster;
    create.pMultisampleState = &samples;
    create.pColorBlendState = &blending;
    create.pDynamicState = &dynamic;
    create.layout = layout_;
    create.renderPass = pass_;
    vk(vkCreateGraphicsPipelines(vkd, device_.handles().pipeline_cache, 1, &create, nullptr, &made),
       "vkCreateGraphicsPipelines");
    vkDestroyShaderModule(vkd, fragment, nullptr);
  };
  make(kDrawCode, draw_);
  make(kPictureCode, picture_);
  vkDestroyShaderModule(vkd, vertex, nullptr);
}

Painter::~Painter() {
  const VkDevice vkd = device_.handles().device;
  {
    std::lock_guard lock(device_.handles().queue_mutex);
    vkQueueWaitIdle(device_.handles().queue);
  }
  for (Frame& frame : frames_) vkDestroyDescriptorPool(vkd, frame.pool, nullptr);
  vkDestroyQueryPool(vkd, queries_, nullptr);
  destroy(device_, font_);
  vkDestroySampler(vkd, sampler_, nullptr);
  vkDestroyPipeline(vkd, draw_, nullptr);
  vkDestroyPipeline(vkd, picture_, nullptr);
  vkDestroyPipelineLayout(vkd, layout_, nullptr);
  vkDestroyDescriptorSetLayout(vkd, geometry_layout_, nullptr);
  vkDestroyDescriptorSetLayout(vkd, picture_layout_, nullptr);
  vkDestroyRenderPass(vkd, pass_, nullptr);
}

void Painter::take_fonts() {
  DeviceHandles& h = device_.handles();
  {
    std::lock_guard lock(h.queue_mutex);
    vkQueueWaitIdle(h.queue);
  }
  destroy(device_, font_);
  unsigned char* pixels = nullptr;
  int width = 0, height = 0;
  ImGui::GetIO().Fonts->GetTexDataAsRGBA32(&pixels, &width, &height);
  ImGui::GetIO().Fonts->SetTexID(texture_of(nullptr));
  const VkExtent2D size{static_cast<uint32_t>(width), static_cast<uint32_t>(height)};
  font_ = make_image(device_, size, VK_FORMAT_R8G8B8A8_UNORM,
                     VK_IMAGE_USAGE_SAMPLED_BIT | VK_IMAGE_USAGE_TRANSFER_DST_BIT);
  const Buffer staging(device_, uint64_t{4} * size.width * size.height, Memory::shared, "the font's image");
  std::memcpy(staging.mapped(), pixels, size_t{4} * size.width * size.height);
  run_once(device_, [&](VkCommandBuffer commands) {
    change_layout(commands, font_.image, VK_IMAGE_LAYOUT_UNDEFINED, VK_IMAGE_LAYOUT_TRANSFER_DST_OPTIMAL);
    VkBufferImageCopy copy{};
    copy.imageSubresource = {VK_IMAGE_ASPECT_COLOR_BIT, 0, 0, 1};
    copy.imageExtent = {size.width, size.height, 1};
    vkCmdCopyBufferToImage(commands, staging.handle(), font_.image, VK_IMAGE_LAYOUT_TRANSFER_DST_OPTIMAL, 1,
                           &copy);
    change_layout(commands, font_.image, VK_IMAGE_LAYOUT_TRANSFER_DST_OPTIMAL,
                  VK_IMAGE_LAYOUT_SHADER_READ_ONLY_OPTIMAL);
  });
}

void Painter::upload(Frame& frame, const ImDrawData& data) {
  ensure(device_, frame.vertices, sizeof(ImDrawVert) * static_cast<size_t>(data.TotalVtxCount), "vertices");
  ensure(device_, frame.indices, sizeof(ImDrawIdx) * static_cast<size_t>(data.TotalIdxCount), "indices");
  std::byte *v = frame.vertices.mapped(), *i = frame.indices.mapped();
  for (int n = 0; n < data.CmdListsCount; n++) {
    const ImDrawList& list = *data.CmdLists[n];
    const auto v_bytes = static_cast<size_t>(list.VtxBuffer.size_in_bytes()),
               i_bytes = static_cast<size_t>(list.IdxBuffer.size_in_bytes());
    std::memcpy(v, list.VtxBuffer.Data, v_bytes);
    std::memcpy(i, list.IdxBuffer.Data, i_bytes);
    v += v_bytes, i += i_bytes;
  }
}

VkDescriptorSet Painter::set_of(Frame& frame, VkDescriptorSetLayout layout) {
  VkDescriptorSetAllocateInfo allocate{VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO};
  allocate.descriptorPool = frame.pool;
  allocate.descriptorSetCount = 1;
  allocate.pSetLayouts = &layout;
  VkDescriptorSet set;
  vk(vkAllocateDescriptorSets(device_.handles().device, &allocate, &set), "vkAllocateDescriptorSets");
  return set;
}

void Painter::record(VkCommandBuffer commands, uint32_t index, const ImDrawData& data, VkFramebuffer into,
                     VkExtent2D size, ImVec4 background) {
  const VkDevice vkd = device_.handles().device;
  Frame& frame = frames_[index];
  upload(frame, data);
  uint32_t n_pictures = 0;
  for (int n = 0; n < data.CmdListsCount; n++)
    for (const ImDrawCmd& c : data.CmdLists[n]->CmdBuffer) n_pictures += texture_of(c) != nullptr;
  vkDestroyDescriptorPool(vkd, frame.pool, nullptr);
  const VkDescriptorPoolSize kinds[] = {{VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, 2 + n_pictures},
                                        {VK_DESCRIPTOR_TYPE_COMBINED_IMAGE_SAMPLER, 1}};
  VkDescriptorPoolCreateInfo pool{VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO};
  pool.maxSets = 1 + n_pictures;
  pool.poolSizeCount = 2;
  pool.pPoolSizes = kinds;
  vk(vkCreateDescriptorPool(vkd, &pool, nullptr, &frame.pool), "vkCreateDescriptorPool");
  const auto write_buffer = [&](VkDescriptorSet set, uint32_t binding, const Buffer& buffer) {
    const VkDescriptorBufferInfo info{buffer.handle(), 0, VK_WHOLE_SIZE};
    VkWriteDescriptorSet write{VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET};
    write.dstSet = set;
    write.dstBinding = binding;
    write.descriptorCount = 1;
    write.descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER;
    write.pBufferInfo = &info;
    vkUpdateDescriptorSets(vkd, 1, &write, 0, nullptr);
  };
  const VkDescriptorSet geometry = set_of(frame, geometry_layout_);
  write_buffer(geometry, 0, frame.vertices);
  write_buffer(geometry, 1, frame.indices);
  const VkDescriptorImageInfo font{sampler_, font_.view, VK_IMAGE_LAYOUT_SHADER_READ_ONLY_OPTIMAL};
  VkWriteDescriptorSet write{VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET};
  write.dstSet = geometry;
  write.dstBinding = 2;
  write.descriptorCount = 1;
  write.descriptorType = VK_DESCRIPTOR_TYPE_COMBINED_IMAGE_SAMPLER;
  write.pImageInfo = &font;
  vkUpdateDescriptorSets(vkd, 1, &write, 0, nullptr);

  if (queries_) {
    vkCmdResetQueryPool(commands, queries_, 2 * index, 2);
    vkCmdWriteTimestamp(commands, VK_PIPELINE_STAGE_TOP_OF_PIPE_BIT, queries_, 2 * index);
  }
  VkClearValue clear{};
  const float rgba[4] = {background.x, background.y, background.z, background.w};
  std::copy_n(rgba, 4, clear.color.float32);
  VkRenderPassBeginInfo begin{VK_STRUCTURE_TYPE_RENDER_PASS_BEGIN_INFO};
  begin.renderPass = pass_;
  begin.framebuffer = into;
  begin.renderArea.extent = size;
  begin.clearValueCount = 1;
  begin.pClearValues = &clear;
  vkCmdBeginRenderPass(commands, &begin, VK_SUBPASS_CONTENTS_INLINE);
  const VkViewport viewport{0, 0, static_cast<float>(size.width), static_cast<float>(size.height), 0, 1};
  vkCmdSetViewport(commands, 0, 1, &viewport);
  vkCmdBindDescriptorSets(commands, VK_PIPELINE_BIND_POINT_GRAPHICS, layout_, 0, 1, &geometry, 0, nullptr);

  Parameters p{};
  p.scale[0] = 2 / data.DisplaySize.x, p.scale[1] = 2 / data.DisplaySize.y;
  p.shift[0] = -1 - data.DisplayPos.x * p.scale[0], p.shift[1] = -1 - data.DisplayPos.y * p.scale[1];
  const ImVec2 pixel = data.FramebufferScale;
  const void* bound = &pixel;  // neither the font nor a picture
  uint32_t first_vertex = 0, first_index = 0;
  for (int n = 0; n < data.CmdListsCount; n++) {
    const ImDrawList& list = *data.CmdLists[n];
    for (const ImDrawCmd& c : list.CmdBuffer) {
      const float x0 = std::max((c.ClipRect.x - data.DisplayPos.x) * pixel.x, 0.0f),
                  y0 = std::max((c.ClipRect.y - data.DisplayPos.y) * pixel.y, 0.0f),
                  x1 = std::min((c.ClipRect.z - data.DisplayPos.x) * pixel.x, viewport.width),
                  y1 = std::min((c.ClipRect.w - data.DisplayPos.y) * pixel.y, viewport.height);
      if (x1 <= x0 || y1 <= y0 || c.ElemCount == 0 || c.UserCallback) continue;
      const VkRect2D scissor{{static_cast<int32_t>(x0), static_cast<int32_t>(y0)},
                             {static_cast<uint32_t>(x1 - x0), static_cast<uint32_t>(y1 - y0)}};
      vkCmdSetScissor(commands, 0, 1, &scissor);
      const void* texture = texture_of(c);
      if (texture != bound) {
        vkCmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_GRAPHICS, texture ? picture_ : draw_);
        bound = texture;
        if (texture) {
          const auto& picture = *static_cast<const Picture*>(texture);
          const VkDescriptorSet set = set_of(frame, picture_layout_);
          write_buffer(set, 0, picture.buffer());
          vkCmdBindDescriptorSets(commands, VK_PIPELINE_BIND_POINT_GRAPHICS, layout_, 1, 1, &set, 0, nullptr);
          p.width = picture.width(), p.height = picture.height();
          p.low = picture.low, p.high = picture.high;
          p.mode = picture.scale == Scale::rank ? 2 : picture.scale == Scale::log ? 1 : 0;
          p.missing_colour = picture.missing;
        }
      }
      p.first_vertex = first_vertex + c.VtxOffset;
      p.first_index = first_index + c.IdxOffset;
      vkCmdPushConstants(commands, layout_, kStages, 0, sizeof p, &p);
      vkCmdDraw(commands, c.ElemCount, 1, 0, 0);
    }
    first_vertex += static_cast<uint32_t>(list.VtxBuffer.Size);
    first_index += static_cast<uint32_t>(list.IdxBuffer.Size);
  }
  vkCmdEndRenderPass(commands);
  if (queries_) vkCmdWriteTimestamp(commands, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, queries_, 2 * index + 1);
  frame.stamped = queries_ != VK_NULL_HANDLE;
}

uint64_t Painter::gpu_ns(uint32_t frame) const {
  if (!frames_[frame].stamped) return 0;
  uint64_t stamps[2] = {};
  if (vkGetQueryPoolResults(device_.handles().device, queries_, 2 * frame, 2, sizeof stamps, stamps, 8,
                            VK_QUERY_RESULT_64_BIT) != VK_SUCCESS)
    return 0;
  return static_cast<uint64_t>(static_cast<double>(stamps[1] - stamps[0]) *
                               device_.caps().timestamp_period_ns);
}

}  // namespace spindle
