// Matrix product for any device.
#version 450
#include "shaders/matmul/matmul.glsl"
