// The section of a capture that says what the others hold.
#ifndef SPINDLE_VIEWER_CAPTURE_INFO_H
#define SPINDLE_VIEWER_CAPTURE_INFO_H
#include "viewer/map.h"

namespace spindle {

struct CaptureInfo {
  std::string model, positions;
  RopePlan rope;
  uint32_t n_layers = 0, n_tokens = 0, first_query = 0, end_query = 0;
  uint32_t page_tokens = 64;
  std::vector<MapLayer> layers;  // ascending
};

std::string capture_json(const CaptureInfo& info);
// Throws std::exception with what is wrong: every number is in the range that kernels rely on.
CaptureInfo parse_capture_json(const std::string& text);

}  // namespace spindle
#endif
