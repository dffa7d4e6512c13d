// Where products go, and their dispatches.
#ifndef SPINDLE_SHADERS_MATMUL_OUTPUT_H
#define SPINDLE_SHADERS_MATMUL_OUTPUT_H
#include "shaders/common/glsl.h"
#ifdef __cplusplus
#include <span>

#include "shaders/weight/weight.h"
namespace spindle {
#endif

struct MatmulParameters {
  uint n;       // columns of y
  uint k;       // columns of x
  uint rows;    // of y and x
  uint first;   // column of y that the part's first output is
  uint count;   // outputs of the part
  uint end[2];  // columns from end[0] on are rows of a second tensor, from end[1] on of a third,
  uint at[2];   // which begin so many floats after the first one
  float scale;  // of what is added to the residual; 0: there is none
};

#ifdef __cplusplus
// The outputs of one weight may be those of up to three tensors, which lie one after the other within a
// binding. Or the product is added to a residual: y = residual + scale * (W x + bias).
struct MatmulOutput {
  MatmulOutput(Tensor y) : tensors{y} {}
  MatmulOutput(Tensor y, Tensor residual_, float scale_) : tensors{y}, residual(residual_), scale(scale_) {}
  explicit MatmulOutput(std::span<const Tensor> several);
  Tensor tensors[3], residual;  // f32 [rows, n]; the residual may be y
  uint32_t n_tensors = 1;
  float scale = 0;
};

// Runs `spec`, whose workgroups compute so many rows and outputs each, for every part of w and as many rows
// at a time as bindings hold. x: what the kernel reads, of elements of 4 bytes; bias: f32 [1, n] or nothing.
void dispatch_matmul(Stream& stream, const KernelSpec& spec, uint32_t group_rows, uint32_t group_outputs,
                     const MatmulOutput& output, const Weight& w, Tensor x, Tensor bias);
}  // namespace spindle
#endif
#endif
