// A row of a step: which token of which sequence it is. One uvec4 in a u32 buffer [rows, 4], so that
// positions change from replay to replay without recording.
#ifndef SPINDLE_SHADERS_ROWS_H
#define SPINDLE_SHADERS_ROWS_H
#include "shaders/common/glsl.h"
#ifdef __cplusplus
namespace spindle {
#endif

struct Row {
  uint token;
  uint slot;      // of the page table, the sampler's settings and the token ring
  uint position;  // of this token in its sequence, from 0
  uint in_use;    // 0: skipped, nothing is read or written for it
};

#ifdef __cplusplus
}  // namespace spindle
#endif
#endif
