// Flash attention where subgroups can shuffle and a load of 64 bits costs no more than one of 32.
#version 450
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_shuffle : require
#define WIDE
#include "shaders/attention/subgroup_lanes.glsl"
#include "shaders/attention/attention.glsl"
