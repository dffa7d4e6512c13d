// ImGui's vertices, pulled from storage buffers: no vertex input state, and the runtime's buffers serve.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "viewer/window/shading/draw.glsl"

layout(set = 0, binding = 0) readonly buffer Vertices { uint vertices[]; };  // x, y, u, v, rgba8
layout(set = 0, binding = 1) readonly buffer Indices { uint indices[]; };    // two of 16 bit a word
layout(location = 0) out vec2 uv;
layout(location = 1) out vec4 colour;

void main() {
  const uint at = first_index + uint(gl_VertexIndex);
  const uint index = indices[at >> 1] >> ((at & 1) * 16) & 0xffff;
  const uint v = (first_vertex + index) * 5;
  uv = vec2(uintBitsToFloat(vertices[v + 2]), uintBitsToFloat(vertices[v + 3]));
  colour = unpackUnorm4x8(vertices[v + 4]);
  gl_Position =
      vec4(vec2(uintBitsToFloat(vertices[v]), uintBitsToFloat(vertices[v + 1])) * scale + shift, 0, 1);
}
