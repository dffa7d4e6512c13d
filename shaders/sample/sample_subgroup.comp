// Sampling where subgroups can reduce.
#version 450
#define SUBGROUP
#include "shaders/sample/sample.glsl"
