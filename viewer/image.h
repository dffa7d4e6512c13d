// Files of cells, written line by line: pictures, and arrays that numpy reads.
#ifndef SPINDLE_VIEWER_IMAGE_H
#define SPINDLE_VIEWER_IMAGE_H
#include <cstdint>
#include <cstdio>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "viewer/colours.h"

namespace spindle {

bool has_png();  // whether this program was built with libpng

// 8-bit RGB. Throws where the file cannot be written, and ErrorKind::usage without libpng.
class PngWriter {
 public:
  PngWriter(const std::string& path, uint32_t width, uint32_t height);
  ~PngWriter();
  void line(std::span<const Rgb> pixels);
  void finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Version 1.0, little-endian f32, C order.
class NpyWriter {
 public:
  NpyWriter(const std::string& path, std::span<const uint64_t> shape);
  ~NpyWriter();
  NpyWriter(const NpyWriter&) = delete;
  void put(std::span<const float> values);
  void finish();

 private:
  std::string path_;
  std::FILE* file_ = nullptr;
};

}  // namespace spindle
#endif
