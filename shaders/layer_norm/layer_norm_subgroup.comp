// Layer norm where subgroups can add.
#version 450
#define SUBGROUP
#include "shaders/layer_norm/layer_norm.glsl"
