// Draws what ImGui lists, and heat maps among it, into any image of one format.
#ifndef SPINDLE_WINDOW_PAINTER_H
#define SPINDLE_WINDOW_PAINTER_H
#include <array>
#include <memory>
#include <span>
#include <vector>

#include "runtime/buffer.h"
#include "viewer/colours.h"
#include "viewer/window/compat.h"
#include "viewer/window/pixels.h"

namespace spindle {

// Values drawn by colour: ImDrawList::AddImage(texture_of(&picture), ...). It must live until the frame is
// done.
class Picture {
 public:
  Picture(Device& device, uint32_t width, uint32_t height);
  uint32_t width() const { return width_; }
  uint32_t height() const { return height_; }
  std::span<float> values() { return {words() + 512, size_t{width_} * height_}; }
  std::span<const float> values() const { return {words() + 512, size_t{width_} * height_}; }
  void set_colours(Colours map);
  // What Scale::rank needs, from the values as they are now; NaN left out.
  void rank();
  const Buffer& buffer() const { return buffer_; }

  Scale scale = Scale::linear;
  float low = 0, high = 1;
  uint32_t missing = 0;  // rgba8 of NaN

 private:
  float* words() const { return reinterpret_cast<float*>(buffer_.mapped()); }
  uint32_t width_, height_;
  Buffer buffer_;
};

class Painter {
 public:
  static constexpr uint32_t kFrames = 2;  // in flight
  Painter(Device& device, VkFormat format, VkImageLayout final_layout);
  ~Painter();
  Painter(const Painter&) = delete;
  Painter& operator=(const Painter&) = delete;

  VkRenderPass pass() const { return pass_; }
  // Takes ImGui's atlas, after make_fonts(). Waits for the device.
  void take_fonts();
  // Frame 0 .. kFrames - 1, no longer in use by the device, is drawn into a framebuffer of pass().
  void record(VkCommandBuffer commands, uint32_t frame, const ImDrawData& data, VkFramebuffer into,
              VkExtent2D size, ImVec4 background);
  // GPU time of that frame when the device is done with it; 0: unknown.
  uint64_t gpu_ns(uint32_t frame) const;

 private:
  struct Frame {
    Buffer vertices, indices;
    VkDescriptorPool pool = VK_NULL_HANDLE;
    bool stamped = false;
  };
  void make_pipelines();
  void upload(Frame& frame, const ImDrawData& data);
  VkDescriptorSet set_of(Frame& frame, VkDescriptorSetLayout layout);

  Device& device_;
  VkRenderPass pass_ = VK_NULL_HANDLE;
  VkDescriptorSetLayout geometry_layout_ = VK_NULL_HANDLE, picture_layout_ = VK_NULL_HANDLE;
  VkPipelineLayout layout_ = VK_NULL_HANDLE;
  VkPipeline draw_ = VK_NULL_HANDLE, picture_ = VK_NULL_HANDLE;
  VkSampler sampler_ = VK_NULL_HANDLE;
  Image font_;
  VkQueryPool queries_ = VK_NULL_HANDLE;
  std::array<Frame, kFrames> frames_;
};

}  // namespace spindle
#endif
