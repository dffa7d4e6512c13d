// Makes a header readable by both compilers: C++ learns GLSL's uint.
// Parameter structs hold 4-byte scalars only, so that all layouts agree, and at most 128 bytes.
#ifndef SPINDLE_SHADERS_GLSL_H
#define SPINDLE_SHADERS_GLSL_H
#ifdef __cplusplus
#include <cstdint>
namespace spindle {
using uint = std::uint32_t;
}
#endif
#endif
