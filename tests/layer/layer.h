// VK_LAYER_SPINDLE_test, a Vulkan layer that counts, fails, poisons and lowers limits: what a test may ask.
#ifndef SPINDLE_TESTS_LAYER_LAYER_H
#define SPINDLE_TESTS_LAYER_LAYER_H
#include <vulkan/vulkan_core.h>

#include <cstdint>

// A test that links spindle_test_layer (or opens the same file with dlopen) shares its state with the copy
// the loader opens. One state for the whole process, all instances and devices; every function may be called
// from any thread. A child process is steered by the environment instead, read when the library is loaded:
//   SPINDLE_LAYER_FAIL=K[:RESULT[:forever]]  SPINDLE_LAYER_KINDS=BITS  SPINDLE_LAYER_POISON=1
//   SPINDLE_LAYER_MAX_RANGE  SPINDLE_LAYER_MAX_ALLOCATION  SPINDLE_LAYER_MAX_SHARED  SPINDLE_LAYER_ALIGNMENT
//   SPINDLE_LAYER_HIDE=NAME,NAME  SPINDLE_LAYER_REPORT=FILE (the counts as JSON, written at exit)
namespace spindle::test_layer {

// Which calls are counted as fallible and can be made to fail.
enum Kind : uint32_t {
  kind_allocate = 1,  // memory
  kind_create = 2,    // the device, buffers, shader modules, layouts, pools, fences, semaphores, ...
  kind_pipeline = 4,  // pipelines
  kind_pool = 8,      // command buffers and descriptor sets
  kind_map = 16,      // map, bind, flush, invalidate
  kind_record = 32,   // begin, end, reset
  kind_submit = 64,   // queue submit
  kind_wait = 128,    // fences, semaphores, idle, query results
  kind_all = 255,
  kind_present = 256,  // acquire, present: a surface that is lost
};

// The defaults change nothing.
struct Settings {
  uint64_t fail_at = 0;               // fail this fallible call, numbered from 1 since set or reset; 0: none
  VkResult fail_result = VK_SUCCESS;  // VK_SUCCESS: the usual failure of that call (memory, map, device lost)
  bool fail_forever = false;          // also every fallible call after it
  uint32_t fail_kinds = kind_all;
  bool poison = false;                   // fill new memory with 0xFF, which is NaN in every float format
  uint32_t max_storage_range_bytes = 0;  // lowered, never raised; 0: the device's own
  uint64_t max_allocation_bytes = 0;     // also refuses larger allocations
  uint32_t max_shared_memory_bytes = 0;
  uint32_t storage_alignment_bytes = 0;  // minStorageBufferOffsetAlignment; raised, never lowered
  // "shaderFloat16,VK_KHR_...": features by field name, and extensions. A device that enables one is refused.
  const char* hide = "";
};

struct Counts {
  uint64_t commands;          // every vkCmd* the layer knows: see SPINDLE_LAYER_PLAIN in state.h
  uint64_t dispatches;        // of those, dispatches of any form
  uint64_t begun;             // command buffers begun
  uint64_t submits;           // vkQueueSubmit and vkQueueSubmit2
  uint64_t fallible, failed;  // calls that could have failed; failures made
  const char* last_failed;    // name of the last call made to fail, or ""
  uint64_t allocations, live_allocations;
  uint64_t live_bytes, peak_bytes, largest_allocation_bytes;
  uint64_t poisoned, not_poisoned;  // allocations; the second are not mappable or were imported
  // Storage-buffer descriptors written by vkUpdateDescriptorSets:
  uint64_t distinct_ranges;  // distinct (buffer, offset)
  uint64_t largest_range_bytes;
  uint64_t ranges_over_limit;  // larger than max_storage_range_bytes
};

struct BufferCounts {
  uint64_t size_bytes, distinct_ranges, largest_range_bytes;
};

extern "C" {
// Puts the layer on the loader's path and list, for this process and its children; before vkCreateInstance.
// Above validation, handles are the caller's own and a made failure does not confuse its bookkeeping. Below
// it, validation holds the caller to the lowered limits, but wraps handles (spindle_layer_buffer finds none)
// and takes what was pending on a lost device for pending still.
void spindle_layer_enable(bool below_validation = false);
void spindle_layer_set(const Settings& settings);  // replaces all settings; fallible calls count from 1 again
void spindle_layer_reset();                        // all counts to zero, but for live memory
Counts spindle_layer_counts();
BufferCounts spindle_layer_buffer(VkBuffer buffer);  // of a live buffer; else zeros
uint64_t spindle_layer_calls(const char* name);      // "vkCmdDispatch"; aliases count under the core name
}

}  // namespace spindle::test_layer
#endif
