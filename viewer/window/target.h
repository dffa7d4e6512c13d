// Where frames go: an image that can be read back, or a window on a screen.
#ifndef SPINDLE_WINDOW_TARGET_H
#define SPINDLE_WINDOW_TARGET_H
#include <memory>

#include "runtime/device.h"
#include "viewer/window/painter.h"

struct GLFWwindow;

namespace spindle {

// An image of fixed size. draw() waits; what it drew can be had as pixels.
class Offscreen {
 public:
  Offscreen(Device& device, uint32_t width, uint32_t height);
  ~Offscreen();
  Offscreen(const Offscreen&) = delete;
  Offscreen& operator=(const Offscreen&) = delete;
  Painter& painter() { return painter_; }
  void draw(const ImDrawData& data, ImVec4 background);
  Pixels pixels();

 private:
  Device& device_;
  VkExtent2D size_;
  Painter painter_;
  Image image_;
  VkFramebuffer framebuffer_ = VK_NULL_HANDLE;
};

// GLFW, started before the instance that asks it for extensions.
class WindowSystem {
 public:
  WindowSystem();  // throws with what to do instead: --headless
  ~WindowSystem();
  // Adds what a device for windows needs.
  DeviceOptions options(DeviceOptions options) const;
};

class Window {
 public:
  Window(Device& device, const WindowSystem&, uint32_t width, uint32_t height, const char* title);
  ~Window();
  Window(const Window&) = delete;
  Window& operator=(const Window&) = delete;
  GLFWwindow* handle() const { return window_; }
  Painter& painter() { return *painter_; }
  bool closing() const;
  bool visible() const;         // false while it is minimised or has no area
  float content_scale() const;  // of the screen: 2 where pixels are half as large
  // Shows a frame; without one when the surface is gone for the moment, which the next call mends.
  void draw(const ImDrawData& data, ImVec4 background);

 private:
  struct Frame {
    VkCommandBuffer commands = VK_NULL_HANDLE;
    VkSemaphore acquired = VK_NULL_HANDLE;
    VkFence done = VK_NULL_HANDLE;
  };
  struct Target {  // an image of the swapchain
    VkImageView view = VK_NULL_HANDLE;
    VkFramebuffer framebuffer = VK_NULL_HANDLE;
    VkSemaphore drawn = VK_NULL_HANDLE;
  };
  // False: the surface is gone or has changed, and the next frame begins by making what it needs anew.
  bool works(VkResult result, const char* call);
  void make_surface();
  bool make_swapchain();  // false: there is nothing to draw on
  void release_swapchain();
  void wait();

  Device& device_;
  GLFWwindow* window_ = nullptr;
  VkSurfaceKHR surface_ = VK_NULL_HANDLE;
  VkSurfaceFormatKHR format_{};
  VkSwapchainKHR swapchain_ = VK_NULL_HANDLE;
  VkExtent2D size_{};
  std::vector<Target> targets_;
  VkCommandPool pool_ = VK_NULL_HANDLE;
  std::array<Frame, Painter::kFrames> frames_;
  uint32_t frame_ = 0;
  std::unique_ptr<Painter> painter_;
  bool stale_ = true;
  int times_lost_ = 0;  // the surface, since a frame was shown
};

}  // namespace spindle
#endif
