// RMS norm where subgroups can add.
#version 450
#define SUBGROUP
#include "shaders/rms_norm/rms_norm.glsl"
