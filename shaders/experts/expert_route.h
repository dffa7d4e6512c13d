// Routing to experts: each row's experts with the largest logits and what their outputs are multiplied with.
// Shazeer et al., arXiv 1701.06538; Jiang et al. (Mixtral), arXiv 2401.04088.
#ifndef SPINDLE_SHADERS_EXPERT_ROUTE_H
#define SPINDLE_SHADERS_EXPERT_ROUTE_H
#include "shaders/common/glsl.h"
#define EXPERTS_MOST 512
#define EXPERTS_USED_MOST 32
#ifdef __cplusplus
#include <span>

#include "shaders/common/op.h"
namespace spindle {
#endif

struct ExpertRouteParameters {
  uint experts;      // at most EXPERTS_MOST
  uint used;         // at most EXPERTS_USED_MOST and experts
  uint renormalise;  // 1: weights of a row add up to 1, 0: softmax over all experts
  float scale;       // of the weights, after that
};

#ifdef __cplusplus
// Softmax over a row, then the largest. They come in the order of their rank, equal ones by number. Of a row
// with a logit that is not finite every weight is NaN; the numbers are below `experts` whatever the logits.
// ids: u32 [rows, used]; weights: f32 [rows, used]; logits: f32 [rows, experts].
void expert_route(Stream& stream, Tensor ids, Tensor weights, Tensor logits, bool renormalise, float scale);
std::vector<KernelSpec> expert_route_kernels(const Caps& caps);

namespace reference {
void expert_route(std::span<uint32_t> ids, std::span<double> weights, std::span<const double> logits,
                  uint32_t used, bool renormalise, double scale);
}
}  // namespace spindle
#endif
#endif
