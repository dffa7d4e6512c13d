// Colour images, one-off commands, PNG files.
#include "viewer/window/pixels.h"

#include <array>

#include "runtime/device.h"
#include "runtime/handles.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wall"
#pragma GCC diagnostic ignored "-Wextra"
#define STB_IMAGE_WRITE_IMPLEMENTATION
#define STB_IMAGE_WRITE_STATIC
#include <stb/stb_image_write.h>
#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_ONLY_PNG
#include <stb/stb_image.h>
#pragma GCC diagnostic pop

namespace spindle {

Image make_image(Device& device, VkExtent2D size, VkFormat format, VkImageUsageFlags usage) {
  DeviceHandles& h = device.handles();
  Image made;
  VkImageCreateInfo create{VK_STRUCTURE_TYPE_IMAGE_CREATE_INFO};
  create.imageType = VK_IMAGE_TYPE_2D;
  create.format = format;
  create.extent = {size.width, size.height, 1};
  create.mipLevels = create.arrayLayers = 1;
  create.samples = VK_SAMPLE_COUNT_1_BIT;
  create.usage = usage;
  vk(vkCreateImage(h.device, &create, nullptr, &made.image), "vkCreateImage");
  VkMemoryRequirements need;
  vkGetImageMemoryRequirements(h.device, made.image, &need);
  VkMemoryAllocateInfo allocate{VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO};
  allocate.allocationSize = need.size;
  allocate.memoryTypeIndex = UINT32_MAX;
  for (int wish : {VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT, VkMemoryPropertyFlagBits{}})
    for (uint32_t i = 0; i < h.memory.memoryTypeCount && allocate.memoryTypeIndex == UINT32_MAX; i++)
      if ((need.memoryTypeBits >> i & 1) && (h.memory.memoryTypes[i].propertyFlags &
                                             static_cast<uint32_t>(wish)) == static_cast<uint32_t>(wish))
        allocate.memoryTypeIndex = i;
  vk(vkAllocateMemory(h.device, &allocate, nullptr, &made.memory), "vkAllocateMemory (an image)");
  vk(vkBindImageMemory(h.device, made.image, made.memory, 0), "vkBindImageMemory");
  VkImageViewCreateInfo view{VK_STRUCTURE_TYPE_IMAGE_VIEW_CREATE_INFO};
  view.image = made.image;
  view.viewType = VK_IMAGE_VIEW_TYPE_2D;
  view.format = format;
  view.subresourceRange = {VK_IMAGE_ASPECT_COLOR_BIT, 0, 1, 0, 1};
  vk(vkCreateImageView(h.device, &view, nullptr, &made.view), "vkCreateImageView");
  return made;
}

void destroy(Device& device, Image& image) {
  const VkDevice vkd = device.handles().device;
  vkDestroyImageView(vkd, image.view, nullptr);
  vkDestroyImage(vkd, image.image, nullptr);
  vkFreeMemory(vkd, image.memory, nullptr);
  image = {};
}

void change_layout(VkCommandBuffer commands, VkImage image, VkImageLayout from, VkImageLayout to) {
  VkImageMemoryBarrier barrier{VK_STRUCTURE_TYPE_IMAGE_MEMORY_BARRIER};
  barrier.srcAccessMask = VK_ACCESS_MEMORY_WRITE_BIT;
  barrier.dstAccessMask = VK_ACCESS_MEMORY_READ_BIT | VK_ACCESS_MEMORY_WRITE_BIT;
  barrier.oldLayout = from;
  barrier.newLayout = to;
  barrier.srcQueueFamilyIndex = barrier.dstQueueFamilyIndex = VK_QUEUE_FAMILY_IGNORED;
  barrier.image = image;
  barrier.subresourceRange = {VK_IMAGE_ASPECT_COLOR_BIT, 0, 1, 0, 1};
  vkCmdPipelineBarrier(commands, VK_PIPELINE_STAGE_ALL_COMMANDS_BIT, VK_PIPELINE_STAGE_ALL_COMMANDS_BIT, 0, 0,
                       nullptr, 0, nullptr, 1, &barrier);
}

void run_once(Device& device, const std::function<void(VkCommandBuffer)>& record) {
  DeviceHandles& h = device.handles();
  VkCommandPoolCreateInfo pool_info{VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO};
  pool_info.queueFamilyIndex = h.queue_family;
  VkCommandPool pool;
  vk(vkCreateCommandPool(h.device, &pool_info, nullptr, &pool), "vkCreateCommandPool");
  VkCommandBufferAllocateInfo allocate{VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO};
  allocate.commandPool = pool;
  allocate.commandBufferCount = 1;
  VkCommandBuffer commands;
  vk(vkAllocateCommandBuffers(h.device, &allocate, &commands), "vkAllocateCommandBuffers");
  VkCommandBufferBeginInfo begin{VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
  begin.flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT;
  vk(vkBeginCommandBuffer(commands, &begin), "vkBeginCommandBuffer");
  record(commands);
  vk(vkEndCommandBuffer(commands), "vkEndCommandBuffer");
  VkFenceCreateInfo fence_info{VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};
  VkFence fence;
  vk(vkCreateFence(h.device, &fence_info, nullptr, &fence), "vkCreateFence");
  VkSubmitInfo submit{VK_STRUCTURE_TYPE_SUBMIT_INFO};
  submit.commandBufferCount = 1;
  submit.pCommandBuffers = &commands;
  VkResult result;
  {
    std::lock_guard lock(h.queue_mutex);
    result = vkQueueSubmit(h.queue, 1, &submit, fence);
  }
  if (result >= 0) result = vkWaitForFences(h.device, 1, &fence, VK_TRUE, UINT64_MAX);
  vkDestroyFence(h.device, fence, nullptr);
  vkDestroyCommandPool(h.device, pool, nullptr);
  vk(result, "vkQueueSubmit");
}

Pixels Pixels::cut(uint32_t x, uint32_t y, uint32_t w, uint32_t h) const {
  x = std::min(x, width), y = std::min(y, height);
  Pixels part{std::min(w, width - x), std::min(h, height - y), {}};
  for (uint32_t row = 0; row < part.height; row++) {
    const auto from = rgba.begin() + static_cast<std::ptrdiff_t>(size_t{y + row} * width + x);
    part.rgba.insert(part.rgba.end(), from, from + part.width);
  }
  return part;
}

void write_png(const std::string& path, const Pixels& pixels) {
  // Three channels: a screenshot has nothing to shine through.
  std::vector<uint8_t> rgb;
  rgb.reserve(pixels.rgba.size() * 3);
  for (uint32_t c : pixels.rgba)
    for (int channel = 0; channel < 3; channel++) rgb.push_back(static_cast<uint8_t>(c >> (8 * channel)));
  require(!rgb.empty(), "{}: an image without pixels", path);
  stbi_write_png_compression_level = 12;
  const int stride = static_cast<int>(pixels.width) * 3;
  require(stbi_write_png(path.c_str(), static_cast<int>(pixels.width), static_cast<int>(pixels.height), 3,
                         rgb.data(), stride) != 0,
          "{}: cannot be written", path);
}

Pixels read_png(const std::string& path) {
  int width = 0, height = 0, channels = 0;
  uint8_t* bytes = stbi_load(path.c_str(), &width, &height, &channels, 4);
  require(bytes, "{}: no readable PNG file ({})", path, stbi_failure_reason());
  Pixels pixels{static_cast<uint32_t>(width), static_cast<uint32_t>(height), {}};
  pixels.rgba.resize(size_t{pixels.width} * pixels.height);
  std::memcpy(pixels.rgba.data(), bytes, pixels.rgba.size() * 4);
  stbi_image_free(bytes);
  return pixels;
}

}  // namespace spindle
