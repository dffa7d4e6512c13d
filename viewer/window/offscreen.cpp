// Frames without a window, and their pixels.
#include <cstring>

#include "runtime/handles.h"
#include "viewer/window/target.h"

namespace spindle {

Offscreen::Offscreen(Device& device, uint32_t width, uint32_t height)
    : device_(device),
      size_{width, height},
      painter_(device, VK_FORMAT_R8G8B8A8_UNORM, VK_IMAGE_LAYOUT_TRANSFER_SRC_OPTIMAL),
      image_(make_image(device, size_, VK_FORMAT_R8G8B8A8_UNORM,
                        VK_IMAGE_USAGE_COLOR_ATTACHMENT_BIT | VK_IMAGE_USAGE_TRANSFER_SRC_BIT)) {
  VkFramebufferCreateInfo create{VK_STRUCTURE_TYPE_FRAMEBUFFER_CREATE_INFO};
  create.renderPass = painter_.pass();
  create.attachmentCount = 1;
  create.pAttachments = &image_.view;
  create.width = width;
  create.height = height;
  create.layers = 1;
  vk(vkCreateFramebuffer(device.handles().device, &create, nullptr, &framebuffer_), "vkCreateFramebuffer");
}

Offscreen::~Offscreen() {
  vkDestroyFramebuffer(device_.handles().device, framebuffer_, nullptr);
  destroy(device_, image_);
}

void Offscreen::draw(const ImDrawData& data, ImVec4 background) {
  run_once(device_, [&](VkCommandBuffer commands) {
    painter_.record(commands, 0, data, framebuffer_, size_, background);
  });
}

Pixels Offscreen::pixels() {
  Pixels out{size_.width, size_.height, {}};
  out.rgba.resize(size_t{size_.width} * size_.height);
  const Buffer staging(device_, out.rgba.size() * 4, Memory::shared, "a screenshot");
  run_once(device_, [&](VkCommandBuffer commands) {
    VkBufferImageCopy copy{};
    copy.imageSubresource = {VK_IMAGE_ASPECT_COLOR_BIT, 0, 0, 1};
    copy.imageExtent = {size_.width, size_.height, 1};
    vkCmdCopyImageToBuffer(commands, image_.image, VK_IMAGE_LAYOUT_TRANSFER_SRC_OPTIMAL, staging.handle(), 1,
                           &copy);
    VkMemoryBarrier barrier{VK_STRUCTURE_TYPE_MEMORY_BARRIER};
    barrier.srcAccessMask = VK_ACCESS_TRANSFER_WRITE_BIT;
    barrier.dstAccessMask = VK_ACCESS_HOST_READ_BIT;
    vkCmdPipelineBarrier(commands, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_PIPELINE_STAGE_HOST_BIT, 0, 1, &barrier,
                         0, nullptr, 0, nullptr);
  });
  std::memcpy(out.rgba.data(), staging.mapped(), out.rgba.size() * 4);
  return out;
}

}  // namespace spindle
