// Product with experts for any device.
#version 450
#define EXPERTS
#include "shaders/matmul/matmul.glsl"
