// Layer norm for any device.
#version 450
#include "shaders/layer_norm/layer_norm.glsl"
