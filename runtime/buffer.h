// Buffer owns device memory; Tensor is a value that says where in a buffer an array lies and what it holds.
#ifndef SPINDLE_RUNTIME_BUFFER_H
#define SPINDLE_RUNTIME_BUFFER_H
#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>

#include "runtime/dtype.h"
#include "runtime/vulkan.h"

namespace spindle {

class Device;

enum class Memory {
  device,  // fast for the device; mapped only where that costs nothing
  shared,  // always mapped and coherent, on the device's side where there is such memory
};

class Buffer {
 public:
  Buffer() = default;
  // Throws ErrorKind::out_of_memory with what was asked and what is free.
  Buffer(Device& device, uint64_t bytes, Memory memory, const char* purpose);
  ~Buffer();
  Buffer(Buffer&& other) noexcept { *this = std::move(other); }
  Buffer& operator=(Buffer&& other) noexcept;

  explicit operator bool() const { return buffer_ != VK_NULL_HANDLE; }
  VkBuffer handle() const { return buffer_; }
  uint64_t bytes() const { return bytes_; }
  std::byte* mapped() const { return mapped_; }  // null when the host cannot see it

 private:
  void release();

  Device* device_ = nullptr;
  VkBuffer buffer_ = VK_NULL_HANDLE;
  VkDeviceMemory memory_ = VK_NULL_HANDLE;
  std::byte* mapped_ = nullptr;
  uint64_t bytes_ = 0;
};

// Tensors begin at multiples of this, the largest alignment that a device may ask of a binding:
// no shader carries an offset.
constexpr uint64_t kTensorAlignment = 256;
constexpr uint64_t align_tensor(uint64_t bytes) {
  return (bytes + kTensorAlignment - 1) / kTensorAlignment * kTensorAlignment;
}

// [rows, cols], rows contiguous; more dimensions are folded into cols by whoever knows their meaning.
struct Tensor {
  const Buffer* buffer = nullptr;
  uint64_t offset_bytes = 0;
  DType dtype = DType::f32;  // f32, f16 or u32; quantised weights are u32 words in a layout of their own
  uint32_t rows = 0, cols = 0;

  Tensor() = default;
  Tensor(const Buffer& b, DType type, uint32_t n_rows, uint32_t n_cols, uint64_t offset = 0)
      : buffer(&b), offset_bytes(offset), dtype(type), rows(n_rows), cols(n_cols) {}

  explicit operator bool() const { return buffer != nullptr; }
  uint64_t elements() const { return static_cast<uint64_t>(rows) * cols; }
  uint64_t bytes() const { return bytes_of(dtype, elements()); }
  // Rows [first, first + count); the slice must begin at a multiple of kTensorAlignment.
  Tensor slice(uint32_t first, uint32_t count) const;
  // The host's view of a mapped tensor.
  template <class T>
  std::span<T> host() const {
    return {reinterpret_cast<T*>(buffer->mapped() + offset_bytes), static_cast<size_t>(bytes() / sizeof(T))};
  }
};

}  // namespace spindle
#endif
