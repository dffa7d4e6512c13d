// Sampling: dispatch.
#include "shaders/sample/sample.h"

#include <cassert>

namespace spindle {
namespace {

constexpr uint32_t kCode[] =
#include "shaders/sample/sample.comp.inc"
    ;
constexpr uint32_t kSubgroupCode[] =
#include "shaders/sample/sample_subgroup.comp.inc"
    ;
constexpr Program kPlain{"sample", kCode}, kSubgroup{"sample", kSubgroupCode};

// llvmpipe ends every loop after 65535 iterations, all loops of an invocation taken together: on a CPU a
// workgroup grows with the vocabulary so that the longest way through the shader, about 50 passes, stays
// below.
constexpr uint32_t kTokensPerLane = 2048, kMostLanes = 256;

KernelSpec kernel(const Caps& caps, uint32_t vocab) {
  uint32_t lanes = row_lanes(caps);
  while (lanes < kMostLanes && vocab > lanes * kTokensPerLane) lanes *= 2;
  return {caps.subgroup ? &kSubgroup : &kPlain, {lanes}};
}

}  // namespace

void sample(Stream& stream, const SampleState& state, Tensor logits, Tensor targets, uint32_t first) {
  const Tensor& tokens = state.tokens;
  assert(state.rows.cols == 4 && state.settings.cols == kSampleWords);
  assert(state.settings.rows == tokens.rows && state.status.elements() == tokens.rows);
  assert(!state.logprobs || state.logprobs.elements() == tokens.elements());
  assert(first + logits.rows <= targets.elements());
  const SampleParameters parameters = {logits.cols, state.rows.rows,
                                       tokens.cols, static_cast<uint32_t>(state.ends.elements()),
                                       first,       state.logprobs ? 1u : 0u};
  const Work work{8.0 * static_cast<double>(logits.elements()), static_cast<double>(logits.bytes())};
  stream.dispatch(
      kernel(stream.caps(), logits.cols),
      {state.rows, logits, targets, state.settings, tokens, state.ends, state.status, state.logprobs},
      parameters, {logits.rows}, work);
}

std::vector<KernelSpec> sample_kernels(const Caps& caps) {
  std::vector<KernelSpec> list;
  for (uint32_t vocab = 1; vocab < kMostLanes * kTokensPerLane; vocab *= 2)
    if (const KernelSpec spec = kernel(caps, vocab); list.empty() || list.back() != spec)
      list.push_back(spec);
  return list;
}

}  // namespace spindle
