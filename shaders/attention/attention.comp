// Flash attention where subgroups can shuffle.
#version 450
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_shuffle : require
// Neighbours in a subgroup need not be neighbours in gl_LocalInvocationIndex.
#define LANE_INDEX (gl_SubgroupID * gl_SubgroupSize + gl_SubgroupInvocationID)
#define EXCHANGE(value, bit) subgroupShuffleXor(value, bit)
#define BROADCAST(value, from) subgroupShuffle(value, gl_SubgroupInvocationID - lane + (from))
#include "shaders/attention/attention.glsl"
