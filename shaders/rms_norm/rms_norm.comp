// RMS norm for any device.
#version 450
#include "shaders/rms_norm/rms_norm.glsl"
