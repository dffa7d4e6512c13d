// Product with experts by integer dot products.
#version 450
#define EXPERTS
#include "shaders/matmul/matmul_dot.glsl"
