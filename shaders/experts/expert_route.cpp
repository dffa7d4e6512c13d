// Routing to experts: dispatch and reference.
#include "shaders/experts/expert_route.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <numeric>

namespace spindle {
namespace {

constexpr uint32_t kCode[] =
#include "shaders/experts/expert_route.comp.inc"
    ;
constexpr Program kProgram{"expert_route", kCode};

KernelSpec kernel(const Caps& caps) { return {&kProgram, {caps.software ? caps.subgroup_size : 32}}; }

}  // namespace

void expert_route(Stream& stream, Tensor ids, Tensor weights, Tensor logits, bool renormalise, float scale) {
  const uint32_t experts = logits.cols, used = ids.cols;
  assert(ids.rows == logits.rows && weights.rows == logits.rows && weights.cols == used);
  require(used > 0 && used <= experts && used <= EXPERTS_USED_MOST && experts <= EXPERTS_MOST,
          "{} of {} experts: supported are up to {} of {}", used, experts, EXPERTS_USED_MOST, EXPERTS_MOST);
  const Work work{static_cast<double>(logits.elements()) * (used + 10.0),
                  static_cast<double>(logits.bytes() + ids.bytes() + weights.bytes())};
  stream.dispatch(kernel(stream.caps()), {ids, weights, logits},
                  ExpertRouteParameters{experts, used, renormalise, scale}, {logits.rows}, work);
}

std::vector<KernelSpec> expert_route_kernels(const Caps& caps) { return {kernel(caps)}; }

void reference::expert_route(std::span<uint32_t> ids, std::span<double> weights,
                             std::span<const double> logits, uint32_t used, bool renormalise, double scale) {
  const size_t rows = ids.size() / used, experts = logits.size() / rows;
  for (size_t row = 0; row < rows; row++) {
    const auto of = logits.subspan(row * experts, experts);
    std::vector<uint32_t> order(experts);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return of[a] > of[b]; });
    double all = 0, selected = 0;
    for (size_t i = 0; i < experts; i++) {
      const double share = std::exp(of[order[i]] - of[order[0]]);
      all += share;
      if (i < used) selected += share;
    }
    for (size_t s = 0; s < used; s++) {
      ids[row * used + s] = order[s];
      weights[row * used + s] =
          std::exp(of[order[s]] - of[order[0]]) / (renormalise ? selected : all) * scale;
    }
  }
}

}  // namespace spindle
