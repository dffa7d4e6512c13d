// Sampling for any device.
#version 450
#include "shaders/sample/sample.glsl"
