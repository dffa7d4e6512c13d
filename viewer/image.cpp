// PNG through libpng where there is one, and numpy's format.
#include "viewer/image.h"

#include <fmt/core.h>

#include <cerrno>
#include <csetjmp>
#include <cstring>

#include "runtime/error.h"
#ifdef SPINDLE_PNG
#include <png.h>
#endif

namespace spindle {

#ifdef SPINDLE_PNG

bool has_png() { return true; }

struct PngWriter::State {
  std::string path;
  std::FILE* file = nullptr;
  png_structp png = nullptr;
  png_infop info = nullptr;
  std::string error;

  ~State() {
    if (png) png_destroy_write_struct(&png, &info);
    if (file) std::fclose(file);
  }
  // libpng leaves a failed call by longjmp: nothing with a destructor lives across it.
  template <class F>
  void guarded(F&& call) {
    if (setjmp(png_jmpbuf(png)) == 0) call();
    else fail(ErrorKind::runtime, "{}: {}", path, error);
  }
};

PngWriter::PngWriter(const std::string& path, uint32_t width, uint32_t height)
    : state_(std::make_unique<State>()) {
  State& s = *state_;
  s.path = path;
  s.file = std::fopen(path.c_str(), "wb");
  require(s.file != nullptr, ErrorKind::runtime, "{}: {}", path, std::strerror(errno));
  const auto on_error = [](png_structp png, png_const_charp message) {
    static_cast<State*>(png_get_error_ptr(png))->error = message;
    png_longjmp(png, 1);
  };
  s.png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &s, on_error, [](png_structp, png_const_charp) {});
  if (s.png) s.info = png_create_info_struct(s.png);
  if (!s.png || !s.info) throw std::bad_alloc();
  s.guarded([&] {
    png_init_io(s.png, s.file);
    png_set_IHDR(s.png, s.info, width, height, 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_write_info(s.png, s.info);
  });
}

void PngWriter::line(std::span<const Rgb> pixels) {
  state_->guarded([&] { png_write_row(state_->png, reinterpret_cast<png_const_bytep>(pixels.data())); });
}

void PngWriter::finish() {
  State& s = *state_;
  s.guarded([&] { png_write_end(s.png, nullptr); });
  require(std::fclose(std::exchange(s.file, nullptr)) == 0, ErrorKind::runtime, "{}: {}", s.path,
          std::strerror(errno));
}

#else

bool has_png() { return false; }
struct PngWriter::State {};
PngWriter::PngWriter(const std::string& path, uint32_t, uint32_t) {
  fail(ErrorKind::usage, "{}: this program was built without libpng (Debian: libpng-dev); .npy needs none",
       path);
}
void PngWriter::line(std::span<const Rgb>) {}
void PngWriter::finish() {}

#endif

PngWriter::~PngWriter() = default;

NpyWriter::NpyWriter(const std::string& path, std::span<const uint64_t> shape)
    : path_(path), file_(std::fopen(path.c_str(), "wb")) {
  require(file_ != nullptr, ErrorKind::runtime, "{}: {}", path, std::strerror(errno));
  std::string sizes;
  for (uint64_t n : shape) sizes += fmt::format("{}, ", n);
  std::string header = fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}), }}", sizes);
  header.resize((10 + header.size() + 1 + 63) / 64 * 64 - 10 - 1, ' ');
  header += '\n';
  const auto n = static_cast<uint16_t>(header.size());
  const char start[10] = {
      '\x93', 'N', 'U', 'M', 'P', 'Y', 1, 0, static_cast<char>(n & 0xff), static_cast<char>(n >> 8)};
  const bool good = std::fwrite(start, 1, 10, file_) == 10 && std::fwrite(header.data(), 1, n, file_) == n;
  if (!good) std::fclose(std::exchange(file_, nullptr));
  require(good, ErrorKind::runtime, "{}: {}", path, std::strerror(errno));
}
NpyWriter::~NpyWriter() {
  if (file_) std::fclose(file_);
}
void NpyWriter::put(std::span<const float> values) {
  require(std::fwrite(values.data(), 4, values.size(), file_) == values.size(), ErrorKind::runtime, "{}: {}",
          path_, std::strerror(errno));
}
void NpyWriter::finish() {
  require(std::fclose(std::exchange(file_, nullptr)) == 0, ErrorKind::runtime, "{}: {}", path_,
          std::strerror(errno));
}

}  // namespace spindle
