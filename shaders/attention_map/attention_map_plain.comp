// Attention maps for any device: a lane owns whole rows (SPAN is 1), so that no lane needs another.
#version 450
#define LANE_INDEX gl_LocalInvocationIndex
#define EXCHANGE(value, bit) (value)
#include "shaders/attention_map/attention_map.glsl"
