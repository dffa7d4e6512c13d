// Weights: sizes, and where the cuts are.
#include "shaders/weight/weight.h"

#include <algorithm>

namespace spindle {
namespace {

constexpr uint32_t kGroup = WEIGHT_GROUP, kBlock = WEIGHT_BLOCK;
constexpr uint64_t kLargestBinding = uint64_t{1} << 31;  // lavapipe fails beyond

static_assert(WEIGHT_F32 == int(DType::f32) && WEIGHT_F16 == int(DType::f16) &&
              WEIGHT_BF16 == int(DType::bf16) && WEIGHT_Q4_0 == int(DType::q4_0) &&
              WEIGHT_Q8_0 == int(DType::q8_0) && WEIGHT_Q4_1 == int(DType::q4_1) &&
              WEIGHT_Q5_0 == int(DType::q5_0) && WEIGHT_Q5_1 == int(DType::q5_1) &&
              WEIGHT_Q2_K == int(DType::q2_k) && WEIGHT_Q3_K == int(DType::q3_k) &&
              WEIGHT_Q4_K == int(DType::q4_k) && WEIGHT_Q5_K == int(DType::q5_k) &&
              WEIGHT_Q6_K == int(DType::q6_k) && WEIGHT_IQ4_NL == int(DType::iq4_nl) &&
              WEIGHT_IQ4_XS == int(DType::iq4_xs) && WEIGHT_MXFP4 == int(DType::mxfp4));

}  // namespace

uint64_t group_values_bytes(DType type, uint32_t k) {
  return uint64_t{ceil_div(k, kBlock)} * weight_format(type).low_bits * kGroup * 4;
}
uint64_t group_scales_bytes(DType type, uint32_t k) {
  const WeightFormat f = weight_format(type);
  return uint64_t{ceil_div(ceil_div(k, kBlock), f.record_blocks)} * f.record_words * kGroup * 4;
}

uint64_t Weight::bytes() const {
  uint64_t sum = 0;
  for (const WeightPart& p : parts) sum += p.values.bytes() + (p.scales ? p.scales.bytes() : 0);
  return sum;
}

std::vector<WeightPartShape> weight_parts(const Caps& caps, const WeightShape& shape) {
  require(shape.n > 0 && shape.k > 0, "a weight of {} outputs and {} inputs", shape.n, shape.k);
  require(shape.k % info(shape.type).block_elements == 0, ErrorKind::model_file,
          "a {} weight of {} inputs: not whole blocks of {}", info(shape.type).name, shape.k,
          info(shape.type).block_elements);
  const uint64_t most = std::min({caps.max_binding_bytes, caps.max_allocation_bytes, kLargestBinding});
  const uint64_t values = group_values_bytes(shape.type, shape.k),
                 scales = group_scales_bytes(shape.type, shape.k);
  require(values <= most, "{} outputs of a {} weight with {} inputs are {} bytes, the device binds {}",
          kGroup, info(shape.type).name, shape.k, values, most);
  const uint32_t groups = ceil_div(shape.n, kGroup);
  const auto per_part = static_cast<uint32_t>(std::min<uint64_t>(most / values, groups));
  // Parts of nearly equal size, so that the last one keeps the device busy too.
  const uint32_t n_parts = ceil_div(groups, per_part), even = ceil_div(groups, n_parts);
  std::vector<WeightPartShape> parts;
  for (uint32_t g = 0; g < groups; g += even) {
    const uint32_t n = std::min(even, groups - g);
    parts.push_back({g * kGroup, std::min(n * kGroup, shape.n - g * kGroup), n * values, n * scales});
  }
  return parts;
}

uint64_t weight_bytes(const Caps& caps, const WeightShape& shape) {
  uint64_t sum = 0;
  for (const WeightPartShape& p : weight_parts(caps, shape))
    sum += align_tensor(p.values_bytes) + align_tensor(p.scales_bytes);
  return sum;
}

}  // namespace spindle
