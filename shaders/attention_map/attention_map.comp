// Attention maps where subgroups can shuffle.
#version 450
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_shuffle : require
// Neighbours in a subgroup need not be neighbours in gl_LocalInvocationIndex.
#define LANE_INDEX (gl_SubgroupID * gl_SubgroupSize + gl_SubgroupInvocationID)
#define EXCHANGE(value, bit) subgroupShuffleXor(value, bit)
#include "shaders/attention_map/attention_map.glsl"
