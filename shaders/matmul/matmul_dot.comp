// Matrix product by integer dot products.
#version 450
#include "shaders/matmul/matmul_dot.glsl"
