// Images on the device, and pixels in files.
#ifndef SPINDLE_WINDOW_PIXELS_H
#define SPINDLE_WINDOW_PIXELS_H
#include <functional>
#include <string>
#include <vector>

#include "runtime/vulkan.h"

namespace spindle {

class Device;

// An image with memory of its own, for colours.
struct Image {
  VkImage image = VK_NULL_HANDLE;
  VkDeviceMemory memory = VK_NULL_HANDLE;
  VkImageView view = VK_NULL_HANDLE;
};
Image make_image(Device& device, VkExtent2D size, VkFormat format, VkImageUsageFlags usage);
void destroy(Device& device, Image& image);
// One colour image from one layout to another, with everything before and after it.
void change_layout(VkCommandBuffer commands, VkImage image, VkImageLayout from, VkImageLayout to);
// Records, submits and waits.
void run_once(Device& device, const std::function<void(VkCommandBuffer)>& record);

// Pixels in the host's memory, [height, width] of rgba8.
struct Pixels {
  uint32_t width = 0, height = 0;
  std::vector<uint32_t> rgba;
  Pixels cut(uint32_t x, uint32_t y, uint32_t w, uint32_t h) const;
};
// Throws when the file cannot be written.
void write_png(const std::string& path, const Pixels& pixels);
Pixels read_png(const std::string& path);

}  // namespace spindle
#endif
