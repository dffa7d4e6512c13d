// Flash attention where subgroups can shuffle.
#version 450
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_shuffle : require
#include "shaders/attention/subgroup_lanes.glsl"
#include "shaders/attention/attention.glsl"
