// A window: GLFW, surface and swapchain, which come anew when the window is resized or its surface is lost.
#include "runtime/handles.h"
#include "viewer/window/target.h"
#define GLFW_INCLUDE_NONE
#include <GLFW/glfw3.h>
#include <dlfcn.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace spindle {
namespace {

constexpr int kMostTimesLost = 20;

std::string& last_glfw_error() {
  static std::string text;
  return text;
}

}  // namespace

WindowSystem::WindowSystem() {
  // Xlib ends the program when its server is gone; by itself it would do so amid running threads.
  using IoHandler = int (*)(void*);
  if (const auto set = reinterpret_cast<IoHandler (*)(IoHandler)>(dlsym(RTLD_DEFAULT, "XSetIOErrorHandler")))
    set([](void*) -> int {
      std::fputs("spindle-viewer: the connection to the screen was lost\n", stderr);
      std::_Exit(static_cast<int>(ErrorKind::runtime));
    });
  glfwSetErrorCallback([](int, const char* text) { last_glfw_error() = text; });
  require(glfwInit(), "no window can be opened ({}): try --headless --screenshot FILE.png",
          last_glfw_error());
  if (!glfwVulkanSupported()) {
    glfwTerminate();
    fail(ErrorKind::no_device, "no Vulkan for windows here ({}): try --headless", last_glfw_error());
  }
}

WindowSystem::~WindowSystem() { glfwTerminate(); }

DeviceOptions WindowSystem::options(DeviceOptions o) const {
  uint32_t n = 0;
  const char** names = glfwGetRequiredInstanceExtensions(&n);
  require(names, "GLFW knows no surface here ({}): try --headless", last_glfw_error());
  o.instance_extensions.assign(names, names + n);
  o.device_extensions = {VK_KHR_SWAPCHAIN_EXTENSION_NAME};
  return o;
}

Window::Window(Device& device, const WindowSystem&, uint32_t width, uint32_t height, const char* title)
    : device_(device) {
  DeviceHandles& h = device.handles();
  const VkInstance instance = device.instance().handles().instance;
  require(glfwGetPhysicalDevicePresentationSupport(instance, h.physical, h.queue_family),
          ErrorKind::no_device, "{} cannot show windows on this screen: try another --device, or --headless",
          device.info().name);
  glfwWindowHint(GLFW_CLIENT_API, GLFW_NO_API);
  glfwWindowHint(GLFW_SCALE_TO_MONITOR, GLFW_TRUE);
  window_ = glfwCreateWindow(static_cast<int>(width), static_cast<int>(height), title, nullptr, nullptr);
  require(window_, "no window: {}", last_glfw_error());
  glfwSetWindowSizeLimits(window_, 640, 400, GLFW_DONT_CARE, GLFW_DONT_CARE);
  make_surface();

  VkCommandPoolCreateInfo pool{VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO};
  pool.flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT;
  pool.queueFamilyIndex = h.queue_family;
  vk(vkCreateCommandPool(h.device, &pool, nullptr, &pool_), "vkCreateCommandPool");
  for (Frame& frame : frames_) {
    VkCommandBufferAllocateInfo allocate{VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO};
    allocate.commandPool = pool_;
    allocate.commandBufferCount = 1;
    vk(vkAllocateCommandBuffers(h.device, &allocate, &frame.commands), "vkAllocateCommandBuffers");
    const VkSemaphoreCreateInfo semaphore{VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO};
    vk(vkCreateSemaphore(h.device, &semaphore, nullptr, &frame.acquired), "vkCreateSemaphore");
    VkFenceCreateInfo fence{VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};
    fence.flags = VK_FENCE_CREATE_SIGNALED_BIT;
    vk(vkCreateFence(h.device, &fence, nullptr, &frame.done), "vkCreateFence");
  }
}

void Window::make_surface() {
  DeviceHandles& h = device_.handles();
  const VkInstance instance = device_.instance().handles().instance;
  if (surface_) vkDestroySurfaceKHR(instance, surface_, nullptr);
  surface_ = VK_NULL_HANDLE;
  vk(glfwCreateWindowSurface(instance, window_, nullptr, &surface_), "glfwCreateWindowSurface");
  uint32_t n = 0;
  vk(vkGetPhysicalDeviceSurfaceFormatsKHR(h.physical, surface_, &n, nullptr),
     "vkGetPhysicalDeviceSurfaceFormatsKHR");
  std::vector<VkSurfaceFormatKHR> formats(n);
  vk(vkGetPhysicalDeviceSurfaceFormatsKHR(h.physical, surface_, &n, formats.data()),
     "vkGetPhysicalDeviceSurfaceFormatsKHR");
  require(!formats.empty(), "the window's surface has no format");
  // ImGui's colours are encoded already: no sRGB view.
  VkSurfaceFormatKHR best = formats[0];
  for (const VkSurfaceFormatKHR& f : formats)
    if (f.format == VK_FORMAT_B8G8R8A8_UNORM || f.format == VK_FORMAT_R8G8B8A8_UNORM) {
      best = f;
      break;
    }
  if (painter_ && best.format != format_.format) painter_.reset();
  format_ = best;
  if (!painter_)
    painter_ = std::make_unique<Painter>(device_, format_.format, VK_IMAGE_LAYOUT_PRESENT_SRC_KHR);
}

void Window::wait() {
  std::lock_guard lock(device_.handles().queue_mutex);
  vkQueueWaitIdle(device_.handles().queue);
}

void Window::release_swapchain() {
  const VkDevice vkd = device_.handles().device;
  for (Target& t : targets_) {
    vkDestroyFramebuffer(vkd, t.framebuffer, nullptr);
    vkDestroyImageView(vkd, t.view, nullptr);
    vkDestroySemaphore(vkd, t.drawn, nullptr);
  }
  targets_.clear();
  vkDestroySwapchainKHR(vkd, swapchain_, nullptr);
  swapchain_ = VK_NULL_HANDLE;
}

Window::~Window() {
  const VkDevice vkd = device_.handles().device;
  wait();
  release_swapchain();
  for (Frame& frame : frames_) {
    vkDestroySemaphore(vkd, frame.acquired, nullptr);
    vkDestroyFence(vkd, frame.done, nullptr);
  }
  vkDestroyCommandPool(vkd, pool_, nullptr);
  painter_.reset();
  if (surface_) vkDestroySurfaceKHR(device_.instance().handles().instance, surface_, nullptr);
  glfwDestroyWindow(window_);
}

bool Window::closing() const { return glfwWindowShouldClose(window_); }

bool Window::visible() const {
  int width = 0, height = 0;
  glfwGetFramebufferSize(window_, &width, &height);
  return width > 0 && height > 0 && !glfwGetWindowAttrib(window_, GLFW_ICONIFIED);
}

float Window::content_scale() const {
  float x = 1, y = 1;
  glfwGetWindowContentScale(window_, &x, &y);
  return std::max(1.0f, x);
}

bool Window::works(VkResult result, const char* call) {
  times_lost_ += result == VK_ERROR_SURFACE_LOST_KHR;
  if (result != VK_ERROR_SURFACE_LOST_KHR && result != VK_ERROR_OUT_OF_DATE_KHR) {
    vk(result, call);
    return true;
  }
  stale_ = true;
  return false;
}

bool Window::make_swapchain() {
  DeviceHandles& h = device_.handles();
  wait();
  if (times_lost_ > 0) {
    require(times_lost_ < kMostTimesLost, "the window's surface was lost {} times, one after the other",
            times_lost_);
    release_swapchain();
    make_surface();
  }
  VkSurfaceCapabilitiesKHR caps;
  if (!works(vkGetPhysicalDeviceSurfaceCapabilitiesKHR(h.physical, surface_, &caps),
             "vkGetPhysicalDeviceSurfaceCapabilitiesKHR"))
    return false;
  size_ = caps.currentExtent;
  if (size_.width == UINT32_MAX) {
    int width = 0, height = 0;
    glfwGetFramebufferSize(window_, &width, &height);
    size_ = {
        std::clamp(static_cast<uint32_t>(width), caps.minImageExtent.width, caps.maxImageExtent.width),
        std::clamp(static_cast<uint32_t>(height), caps.minImageExtent.height, caps.maxImageExtent.height)};
  }
  if (size_.width == 0 || size_.height == 0) return false;
  VkSwapchainCreateInfoKHR create{VK_STRUCTURE_TYPE_SWAPCHAIN_CREATE_INFO_KHR};
  create.surface = surface_;
  create.minImageCount = caps.minImageCount + 1;
  if (caps.maxImageCount) create.minImageCount = std::min(create.minImageCount, caps.maxImageCount);
  create.imageFormat = format_.format;
  create.imageColorSpace = format_.colorSpace;
  create.imageExtent = size_;
  create.imageArrayLayers = 1;
  create.imageUsage = VK_IMAGE_USAGE_COLOR_ATTACHMENT_BIT;
  create.preTransform = caps.currentTransform;
  create.compositeAlpha = caps.supportedCompositeAlpha & VK_COMPOSITE_ALPHA_OPAQUE_BIT_KHR
                              ? VK_COMPOSITE_ALPHA_OPAQUE_BIT_KHR
                              : VK_COMPOSITE_ALPHA_INHERIT_BIT_KHR;
  create.presentMode = VK_PRESENT_MODE_FIFO_KHR;
  create.clipped = VK_TRUE;
  create.oldSwapchain = swapchain_;
  VkSwapchainKHR made = VK_NULL_HANDLE;
  if (!works(vkCreateSwapchainKHR(h.device, &create, nullptr, &made), "vkCreateSwapchainKHR")) return false;
  release_swapchain();
  swapchain_ = made;
  uint32_t n = 0;
  vk(vkGetSwapchainImagesKHR(h.device, swapchain_, &n, nullptr), "vkGetSwapchainImagesKHR");
  std::vector<VkImage> images(n);
  vk(vkGetSwapchainImagesKHR(h.device, swapchain_, &n, images.data()), "vkGetSwapchainImagesKHR");
  for (VkImage image : images) {
    Target& t = targets_.emplace_back();
    VkImageViewCreateInfo view{VK_STRUCTURE_TYPE_IMAGE_VIEW_CREATE_INFO};
    view.image = image;
    view.viewType = VK_IMAGE_VIEW_TYPE_2D;
    view.format = format_.format;
    view.subresourceRange = {VK_IMAGE_ASPECT_COLOR_BIT, 0, 1, 0, 1};
    vk(vkCreateImageView(h.device, &view, nullptr, &t.view), "vkCreateImageView");
    VkFramebufferCreateInfo framebuffer{VK_STRUCTURE_TYPE_FRAMEBUFFER_CREATE_INFO};
    framebuffer.renderPass = painter_->pass();
    framebuffer.attachmentCount = 1;
    framebuffer.pAttachments = &t.view;
    framebuffer.width = size_.width;
    framebuffer.height = size_.height;
    framebuffer.layers = 1;
    vk(vkCreateFramebuffer(h.device, &framebuffer, nullptr, &t.framebuffer), "vkCreateFramebuffer");
    const VkSemaphoreCreateInfo semaphore{VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO};
    vk(vkCreateSemaphore(h.device, &semaphore, nullptr, &t.drawn), "vkCreateSemaphore");
  }
  stale_ = false;
  return true;
}

void Window::draw(const ImDrawData& data, ImVec4 background) {
  DeviceHandles& h = device_.handles();
  if (!visible()) return;
  if (stale_ && !make_swapchain()) return;
  Frame& frame = frames_[frame_];
  vk(vkWaitForFences(h.device, 1, &frame.done, VK_TRUE, UINT64_MAX), "vkWaitForFences");
  uint32_t index = 0;
  VkResult result =
      vkAcquireNextImageKHR(h.device, swapchain_, UINT64_MAX, frame.acquired, VK_NULL_HANDLE, &index);
  if (!works(result, "vkAcquireNextImageKHR")) return;
  const bool suboptimal = result == VK_SUBOPTIMAL_KHR;
  vk(vkResetFences(h.device, 1, &frame.done), "vkResetFences");
  vk(vkResetCommandBuffer(frame.commands, 0), "vkResetCommandBuffer");
  VkCommandBufferBeginInfo begin{VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
  begin.flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT;
  vk(vkBeginCommandBuffer(frame.commands, &begin), "vkBeginCommandBuffer");
  painter_->record(frame.commands, frame_, data, targets_[index].framebuffer, size_, background);
  vk(vkEndCommandBuffer(frame.commands), "vkEndCommandBuffer");
  const VkPipelineStageFlags stage = VK_PIPELINE_STAGE_COLOR_ATTACHMENT_OUTPUT_BIT;
  VkSubmitInfo submit{VK_STRUCTURE_TYPE_SUBMIT_INFO};
  submit.waitSemaphoreCount = submit.signalSemaphoreCount = submit.commandBufferCount = 1;
  submit.pWaitSemaphores = &frame.acquired;
  submit.pWaitDstStageMask = &stage;
  submit.pCommandBuffers = &frame.commands;
  submit.pSignalSemaphores = &targets_[index].drawn;
  VkPresentInfoKHR present{VK_STRUCTURE_TYPE_PRESENT_INFO_KHR};
  present.waitSemaphoreCount = present.swapchainCount = 1;
  present.pWaitSemaphores = &targets_[index].drawn;
  present.pSwapchains = &swapchain_;
  present.pImageIndices = &index;
  {
    std::lock_guard lock(h.queue_mutex);
    vk(vkQueueSubmit(h.queue, 1, &submit, frame.done), "vkQueueSubmit");
    result = vkQueuePresentKHR(h.queue, &present);
  }
  frame_ = (frame_ + 1) % Painter::kFrames;
  if (!works(result, "vkQueuePresentKHR")) return;
  stale_ = suboptimal || result == VK_SUBOPTIMAL_KHR;
  times_lost_ = 0;
}

}  // namespace spindle
