// Weights: matrices and vectors on the device, how they are cut, repacked and loaded.
#ifndef SPINDLE_SHADERS_WEIGHT_H
#define SPINDLE_SHADERS_WEIGHT_H
#include "shaders/weight/format.h"
#ifdef __cplusplus
#include <functional>
#include <span>
#include <vector>

#include "shaders/common/op.h"

namespace spindle {

// Outputs [first, first + count) of a matrix: as many as one binding and one buffer may hold.
struct WeightPart {
  Tensor values, scales;  // u32 [groups, words of a group]; float types have no scales
  uint32_t first = 0, count = 0;
};

struct Weight {
  DType type = DType::f32;
  uint32_t n = 0, k = 0;
  std::vector<WeightPart> parts;
  bool fits_f16 = true;  // no value exceeds f16's largest: known once it is loaded
  explicit operator bool() const { return !parts.empty(); }
  uint64_t bytes() const;  // on the device
};

struct WeightShape {
  DType type = DType::f32;
  uint32_t n = 0, k = 0;  // outputs, inputs; whole blocks of inputs, as files have them
};

// Where the cuts are, before anything is allocated. Throws where 16 outputs exceed a binding.
struct WeightPartShape {
  uint32_t first = 0, count = 0;
  uint64_t values_bytes = 0, scales_bytes = 0;
};
std::vector<WeightPartShape> weight_parts(const Caps& caps, const WeightShape& shape);
// Bytes on the device, alignment included.
uint64_t weight_bytes(const Caps& caps, const WeightShape& shape);

// Bytes of 16 outputs.
uint64_t group_values_bytes(DType type, uint32_t k);
uint64_t group_scales_bytes(DType type, uint32_t k);

// Repacks `count` outputs, the first of them a multiple of 16 of its part, from a file's bytes (rows of whole
// blocks, one after the other). `values` and `scales` begin at the group of the first output and are written
// in order, padding included, so that they may be device memory. Safe from several threads.
void pack(DType type, uint32_t k, uint32_t count, std::span<const std::byte> rows, std::span<uint32_t> values,
          std::span<uint32_t> scales);

// Whether no value of a file's blocks can exceed 65504, by their scales alone. f32: no; no product asks.
bool fits_f16(DType type, std::span<const std::byte> blocks);

// Fills `to` with the tensor's bytes from `first_byte` on; called from one thread at a time, in order.
using ReadBytes = std::function<void(uint64_t first_byte, std::span<std::byte> to)>;

// Places many matrices and vectors in few buffers, and fills them from a file. Owns the memory; the Weights
// and Tensors are values that stay good as long as it lives.
class WeightStore {
 public:
  WeightStore() = default;
  // Allocates everything. Vectors are f32 [1, elements]: norms and biases.
  WeightStore(Device& device, std::span<const WeightShape> matrices, std::span<const uint32_t> vectors = {});

  const Weight& matrix(size_t i) const { return matrices_.at(i); }
  Tensor vector(size_t i) const { return vectors_.at(i); }
  uint64_t bytes() const;  // allocated
  size_t n_buffers() const { return buffers_.size(); }
  // What the constructor would allocate.
  static uint64_t bytes_needed(const Caps& caps, std::span<const WeightShape> matrices,
                               std::span<const uint32_t> vectors = {});

  // Reads, repacks and uploads a whole matrix; the next chunk is read while the last one is repacked.
  void load_matrix(Stream& stream, size_t i, const ReadBytes& read) {
    load_rows(stream, i, 0, matrix(i).n, read);
  }
  // Outputs [first, first + count) from a tensor of their own (q, k and v as one matrix); first is a multiple
  // of 16, and so is count, but for the last.
  void load_rows(Stream& stream, size_t i, uint32_t first, uint32_t count, const ReadBytes& read);
  // f32, f16 or bf16 in the file.
  void load_vector(Stream& stream, size_t i, DType type, const ReadBytes& read);

 private:
  std::vector<Buffer> buffers_;
  Buffer staging_[2][2];  // values, scales; twice, where the host cannot see the buffers
  std::vector<Weight> matrices_;
  std::vector<Tensor> vectors_;
};

namespace reference {
// Row-major values of a file's bytes.
std::vector<double> decode(DType type, std::span<const std::byte> bytes);
}  // namespace reference
}  // namespace spindle
#endif
#endif
