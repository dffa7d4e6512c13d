// Records dispatches with the barriers their bindings imply, in submits of bounded work; replays recordings.
#ifndef SPINDLE_RUNTIME_STREAM_H
#define SPINDLE_RUNTIME_STREAM_H
#include <functional>
#include <initializer_list>
#include <span>
#include <type_traits>
#include <vector>

#include "runtime/buffer.h"
#include "runtime/device.h"
#include "runtime/recording.h"

namespace spindle {

struct Grid {
  uint32_t x = 1, y = 1, z = 1;  // workgroups
};

// Hazards planted by tests, to see that validation finds them.
enum class Planted { none, inside, between_submits, indirect };

class Stream {
 public:
  explicit Stream(Device& device);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  Device& device() { return device_; }
  const Caps& caps() const { return device_.caps(); }

  // Between begin and end nothing runs; begin abandons what an error left unfinished. Without begin, a
  // dispatch begins a recording that run() ends.
  void begin(bool profile = false);
  Recording end();
  // Compiles the kernels of what `record` would record side by side; nothing is recorded.
  void compile(const std::function<void()>& record);

  // `bindings` in the order of the shader's binding numbers; an empty tensor stands for one that is not used.
  // A grid that costs more than the bound, or is larger than the device allows, is cut into several
  // dispatches: workgroups must not depend on each other.
  template <class Parameters>
  void dispatch(const KernelSpec& spec, std::initializer_list<Tensor> bindings, const Parameters& parameters,
                Grid grid, Work work) {
    static_assert(std::is_trivially_copyable_v<Parameters> && sizeof(Parameters) <= 128);
    dispatch_bytes(spec, {bindings.begin(), bindings.size()}, std::as_bytes(std::span(&parameters, 1)), grid,
                   work);
  }
  // The grid is read from arguments (u32 [1, 3]) when it runs; `work` is the most it can be. Never cut: keep
  // it below device().cost_bound().
  template <class Parameters>
  void dispatch_indirect(const KernelSpec& spec, std::initializer_list<Tensor> bindings,
                         const Parameters& parameters, Tensor arguments, Work work) {
    static_assert(std::is_trivially_copyable_v<Parameters> && sizeof(Parameters) <= 128);
    indirect_bytes(spec, {bindings.begin(), bindings.size()}, std::as_bytes(std::span(&parameters, 1)),
                   arguments, work);
  }
  void copy(Tensor to, Tensor from);  // the same number of bytes
  void fill(Tensor to, uint32_t word);

  // Runs a recording, after everything submitted before; returns at once with a ticket for wait().
  uint64_t submit(const Recording& recording);
  void wait(uint64_t ticket);
  void wait() { wait(ticket_); }
  void drain() noexcept;  // waits, and takes a lost device for done: for destructors
  bool done(uint64_t ticket) const;
  void run();  // ends what was recorded without begin, submits it and waits
  std::vector<Timing> profile_run(bool by_work = false);  // the same; Recording::timings

  // Copies to and from any tensor, through staging where the host cannot see it. Waits.
  void upload(Tensor to, std::span<const std::byte> from);
  void download(std::span<std::byte> to, Tensor from);

  double largest_cost() const { return largest_cost_; }  // of any submit so far
  uint64_t n_submits() const { return n_submits_; }
  void plant(Planted hazard) { planted_ = hazard; }

  static constexpr uint32_t kQueriesPerPool = 512;  // dispatches

 private:
  struct Access {
    VkBuffer buffer;
    uint64_t begin, end;
    bool write;
  };
  using Bytes = std::span<const std::byte>;
  void dispatch_bytes(const KernelSpec&, std::span<const Tensor>, Bytes parameters, Grid, Work);
  void indirect_bytes(const KernelSpec&, std::span<const Tensor>, Bytes parameters, Tensor arguments, Work);
  void bind(const Kernel&, std::span<const Tensor>, Bytes parameters);
  VkDescriptorSet descriptor_set(const Kernel&, std::span<const Tensor>);
  void reserve(double cost);  // opens a new part when this one would exceed the bound
  void open_part();
  void close_part();
  void access(std::span<const Access>);
  void barrier();
  void stamp(const char* name, Work work, auto&& commands);
  VkCommandBuffer commands() const { return recording_.parts_.back(); }

  Device& device_;
  Recording recording_;
  std::vector<KernelSpec>* noted_ = nullptr;  // by compile(), instead of being recorded
  bool recording_now_ = false, explicit_ = false;
  std::vector<Access> pending_;  // since the last barrier
  const Kernel* bound_ = nullptr;
  uint32_t sets_left_ = 0;
  double part_cost_ = 0, largest_cost_ = 0;
  uint64_t n_submits_ = 0;
  VkSemaphore timeline_ = VK_NULL_HANDLE;
  uint64_t ticket_ = 0;
  Planted planted_ = Planted::none;
};

}  // namespace spindle
#endif
