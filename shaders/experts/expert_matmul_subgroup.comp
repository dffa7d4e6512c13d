// Product with experts by lanes of a processor, see matmul_subgroup.comp.
#version 450
#extension GL_KHR_shader_subgroup_shuffle : require
#define SUBGROUP
#define WIDE
#define EXPERTS
#include "shaders/matmul/matmul.glsl"
