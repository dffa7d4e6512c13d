// Matrix product by lanes of a processor: subgroups hand x round, 64 bits are loaded at once.
#version 450
#extension GL_KHR_shader_subgroup_shuffle : require
#define SUBGROUP
#define WIDE
#include "shaders/matmul/matmul.glsl"
