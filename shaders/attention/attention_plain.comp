// Flash attention for any device: a lane owns whole rows (SPAN is 1), so that no lane needs another.
#version 450
#define LANE_INDEX gl_LocalInvocationIndex
#define EXCHANGE(value, bit) (value)
#define BROADCAST(value, from) (value)
#include "shaders/attention/attention.glsl"
