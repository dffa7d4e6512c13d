// A heat map: values to colours, cell by cell, so that zooming never blurs and scales change at once.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "viewer/window/shading/draw.glsl"

layout(set = 1, binding = 0) readonly buffer Picture {
  uint colours[256];    // rgba8
  float quantiles[256]; // of the values, increasing
  float values[];       // [height, width]
};
layout(location = 0) in vec2 uv;
layout(location = 1) in vec4 colour;
layout(location = 0) out vec4 result;

float rank(float x) {  // share of the values below x
  uint low_at = 0, high_at = 255;
  for (int step = 0; step < 8; step++) {
    const uint middle = (low_at + high_at) / 2;
    if (quantiles[middle] < x) low_at = middle + (low_at == middle ? 1 : 0);
    else high_at = middle;
  }
  return float(high_at) / 255.0;
}

void main() {
  const uvec2 cell = min(uvec2(max(uv, vec2(0)) * vec2(width, height)), uvec2(width - 1, height - 1));
  const float x = values[cell.y * width + cell.x];
  if (isnan(x)) {
    result = unpackUnorm4x8(missing_colour) * colour;
    return;
  }
  float share;
  if (mode == 2) share = rank(x);
  else if (mode == 1) share = (log(max(x, low)) - log(low)) / (log(high) - log(low));
  else share = (x - low) / (high - low);
  result = unpackUnorm4x8(colours[uint(clamp(share, 0.0, 1.0) * 255.0 + 0.5)]) * colour;
}
