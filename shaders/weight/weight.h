// A weight matrix [n outputs, k inputs] as every device and every phase reads it, repacked while it is
// loaded.
//
// Outputs are interleaved in groups of 16 and inputs cut into blocks of 32, both padded with zeros. A unit is
// one uvec4: consecutive inputs of one output, 4 (f32), 8 (f16), 16 (q8_0) or 32 (q4_0) of them.
//   values  uvec4 [n / 16][k / 32][units of a block][16]   lane = output reads 16 bytes beside its
//   neighbour's scales  u32   [n / 16][k / 64][16]                     q8_0, q4_0: two f16, of an even block
//   and the next
// A byte of q8_0 is as in the file. Word w of a q4_0 unit holds inputs 8 w to 8 w + 7: byte j has input 8 w +
// j in its low nibble and 8 w + 4 + j in its high one, as signed numbers (the file's minus 8).
#ifndef SPINDLE_SHADERS_WEIGHT_H
#define SPINDLE_SHADERS_WEIGHT_H
#define WEIGHT_GROUP 16  // outputs
#define WEIGHT_BLOCK 32  // inputs
#ifdef __cplusplus
#include <functional>
#include <span>
#include <vector>

#include "shaders/common/op.h"

namespace spindle {

constexpr uint32_t unit_inputs(DType type) {
  return type == DType::f32 ? 4 : type == DType::f16 ? 8 : type == DType::q8_0 ? 16 : 32;
}

// Outputs [first, first + count) of a matrix: as many as one binding and one buffer may hold.
struct WeightPart {
  Tensor values, scales;  // u32 [groups, words of a group]; f32 and f16 have no scales
  uint32_t first = 0, count = 0;
};

struct Weight {
  DType type = DType::f32;
  uint32_t n = 0, k = 0;
  std::vector<WeightPart> parts;
  explicit operator bool() const { return !parts.empty(); }
  uint64_t bytes() const;  // on the device
};

struct WeightShape {
  DType type = DType::f32;
  uint32_t n = 0, k = 0;  // outputs, inputs; whole blocks of inputs for q8_0 and q4_0
};

// Where the cuts are, before anything is allocated. Throws where 16 outputs exceed a binding.
struct WeightPartShape {
  uint32_t first = 0, count = 0;
  uint64_t values_bytes = 0, scales_bytes = 0;
};
std::vector<WeightPartShape> weight_parts(const Caps& caps, const WeightShape& shape);
// Bytes on the device, alignment included.
uint64_t weight_bytes(const Caps& caps, const WeightShape& shape);

// Repacks `count` outputs, the first of them a multiple of 16 of its part, from a file's bytes (rows of whole
// blocks, one after the other). `values` and `scales` begin at the group of the first output and are written
// in order, padding included, so that they may be device memory. Safe from several threads.
void pack(DType type, uint32_t k, uint32_t count, std::span<const std::byte> rows, std::span<uint32_t> values,
          std::span<uint32_t> scales);

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
  // f32 or f16 in the file.
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
