// Packs rows of f32 for products.
#version 450
#include "shaders/matmul/matmul_input.h"

layout(constant_id = 0) const uint LANES = 64;
layout(local_size_x = 64, local_size_x_id = 0) in;

layout(binding = 2) readonly buffer X { float x[]; };
layout(binding = 2) readonly buffer X4 { vec4 x4[]; };
layout(push_constant) uniform Push { PackRows p; };
#include "shaders/matmul/matmul_input.glsl"

vec4 value(uint row, uint i) { return FOUR(x4, x, row, i); }

void main() { write_rows(p.rows); }
