// Matrix product by integer dot products where subgroups can shuffle.
#version 450
#extension GL_KHR_shader_subgroup_shuffle : require
#define SUBGROUP
#include "shaders/matmul/matmul_dot.glsl"
