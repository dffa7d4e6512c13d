// Product with experts by integer dot products where subgroups can broadcast.
#version 450
#extension GL_KHR_shader_subgroup_shuffle : require
#define SUBGROUP
#define EXPERTS
#include "shaders/matmul/matmul_dot.glsl"
