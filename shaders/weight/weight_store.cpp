// Placing weights in few buffers, and the pipeline read -> repack -> device.
#include <algorithm>
#include <cassert>
#include <future>
#include <memory>

#include "runtime/arena.h"
#include "shaders/weight/weight.h"

namespace spindle {
namespace {

constexpr uint64_t kChunkBytes = 4 << 20;  // of a file, read and repacked at once

struct PlacedPart {
  WeightPartShape shape;
  Placement::Place values, scales;
};
struct Plan {
  std::vector<std::vector<PlacedPart>> matrices;
  std::vector<Placement::Place> vectors;
  std::vector<uint64_t> buffer_bytes;
};

Plan plan(const Caps& caps, std::span<const WeightShape> matrices, std::span<const uint32_t> vectors) {
  Plan p;
  Placement place(caps);
  for (const WeightShape& shape : matrices) {
    auto& parts = p.matrices.emplace_back();
    for (const WeightPartShape& part : weight_parts(caps, shape)) {
      const Placement::Place values = place.add(part.values_bytes);
      parts.push_back({part, values, part.scales_bytes ? place.add(part.scales_bytes) : Placement::Place{}});
    }
  }
  for (uint32_t n : vectors) p.vectors.push_back(place.add(bytes_of(DType::f32, n)));
  p.buffer_bytes = place.buffer_bytes();
  return p;
}

// Where the host writes a tensor: the tensor itself where it is mapped, else staging.
class Target {
 public:
  Target(Stream& stream, Tensor tensor, Buffer& staging) : tensor_(tensor) {
    if (!tensor || tensor.buffer->mapped()) return;
    if (staging.bytes() < tensor.bytes())
      staging = Buffer(stream.device(), tensor.bytes(), Memory::shared, "staging");
    staged_ = Tensor(staging, tensor.dtype, tensor.rows, tensor.cols);
  }
  std::span<uint32_t> words() const {
    return staged_ ? staged_.host<uint32_t>() : tensor_ ? tensor_.host<uint32_t>() : std::span<uint32_t>();
  }
  void record_copy(Stream& stream) const {
    if (staged_) stream.copy(tensor_, staged_);
  }

 private:
  Tensor tensor_, staged_;
};

// Rows on their way: read, then repacked by another thread while the next ones are read, then copied.
struct Chunk {
  std::vector<std::byte> bytes;
  Target values, scales;
  std::future<void> packed;  // the last member: its destructor waits for who uses the others
};

// Groups [first, first + count); copies need no alignment.
Tensor groups_of(Tensor t, uint32_t first, uint32_t count) {
  if (!t) return t;
  return Tensor(*t.buffer, t.dtype, count, t.cols,
                t.offset_bytes + uint64_t{first} * t.cols * sizeof(uint32_t));
}

}  // namespace

WeightStore::WeightStore(Device& device, std::span<const WeightShape> matrices,
                         std::span<const uint32_t> vectors) {
  const Plan p = plan(device.caps(), matrices, vectors);
  buffers_.reserve(p.buffer_bytes.size());  // tensors point at them
  for (uint64_t bytes : p.buffer_bytes) buffers_.emplace_back(device, bytes, Memory::device, "weights");
  for (size_t i = 0; i < matrices.size(); i++) {
    Weight w{matrices[i].type, matrices[i].n, matrices[i].k, {}, true};
    for (const PlacedPart& part : p.matrices[i]) {
      const uint32_t groups = ceil_div(part.shape.count, uint32_t{WEIGHT_GROUP});
      const auto tensor = [&](Placement::Place at, uint64_t bytes) {
        if (bytes == 0) return Tensor();
        return Tensor(buffers_[at.buffer], DType::u32, groups, static_cast<uint32_t>(bytes / 4 / groups),
                      at.offset_bytes);
      };
      w.parts.push_back({tensor(part.values, part.shape.values_bytes),
                         tensor(part.scales, part.shape.scales_bytes), part.shape.first, part.shape.count});
    }
    matrices_.push_back(std::move(w));
  }
  for (size_t i = 0; i < vectors.size(); i++)
    vectors_.emplace_back(buffers_[p.vectors[i].buffer], DType::f32, 1, vectors[i],
                          p.vectors[i].offset_bytes);
}

uint64_t WeightStore::bytes() const {
  uint64_t sum = 0;
  for (const Buffer& b : buffers_) sum += b.bytes();
  return sum;
}

uint64_t WeightStore::bytes_needed(const Caps& caps, std::span<const WeightShape> matrices,
                                   std::span<const uint32_t> vectors) {
  uint64_t sum = 0;
  for (uint64_t bytes : plan(caps, matrices, vectors).buffer_bytes) sum += bytes;
  return sum;
}

void WeightStore::load_rows(Stream& stream, size_t i, uint32_t first, uint32_t count, const ReadBytes& read) {
  const Weight& w = matrix(i);
  assert(first % WEIGHT_GROUP == 0 && first + count <= w.n &&
         (count % WEIGHT_GROUP == 0 || first + count == w.n));
  const uint64_t row_bytes = bytes_of(w.type, w.k);
  const uint64_t group_bytes = uint64_t{w.parts.front().values.cols} * sizeof(uint32_t);
  const uint64_t chunk_bytes = std::min(kChunkBytes, stream.caps().max_allocation_bytes);
  const auto chunk_rows =
      static_cast<uint32_t>(std::max<uint64_t>(chunk_bytes / group_bytes, 1)) * WEIGHT_GROUP;
  stream.wait();  // nothing may still be reading what is replaced

  std::unique_ptr<Chunk> previous;
  const auto finish = [&] {
    if (!previous) return;
    previous->packed.get();
    previous->values.record_copy(stream);
    previous->scales.record_copy(stream);
    stream.run();
  };
  size_t turn = 0;
  for (const WeightPart& part : w.parts) {
    const uint32_t end = std::min(first + count, part.first + part.count);
    for (uint32_t at = std::max(first, part.first), n; at < end; at += n) {
      n = std::min(chunk_rows, end - at);
      const uint32_t group = (at - part.first) / WEIGHT_GROUP, groups = ceil_div(n, uint32_t{WEIGHT_GROUP});
      std::vector<std::byte> bytes(n * row_bytes);
      read((at - first) * row_bytes, bytes);
      if (w.fits_f16) matrices_[i].fits_f16 = fits_f16(w.type, bytes);
      finish();
      auto& staging = staging_[turn++ % 2];
      previous.reset(new Chunk{std::move(bytes),
                               Target(stream, groups_of(part.values, group, groups), staging[0]),
                               Target(stream, groups_of(part.scales, group, groups), staging[1]),
                               {}});
      previous->packed = std::async(std::launch::async, [c = previous.get(), type = w.type, k = w.k, n] {
        pack(type, k, n, c->bytes, c->values.words(), c->scales.words());
      });
    }
  }
  finish();
}

void WeightStore::load_vector(Stream& stream, size_t i, DType type, const ReadBytes& read) {
  const Tensor to = vector(i);
  require(info(type).block_elements == 1, ErrorKind::model_file, "a vector of type {}", info(type).name);
  std::vector<std::byte> bytes(bytes_of(type, to.elements()));
  read(0, bytes);
  if (type == DType::f32) return stream.upload(to, bytes);
  const std::vector<double> values = reference::decode(type, bytes);
  const std::vector<float> floats(values.begin(), values.end());
  stream.upload(to, std::as_bytes(std::span(floats)));
}

}  // namespace spindle
